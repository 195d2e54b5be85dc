"""HTTP/1.1 over TLS for a load: sockets and little else, since the load shares the machine's cores with the server."""

from __future__ import annotations

import json
import select
import socket
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

_USER_AGENT = b"User-Agent: acme-iid-benchmarks\r\n"
"""RFC 8555 section 6.1 has clients send one, and Pebble insists."""
_TIMEOUT = 30.0
"""Seconds for which one answer is waited."""
_IDLE = 5.0
"""Seconds after which a server may have ended a connection."""


class LoadError(Exception):
    """A server did not do what the load needs; the text says what it answered."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered; names of headers are in lower case."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """A connection to one server; it is kept until it is closed.

    :param url: any URL of the server.
    :param port: where it listens, if that is another port than the URL's: one of several servers behind one URL.
    """

    def __init__(self, url: str, context: ssl.SSLContext, port: int | None = None) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._address = (parts.hostname, port or parts.port or 443)
        self._context = context
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self._host = parts.netloc.encode()
        self._buffer = b""
        self._socket: ssl.SSLSocket | None = None
        self._used_at = 0.0

    def open(self) -> ssl.SSLSocket:
        """Connect, unless that is done."""
        if self._socket is None:
            plain = socket.create_connection(self._address, timeout=_TIMEOUT)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket = self._context.wrap_socket(plain, server_hostname=self._address[0])
            self._used_at = time.monotonic()
        return self._socket

    def close(self) -> None:
        if self._socket is not None:
            with suppress(OSError):
                self._socket.unwrap()
            self._socket.close()
        self._socket, self._buffer = None, b""

    def request(self, method: str, url: str, body: bytes = b"") -> Answer:
        """Ask, and read the answer.

        :raises LoadError: if the connection ends.
        """
        self._drop_if_ended()
        target = url.removeprefix(self.origin).encode()
        head = b"%s %s HTTP/1.1\r\nHost: %s\r\n%s" % (method.encode(), target, self._host, _USER_AGENT)
        if body:
            head += b"Content-Type: application/jose+json\r\nContent-Length: %d\r\n" % len(body)
        self.open().sendall(head + b"\r\n" + body)
        first, *lines = self._until(b"\r\n\r\n").split(b"\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(b":")
            headers[name.lower()] = value.strip()
        status = int(first.split(b" ", 2)[1])
        answer_body = b"" if method == "HEAD" or status == 204 else self._body(headers)
        self._used_at = time.monotonic()
        if headers.get(b"connection", b"").lower() == b"close":
            self.close()
        return Answer(status, headers, answer_body)

    def _drop_if_ended(self) -> None:
        """Close a connection that nobody has used for a while and that the server has ended."""
        if self._socket is None or time.monotonic() - self._used_at < _IDLE:
            return
        if select.select([self._socket], [], [], 0)[0]:
            self.close()

    def _body(self, headers: dict[bytes, bytes]) -> bytes:
        if b"chunked" in headers.get(b"transfer-encoding", b""):
            return self._chunks()
        return self._exactly(int(headers[b"content-length"]))

    def _chunks(self) -> bytes:
        pieces = []
        while length := int(self._until(b"\r\n").split(b";")[0], 16):
            pieces.append(self._exactly(length))
            self._until(b"\r\n")
        self._until(b"\r\n")
        return b"".join(pieces)

    def _until(self, mark: bytes) -> bytes:
        while (end := self._buffer.find(mark)) < 0:
            self._more()
        found, self._buffer = self._buffer[:end], self._buffer[end + len(mark) :]
        return found

    def _exactly(self, length: int) -> bytes:
        while len(self._buffer) < length:
            self._more()
        found, self._buffer = self._buffer[:length], self._buffer[length:]
        return found

    def _more(self) -> None:
        data = self.open().recv(65536)
        if not data:
            raise LoadError("the server closed the connection before its answer was whole")
        self._buffer += data
