"""Work that a server does every so many seconds beside its requests, in a thread of its own."""

from __future__ import annotations

import logging
import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from acme_iid.errors import StoreUnavailableError

_WARN_SECONDS = 50.0
"""Seconds in which one of these warns once: turns may follow each other within a second."""

# The shared one is anybody's to set, and a test that replays it would see these threads.
_chance = random.SystemRandom()
_log = logging.getLogger(__name__)


class Background(ABC):
    """A thread that takes a turn every so many seconds until it is stopped; a fault in one turn does not end it.

    :param seconds: from the end of a turn to the next one.
    :param first: seconds until the first turn; as many as between turns if None.
    :param spread: the fraction by which a pause is longer or shorter by chance, so that servers take no turns together.
    :param after_fault: further seconds until the next turn after a fault of ours.
    :param fault: the message that is logged then.
    :param unavailable: the message that is logged, with the reason, where the store cannot be used.
    """

    def __init__(
        self,
        seconds: float,
        *,
        first: float | None = None,
        spread: float = 0.0,
        after_fault: float = 0.0,
        fault: str,
        unavailable: str | None = None,
    ) -> None:
        self._seconds = seconds
        self._first = first
        self._spread = spread
        self._after_fault = after_fault
        self._fault = fault
        self._unavailable = unavailable or fault
        self._warned_at = -float("inf")
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self.run, daemon=True)

    def start(self) -> None:
        """Begin. The thread ends with the process, which need not wait for it."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, after the transaction that it is in, and wait for that."""
        self._ending.set()
        self._thread.join()

    @abstractmethod
    def turn(self) -> None:
        """Do once what is done every so many seconds."""

    def run(self) -> None:
        """Take turns until the end: the body of the thread."""
        pause = self._pause() if self._first is None else self._first
        while not self.wait(pause):
            self.attempt(self.turn)
            pause = self._pause()

    def attempt(self, action: Callable[[], object]) -> None:
        """Do something, and log it if that fails."""
        try:
            action()
        except StoreUnavailableError as error:
            self.warn("%s: %s", self._unavailable, error)
        except Exception:  # noqa: BLE001 - a fault of ours must not end the thread for good
            _log.exception(self._fault)
            self.wait(self._after_fault)

    def wait(self, seconds: float) -> bool:
        """Wait, but no longer than until the end, and say whether that has come."""
        return self._ending.wait(seconds)

    def is_ending(self) -> bool:
        """Whether the end has come."""
        return self._ending.is_set()

    def warn(self, text: str, *arguments: object) -> None:
        """Log a warning, unless there was one just now."""
        now = time.monotonic()
        if now - self._warned_at >= _WARN_SECONDS:
            self._warned_at = now
            _log.warning(text, *arguments)

    def _pause(self) -> float:
        return self._seconds * _chance.uniform(1 - self._spread, 1 + self._spread)
