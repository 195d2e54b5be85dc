"""A stand-in for AWS's instance metadata service, version 2: its HTTP on a local address.

Source: EC2 User Guide, "Use the Instance Metadata Service to access instance metadata". What it refuses,
AWS's refuses: tokens that are missing, unknown or expired (401), a token asked for through a proxy (403),
a time to live out of range (400), other methods (405), other paths (404).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

from acme_iid.simulator.aws import Tree

TOKEN_HEADER = "X-aws-ec2-metadata-token"  # noqa: S105 - the name of a header
TTL_HEADER = "X-aws-ec2-metadata-token-ttl-seconds"
MAX_TTL = 21600
"""Seconds that a token may live at most."""

TokenAnswers = Literal["served", "closed", "silent"]
"""How token requests are answered: as AWS does, or as a caller sees it who is more network hops away than the
instance's hop limit allows: the connection closes, or nothing comes back."""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer: its status, its body in bytes, and further headers."""

    status: HTTPStatus
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MetadataService:
    """IMDSv2 over a tree of values, without the sockets.

    :ivar imdsv1: whether requests without a token are answered as well.
    :ivar clock: seconds; decides when tokens expire.
    """

    tree: Tree
    imdsv1: bool = False
    clock: Callable[[], float] = time.time
    _secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def put(self, path: str, headers: Message) -> Response:
        """Answer a PUT, which only the token's path takes."""
        if path != "/latest/api/token":
            return Response(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": "GET, HEAD"})
        # What came through a proxy may come from elsewhere; so AWS gives such requests no token.
        if "X-Forwarded-For" in headers:
            return Response(HTTPStatus.FORBIDDEN)
        ttl = headers.get(TTL_HEADER, "")
        if not (ttl.isascii() and ttl.isdigit() and len(ttl) <= 5 and 1 <= int(ttl) <= MAX_TTL):
            return Response(HTTPStatus.BAD_REQUEST)
        expires = struct.pack(">d", self.clock() + int(ttl))
        return Response(HTTPStatus.OK, base64.urlsafe_b64encode(expires + self._mac(expires)), {TTL_HEADER: ttl})

    def get(self, path: str, headers: Message) -> Response:
        """Answer a GET or HEAD: a value, or a listing of what is below."""
        if path == "/latest/api/token":
            return Response(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": "PUT"})
        token = headers.get(TOKEN_HEADER)
        extra: dict[str, str] = {}
        if token is not None:
            seconds = self._seconds_left(token)
            if seconds <= 0:
                return Response(HTTPStatus.UNAUTHORIZED)
            extra[TTL_HEADER] = str(int(seconds))
        elif not self.imdsv1:
            return Response(HTTPStatus.UNAUTHORIZED)
        value = self._value(path)
        return Response(HTTPStatus.NOT_FOUND) if value is None else Response(HTTPStatus.OK, value, extra)

    def _value(self, path: str) -> bytes | None:
        root, _, below = path.lstrip("/").partition("/")
        if not root:
            return b"latest"
        if root != "latest":
            return None
        if below in self.tree:
            return self.tree[below]()
        folder = below.rstrip("/") + "/" if below else ""
        entries = {name.removeprefix(folder) for name in self.tree if name.startswith(folder)}
        listing = {first + slash for first, slash, _ in (entry.partition("/") for entry in entries)}
        return "\n".join(sorted(listing)).encode() if listing else None

    def _mac(self, expires: bytes) -> bytes:
        return hmac.digest(self._secret, expires, hashlib.sha256)

    def _seconds_left(self, token: str) -> float:
        """How long a token is good for: 0 or less for one that is not, or is not of this service's making."""
        try:
            decoded = base64.b64decode(token.encode(), b"-_", validate=True)
        except ValueError:
            return 0
        expires, mac = decoded[:8], decoded[8:]
        if not hmac.compare_digest(mac, self._mac(expires)):
            return 0
        left: float = struct.unpack(">d", expires)[0] - self.clock()
        return left


@dataclass(frozen=True, slots=True)
class Running:
    """A metadata service that listens.

    :ivar url: where, as ``--metadata-url`` and AWS_EC2_METADATA_SERVICE_ENDPOINT take it.
    """

    url: str


@contextmanager
def serve(
    tree: Tree,
    *,
    listen: tuple[str, int] = ("127.0.0.1", 0),
    imdsv1: bool = False,
    tokens: TokenAnswers = "served",
    clock: Callable[[], float] = time.time,
) -> Iterator[Running]:
    """Serve ``tree`` on a thread of its own until the context ends.

    :param listen: address and port; port 0 takes a free one.
    :raises OSError: if the address cannot be listened on.
    """
    server = _Server(listen, MetadataService(tree, imdsv1, clock), tokens)
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

    def __init__(self, listen: tuple[str, int], service: MetadataService, tokens: TokenAnswers) -> None:
        self.address_family = socket.AF_INET6 if ":" in listen[0] else socket.AF_INET
        self._connections: set[socket.socket] = set()
        super().__init__(listen, partial(_Handler, service, tokens))

    def get_request(self) -> tuple[socket.socket, object]:
        connection, address = super().get_request()
        self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Stop listening and end kept-alive connections: a service that is gone answers nobody."""
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

    def __init__(
        self, service: MetadataService, tokens: TokenAnswers, request: socket.socket, address: object, server: _Server
    ) -> None:
        self._service = service
        self._tokens = tokens
        super().__init__(request, address, server)

    def version_string(self) -> str:
        """Say what AWS's service says in ``Server``."""
        return "EC2ws"

    def do_GET(self) -> None:
        self._answer(self._service.get(urlsplit(self.path).path, self.headers))

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        path = urlsplit(self.path).path
        if path == "/latest/api/token" and self._tokens != "served":
            self.close_connection = True
            if self._tokens == "silent":
                # Until the caller gives up: its connection becomes readable when it hangs up.
                select.select([self.connection], [], [], self.timeout)
            return
        self._answer(self._service.put(path, self.headers))

    def do_POST(self) -> None:
        self._answer(Response(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": "GET, HEAD, PUT"}))

    def do_DELETE(self) -> None:
        self.do_POST()

    def do_OPTIONS(self) -> None:
        self.do_POST()

    def do_PATCH(self) -> None:
        self.do_POST()

    def _answer(self, response: Response) -> None:
        # Nothing that this service is asked has a body; one that came would be read as the next request.
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.close_connection = True
        self.send_response(response.status)
        self.send_header("Content-Type", "text/plain")
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
