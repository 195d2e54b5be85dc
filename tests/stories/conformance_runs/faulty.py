"""A server with one fault: it passes requests on to a good one and does one thing wrong on the way.

The good server is Pebble, which makes its URLs from the Host header: what is passed on keeps the client's, so that all
URLs lead through here and signatures hold.
"""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from conformance_runs.pebble import Pebble, free_ports

URN = "urn:ietf:params:acme:error:"


@dataclass
class Exchange:
    """A request and the answer to it, both open to change."""

    method: str
    path: str
    body: bytes
    content_type: str | None
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    answer: bytes = b""

    @property
    def problem(self) -> str:
        """The short name of the answer's error, empty if it has none."""
        if self.status < 400:
            return ""
        try:
            return str(self.json()["type"]).removeprefix(URN)
        except (ValueError, KeyError):
            return ""

    def json(self) -> dict[str, object]:
        """The answer's object."""
        found: dict[str, object] = json.loads(self.answer)
        return found

    def change(self, **members: object) -> None:
        """Replace members of the answer's object; None takes one out."""
        body = {name: value for name, value in (self.json() | members).items() if value is not None}
        self.answer = json.dumps(body).encode()

    def is_for(self, *paths: str) -> bool:
        """Whether the request is to one of Pebble's paths."""
        return self.path.startswith(paths)


Fault = Callable[[Exchange], None]


def nothing(_exchange: Exchange) -> None:
    """No fault on this side."""


@contextmanager
def faulty(pebble: Pebble, before: Fault = nothing, after: Fault = nothing) -> Iterator[str]:
    """A server with a fault; gives its directory's URL.

    :param before: what it does wrong with a request before it is passed on. An exchange that has a status then is not
        passed on at all.
    :param after: what it does wrong with the answer.
    """
    upstream = urlsplit(pebble.directory)
    assert upstream.hostname is not None
    assert upstream.port is not None
    host, port = upstream.hostname, upstream.port
    trust = ssl.create_default_context(cafile=str(pebble.tls.root))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            exchange = Exchange(self.command, self.path, self.rfile.read(length), self.headers.get("Content-Type"))
            before(exchange)
            if not exchange.status:
                self._forward(exchange)
            after(exchange)
            self.send_response(exchange.status)
            for name, value in exchange.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(exchange.answer)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(exchange.answer)

        do_GET = do_HEAD = do_POST = _pass  # noqa: N815 - the base class's names

        def _forward(self, exchange: Exchange) -> None:
            headers = {name: self.headers[name] for name in ("Host", "User-Agent") if name in self.headers}
            if exchange.content_type is not None:
                headers["Content-Type"] = exchange.content_type
            connection = http.client.HTTPSConnection(host, port, context=trust, timeout=20)
            try:
                connection.request(exchange.method, exchange.path, exchange.body, headers)
                response = connection.getresponse()
                exchange.status, exchange.answer = response.status, response.read()
                kept = ("replay-nonce", "location", "link", "content-type", "cache-control", "retry-after", "allow")
                for name, value in response.getheaders():
                    if name.lower() in kept:
                        known = exchange.headers.get(name)
                        exchange.headers[name] = value if known is None else f"{known}, {value}"
            finally:
                connection.close()

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pebble.tls.certificate, pebble.tls.key)
    (own,) = free_ports(1)
    server = ThreadingHTTPServer(("127.0.0.1", own), Handler)
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"https://127.0.0.1:{own}{upstream.path}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)
