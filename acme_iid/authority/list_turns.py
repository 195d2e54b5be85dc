"""Whose turn it is to sign an issuer's revocation list: one thread of a process at a time, for each issuer.

A signature may take seconds where the issuer's key is elsewhere, and all that ask meanwhile need the same list.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from acme_iid.errors import SignerError


class Turn:
    """The turn to sign the list of one issuer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures = 0
        self._failure = ""

    @contextmanager
    def taken(self, seconds: float) -> Iterator[bool]:
        """Take the turn for the block, and say whether it was free in time.

        :param seconds: to wait for it.
        :raises SignerError: if whoever had it meanwhile got no signature; the next one would wait as long.
        """
        before = self._failures
        if not self._lock.acquire(timeout=seconds):
            yield False
            return
        try:
            if self._failures != before:
                raise SignerError(self._failure)
            try:
                yield True
            except SignerError as error:
                self._failures, self._failure = before + 1, str(error)
                raise
        finally:
            self._lock.release()


class ListTurns:
    """The turns of all issuers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._turns: dict[str, Turn] = {}

    def of(self, issuer_id: str) -> Turn:
        """The turn of an issuer."""
        with self._lock:
            return self._turns.setdefault(issuer_id, Turn())
