"""The HTTP front of every stand-in: it hands requests to a cloud's service and sends the responses."""

from __future__ import annotations

import select
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from enum import Enum
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol
from urllib.parse import urlsplit

MAX_BODY_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """A caller's request.

    :ivar path: as it was sent, without the query.
    :ivar query: as it was sent, without the question mark.
    """

    method: str
    path: str
    query: str
    headers: Message
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer: its status, its body in bytes, and further headers."""

    status: HTTPStatus
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "text/plain"


class NoAnswer(Enum):
    """The end of a request without an answer: a connection that closes, or nothing at all."""

    CLOSED = "closed"
    SILENT = "silent"


class Service(Protocol):
    """A cloud's service, without the sockets.

    :ivar banner: its name in ``Server``.
    :ivar reads: the methods with a body that it reads; a body with another method ends the connection.
    """

    @property
    def banner(self) -> str:
        """Its name in ``Server``."""

    @property
    def reads(self) -> frozenset[str]:
        """The methods with a body. A body that comes with another method ends the connection unread."""

    def answer(self, request: Request) -> Response | NoAnswer:
        """Answer a request; HEAD like GET, its body is left out later."""


@dataclass(frozen=True, slots=True)
class Running:
    """A service that listens.

    :ivar url: its address, as ``--metadata-url`` and AWS_EC2_METADATA_SERVICE_ENDPOINT take it.
    """

    url: str


@contextmanager
def listening(service: Service, listen: tuple[str, int] = ("127.0.0.1", 0)) -> Iterator[Running]:
    """Serve on a thread of its own until the context ends.

    :param listen: address and port; port 0 takes a free one.
    :raises OSError: if the address cannot be listened on.
    """
    server = _Server(listen, service)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        host = f"[{listen[0]}]" if ":" in listen[0] else listen[0]
        yield Running(f"http://{host}:{server.server_address[1]}")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, listen: tuple[str, int], service: Service) -> None:
        self.address_family = socket.AF_INET6 if ":" in listen[0] else socket.AF_INET
        self._connections: set[socket.socket] = set()
        super().__init__(listen, partial(_Handler, service))

    def get_request(self) -> tuple[socket.socket, object]:
        connection, address = super().get_request()
        self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Stop listening and end kept-alive connections: a service that is gone does not answer."""
        super().server_close()
        for connection in tuple(self._connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def handle_error(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        """Let callers hang up without a traceback."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    disable_nagle_algorithm = True
    wbufsize = -1

    def __init__(self, service: Service, request: socket.socket, address: object, server: _Server) -> None:
        self._service = service
        super().__init__(request, address, server)

    def version_string(self) -> str:
        """The name in ``Server``, which is that of the cloud's own service."""
        return self._service.banner

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        response = self._service.answer(Request(self.command, parts.path, parts.query, self.headers, self._body()))
        if isinstance(response, Response):
            self._send(response)
            return
        self.close_connection = True
        if response is NoAnswer.SILENT:
            # Until the caller gives up: its connection becomes readable when it hangs up.
            select.select([self.connection], [], [], self.timeout)

    do_HEAD = do_PUT = do_POST = do_DELETE = do_OPTIONS = do_PATCH = do_GET  # noqa: N815 - the base class calls them so

    def _body(self) -> bytes:
        """The body of a request that has one; octets that stay unread would be read as the next request."""
        length = self.headers.get("Content-Length", "0")
        if length == "0" and "Transfer-Encoding" not in self.headers:
            return b""
        fits = length.isascii() and length.isdigit() and len(length) <= 6 and int(length) <= MAX_BODY_BYTES
        if self.command in self._service.reads and fits and "Transfer-Encoding" not in self.headers:
            return self.rfile.read(int(length))
        self.close_connection = True
        return b""

    def _send(self, response: Response) -> None:
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        for name, value in response.headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that the base class gives it
        """Keep quiet: requests carry tokens, and answers are evidence."""
