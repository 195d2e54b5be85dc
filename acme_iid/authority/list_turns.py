"""Whose turn it is to sign an issuer's revocation list: one thread of a process at a time, for each issuer.

A signature may take seconds where the issuer's key is elsewhere, and all that ask meanwhile need the same list.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from acme_iid.errors import SignerError

PAUSE = 5.0
"""Seconds after a signature that did not come in which no other is asked for: each would wait as long as the first."""


class Turn:
    """The turn to sign the list of one issuer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failed_at = -float("inf")
        self._failure = ""

    @contextmanager
    def taken(self, seconds: float) -> Iterator[bool]:
        """Take the turn for the block, and say whether it was free in time.

        :param seconds: to wait for it.
        :raises SignerError: if there was no signature just now, also if whoever had the turn meanwhile got none.
        """
        self._require_no_failure()
        if not self._lock.acquire(timeout=seconds):
            yield False
            return
        try:
            self._require_no_failure()
            try:
                yield True
            except SignerError as error:
                self._failed_at, self._failure = time.monotonic(), str(error)
                raise
        finally:
            self._lock.release()

    def _require_no_failure(self) -> None:
        if time.monotonic() - self._failed_at < PAUSE:
            raise SignerError(self._failure)


class ListTurns:
    """The turns of all issuers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._turns: dict[str, Turn] = {}

    def of(self, issuer_id: str) -> Turn:
        """The turn of an issuer."""
        with self._lock:
            return self._turns.setdefault(issuer_id, Turn())
