"""Wake-ups of a program that waits: signals, its own threads, and a clock that was set."""

from __future__ import annotations

import signal
import socket
import time
from typing import Self

_STEP = 2.0
"""Seconds by which the wall clock may leave the monotonic one before it counts as set."""


class Clock:
    """Notices that the wall clock was set: it and the monotonic one no longer agree."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def step(self) -> float:
        """The seconds by which the clock was set since the last call; 0 if it was not."""
        offset = time.time() - time.monotonic()
        step, self._offset = offset - self._offset, offset
        return step if abs(step) > _STEP else 0.0


class Bell:
    """Wakes the loop: for a signal, or when a thread rings. No lock is involved that a signal could meet held."""

    def __init__(self) -> None:
        self._read, self._write = socket.socketpair()

    def __enter__(self) -> Self:
        self._read.setblocking(False)
        self._write.setblocking(False)
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            # The handler does nothing; Python writes the signal's number to the socket.
            signal.signal(number, lambda _number, _frame: None)
        signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        return self

    def __exit__(self, *exception: object) -> None:
        signal.set_wakeup_fd(-1)

    def ring(self) -> None:
        """Wake the loop."""
        # With a full buffer, it is awake anyway.
        try:
            self._write.send(b"\0")
        except OSError:
            return

    def wait(self, seconds: float) -> frozenset[int]:
        """Wait that long, or less.

        :returns: the signals that came.
        """
        self._read.settimeout(seconds)
        try:
            return frozenset(self._read.recv(4096))
        except (TimeoutError, BlockingIOError):
            return frozenset()
