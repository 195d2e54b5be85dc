"""Octets on a connection of one's own, and what comes back until the server closes it; headers beyond all bounds."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass

from running import CA

LAST = b"GET /health HTTP/1.1\r\nHost: ca\r\nConnection: close\r\n\r\n"
_LONG = b"a" * 9000
OVERSIZED = {
    "line": b"GET /" + _LONG + b" HTTP/1.1\r\nHost: ca\r\n\r\n",
    "field": b"GET / HTTP/1.1\r\nHost: ca\r\nX: " + _LONG + b"\r\n\r\n",
    "name": b"GET / HTTP/1.1\r\nHost: ca\r\n" + _LONG + b": x\r\n\r\n",
    "count": b"GET / HTTP/1.1\r\nHost: ca\r\n" + b"X: y\r\n" * 200 + b"\r\n",
    "unended": b"GET /" + _LONG,
}
"""Headers that are larger than any that is read, by what is too large; the last one does not come to its end."""


@dataclass
class Response:
    status: int
    headers: dict[str, str]
    body: bytes


def exchange(ca: CA, octets: bytes, *, last: bytes = LAST, plain: int | None = None) -> list[Response]:
    """Send octets, and the last request; the answers, read until the server closes the connection.

    :param plain: the port of the listener for plain HTTP, if it is asked; otherwise it is the ACME server, with TLS.
    """
    context = ssl.create_default_context(cafile=str(ca.root))
    text = b""
    with (
        socket.create_connection(("127.0.0.1", plain or ca.port), timeout=30) as opened,
        opened if plain else context.wrap_socket(opened, server_hostname="127.0.0.1") as stream,
    ):
        try:
            stream.sendall(octets + last)
            while part := stream.recv(65536):
                text += part
        except TimeoutError:
            raise AssertionError(f"the server neither answers nor closes: {text!r}") from None
        except OSError:
            pass  # it was closed while we were sending
    found = []
    while text:
        head, _, text = text.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        length = int(headers.get("content-length", "0"))
        found.append(Response(int(first.split()[1]), headers, text[:length]))
        assert len(text) >= length, "an answer is cut off"
        text = text[length:]
    return found
