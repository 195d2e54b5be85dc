"""Ends connections where a client expects it: with an answer that says so.

A worker that another one replaces lets go of its clients. And a worker that has more to do than another sends some of
its clients on: connections are dealt out by chance, so that of a proxy's eight, which it keeps for long, one worker of
two may have six. A client that connects again is dealt out again.
"""

from __future__ import annotations

import mmap
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

_WINDOW = 64
"""Requests over which a worker's load is averaged, and of which it may give one back."""
_MORE_THAN = 1.1
_AND_ANOTHER = 1.25
_STALE_SECONDS = 1.0
_SLOT = struct.Struct("=dd")  # requests being answered, on average; when that was, on the machine's monotonic clock

WSGIApplication = Callable[[dict[str, Any], Callable[..., Any]], Any]


class Loads:
    """How much each worker has to do: memory that they share, made before they are forked.

    A number that is read while it is written costs a connection, or keeps one for a moment longer.
    """

    def __init__(self, workers: int) -> None:
        self._slots = range(workers)
        self._memory = mmap.mmap(-1, max(workers * _SLOT.size, 1))

    def tell(self, worker: int, load: float) -> None:
        """Say what a worker has to do now."""
        _SLOT.pack_into(self._memory, worker * _SLOT.size, load, time.monotonic())

    def are_uneven(self, worker: int, load: float) -> bool:
        """Whether another worker has so much less to do that a connection more would not turn it round."""
        now = time.monotonic()
        for other in self._slots:
            least, told_at = _SLOT.unpack_from(self._memory, other * _SLOT.size)
            if other != worker and load > (least if now - told_at < _STALE_SECONDS else 0) * _MORE_THAN + _AND_ANOTHER:
                return True
        return False


class Connections:
    """A WSGI application around another one, some of whose answers are the last on their connection.

    :param worker: this worker's number, from 0.
    """

    def __init__(self, app: WSGIApplication, loads: Loads, worker: int) -> None:
        self._app = app
        self._loads = loads
        self._worker = worker
        self._lock = threading.Lock()
        self._requests = 0
        self._running = 0
        self._load = 0.0
        self._ending = False

    def end(self, *_: object) -> None:
        """Say with every answer from now on that its connection ends (RFC 9112 section 9.6)."""
        self._ending = True

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        """See PEP 3333, which leaves this header to servers; granian's workers have no other way to set it."""
        with self._lock:
            self._requests += 1
            self._running += 1
            self._load = load = self._load + (self._running - self._load) / _WINDOW
            window_ends = self._requests % _WINDOW == 0
        self._loads.tell(self._worker, load)
        try:
            if self._ending or (window_ends and self._loads.are_uneven(self._worker, load)):
                return self._app(environ, _last(start_response))
            return self._app(environ, start_response)
        finally:
            with self._lock:
                self._running -= 1


def _last(start_response: Callable[..., Any]) -> Callable[..., Any]:
    def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
        return start_response(status, [*headers, ("Connection", "close")], *more)

    return start
