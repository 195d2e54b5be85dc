"""Requests of one process take turns at computing.

Python lets one thread compute at a time whatever is done here. Left to itself it changes threads at each statement of
SQLite's and each signature, some forty times a certificate, and each change costs a call into the kernel and a cold
cache: with four requests at a time a tenth of the server's CPU.
"""

from __future__ import annotations

import threading
from types import TracebackType

PATIENCE = 0.1
"""Seconds until a request goes on without its turn: another one may wait for a disk, or for a cloud's keys."""


class Turns:
    """A context manager; nothing relies on being alone in it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread = threading.local()

    def __enter__(self) -> None:
        self._thread.has_turn = self._lock.acquire(timeout=PATIENCE)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._thread.has_turn:
            self._lock.release()
