"""Ends connections whose client takes too long over the body of a request.

granian hands a request to a thread as soon as it has the header, which has a time limit, and reads the body, which has
none, while the thread waits (github.com/emmett-framework/granian/issues/728). As many clients as there are threads, an
octet a second each, would keep everybody else out. What is ended is found by the kernel's account of the sockets:
those on which nothing was sent for as long as a body may take.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from acme_iid.errors import AcmeError, Problem

PATIENCE = 20.0
"""Seconds a body may take."""
HURRIED_PATIENCE = 3.0
"""The same while half of the threads wait for bodies. Connections that wait for a next request end sooner, too."""

_LOOK_SECONDS = 0.5
_TCP = (socket.AF_INET, socket.AF_INET6)
_TCP_ESTABLISHED = 1
_LAST_DATA_SENT = struct.Struct("=B43xI")  # tcpi_state, tcpi_last_data_sent in milliseconds (linux/tcp.h)

WSGIApplication = Callable[[dict[str, Any], Callable[..., Any]], Any]


class SlowBodies:
    """A WSGI application around another one, whose requests' bodies come in time or not at all.

    :param app: reads bodies with ``wsgi.input``'s ``read``.
    :param port: the one that clients connect to.
    :param threads: how many requests can be answered at the same time.
    """

    def __init__(self, app: WSGIApplication, port: int, threads: int) -> None:
        self._app = app
        self._port = port
        self._many = threads // 2
        self._awaited: set[_Body] = set()
        threading.Thread(target=self._watch, daemon=True).start()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        """See PEP 3333."""
        if environ["REQUEST_METHOD"] == "POST":
            length = environ.get("CONTENT_LENGTH") if "HTTP_TRANSFER_ENCODING" not in environ else None
            environ["wsgi.input"] = _Body(environ["wsgi.input"], int(length or 0), self._awaited)
        return self._app(environ, start_response)

    def _watch(self) -> None:
        while True:
            time.sleep(_LOOK_SECONDS)
            awaited = list(self._awaited)
            patience = HURRIED_PATIENCE if len(awaited) >= self._many else PATIENCE
            latest = time.monotonic() - patience
            late = [body for body in awaited if body.since < latest]
            for body in late:
                body.late = True
            if late:
                _stop_reading(self._port, int(patience * 1000))


class _Body:
    """A request's body, and since when it is awaited.

    :param length: how long it is at least; 0 if it says so itself, in chunks.
    """

    __slots__ = ("_awaited", "_left", "_stream", "late", "since")

    def __init__(self, stream: Any, length: int, awaited: set[_Body]) -> None:
        self._stream = stream
        self._left = length
        self._awaited = awaited
        self.since = time.monotonic()
        self.late = False

    def read(self, size: int) -> bytes:
        """The next octets, fewer than ``size`` only at the end.

        :raises AcmeError: ``malformed`` with status 408 if they did not come, or not in time.
        """
        self._awaited.add(self)
        try:
            data: bytes = self._stream.read(size)
        finally:
            self._awaited.discard(self)
        self._left -= len(data)
        if self.late or (self._left > 0 and len(data) < size):
            raise AcmeError(Problem.MALFORMED, "the request's body did not come in time; send it at once", status=408)
        return data


def _stop_reading(port: int, milliseconds: int) -> None:
    """Read no more from connections to a port on which nothing was sent for so long."""
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            # Nothing is opened or closed here: closing the database's file would end SQLite's locks on it.
            connection = socket.socket(fileno=int(entry.name))
            try:
                if connection.family not in _TCP or connection.getsockname()[1] != port:
                    continue
                state, unsent = _LAST_DATA_SENT.unpack_from(
                    connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_DATA_SENT.size)
                )
                if state == _TCP_ESTABLISHED and unsent >= milliseconds:
                    connection.shutdown(socket.SHUT_RD)
            finally:
                connection.detach()
