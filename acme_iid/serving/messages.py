"""Requests and answers as the server and an application exchange them, without Flask's objects."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import asyncio

    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

MAX_REQUEST_BYTES = 128 * 1024
"""The size a request's body may have: an answer of 64 KiB, base64url, and its envelope."""


class Request(NamedTuple):
    """A request that nobody has looked at.

    :ivar path: below the server's URL, decoded, without the query.
    :ivar query: as it was sent.
    :ivar forwarded: the values of X-Forwarded-For, joined with commas.
    :ivar peer: the address that the connection came from.
    :ivar fields: all header fields, in their order.
    :ivar transport: the connection that it came by, for those who ask who is at its other end; None without a server.
    """

    method: str
    path: str
    query: str
    content_type: str | None
    forwarded: str
    peer: str
    body: bytes
    fields: Sequence[tuple[str, str]] = ()
    transport: asyncio.BaseTransport | None = None

    @property
    def target(self) -> str:
        """The path with the query."""
        return f"{self.path}?{self.query}" if self.query else self.path

    @classmethod
    def of_environ(cls, environ: WSGIEnvironment) -> Request:
        """The request in a WSGI environment, with no more of its body than shows that it is too large."""
        return cls(
            method=environ["REQUEST_METHOD"],
            # A path or a query that is no text is no URL of ours, and is told so.
            path="/" + environ["PATH_INFO"].encode("latin-1").decode(errors="replace").lstrip("/"),
            query=environ.get("QUERY_STRING", "").encode("latin-1").decode(errors="replace"),
            content_type=environ.get("CONTENT_TYPE"),
            forwarded=environ.get("HTTP_X_FORWARDED_FOR", ""),
            peer=environ.get("REMOTE_ADDR", ""),
            body=environ["wsgi.input"].read(MAX_REQUEST_BYTES + 1),
        )

    def environ(self) -> WSGIEnvironment:
        """The WSGI environment that Flask makes its own request of (PEP 3333).

        WSGI writes X_Forwarded_For as it writes X-Forwarded-For, so fields with an underscore are left out.
        """
        environ: WSGIEnvironment = {
            "REQUEST_METHOD": self.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": self.path.encode().decode("latin-1"),
            "QUERY_STRING": self.query,
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "443",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": self.peer,
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "https",
            "wsgi.input": io.BytesIO(self.body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
        }
        for name, value in self.fields:
            key = name.upper().replace("-", "_")
            if "_" not in name and key not in ("CONTENT_LENGTH", "TRANSFER_ENCODING"):
                key = key if key == "CONTENT_TYPE" else f"HTTP_{key}"
                environ[key] = f"{environ[key]},{value}" if key in environ else value
        environ["CONTENT_LENGTH"] = str(len(self.body))
        return environ


class Answer:
    """An answer of a view, complete but for the headers that every answer has.

    :param body: text is sent as UTF-8.
    :param headers: further headers; their values are ours, without line ends.
    """

    __slots__ = ("body", "headers", "status")

    def __init__(
        self,
        body: str | bytes = b"",
        status: int = 200,
        content_type: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.body = body.encode() if isinstance(body, str) else body
        self.status = status
        self.headers: list[tuple[str, str]] = [] if content_type is None else [("Content-Type", content_type)]
        if headers:
            self.headers.extend(headers.items())

    @classmethod
    def of_wsgi(cls, application: WSGIApplication, environ: WSGIEnvironment) -> Answer:
        """Have a WSGI application answer a request."""
        answer = cls()

        def start(status: str, headers: list[tuple[str, str]], _info: object = None) -> Callable[[bytes], object]:
            answer.status, answer.headers = int(status.partition(" ")[0]), list(headers)
            return lambda _octets: None

        parts = application(environ, start)
        try:
            answer.body = b"".join(parts)
        finally:
            if hasattr(parts, "close"):
                parts.close()
        return answer

    def add(self, name: str, value: str) -> None:
        """Add a header."""
        self.headers.append((name, value))
