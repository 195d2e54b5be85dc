"""A stand-in for AWS's instance metadata service, version 2: its HTTP on a local address.

Source: EC2 User Guide, "Use the Instance Metadata Service to access instance metadata". It refuses
the same as AWS's: tokens that are missing, unknown or expired (401), a token asked for through a proxy (403),
a time to live out of range (400), other methods (405), other paths (404).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import struct
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from email.message import Message
from http import HTTPStatus
from typing import Literal

from acme_iid.simulator.aws import Tree
from acme_iid.simulator.listener import NoAnswer, Request, Response, Running, listening

TOKEN_PATH = "/latest/api/token"  # noqa: S105 - a path
TOKEN_HEADER = "X-aws-ec2-metadata-token"  # noqa: S105 - the name of a header
TTL_HEADER = "X-aws-ec2-metadata-token-ttl-seconds"
MAX_TTL = 21600
"""Seconds that a token may live at most."""

TokenAnswers = Literal["served", "closed", "silent"]
"""The answers to token requests: AWS's own, or those that a caller gets at more network hops than the instance's hop
limit allows: the connection closes, or nothing comes back."""


@dataclass(frozen=True, slots=True)
class MetadataService:
    """IMDSv2 over a tree of values, without the sockets.

    :ivar imdsv1: whether requests without a token are answered as well.
    :ivar tokens: the answers to requests for a token.
    :ivar clock: seconds; decides when tokens expire.
    """

    tree: Tree
    imdsv1: bool = False
    tokens: TokenAnswers = "served"
    clock: Callable[[], float] = time.time
    _secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    banner: str = "EC2ws"
    reads: frozenset[str] = frozenset()

    def answer(self, request: Request) -> Response | NoAnswer:
        """Answer as AWS does: values to GET and HEAD, tokens to PUT."""
        match request.method:
            case "GET" | "HEAD":
                return self._get(request.path, request.headers)
            case "PUT" if request.path == TOKEN_PATH and self.tokens != "served":
                return NoAnswer(self.tokens)
            case "PUT":
                return self._put(request.path, request.headers)
            case _:
                return Response(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": "GET, HEAD, PUT"})

    def _put(self, path: str, headers: Message) -> Response:
        """Answer a PUT, which only the token's path takes."""
        if path != TOKEN_PATH:
            return Response(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": "GET, HEAD"})
        # A request through a proxy may come from elsewhere; so AWS gives it no token.
        if "X-Forwarded-For" in headers:
            return Response(HTTPStatus.FORBIDDEN)
        ttl = headers.get(TTL_HEADER, "")
        if not (ttl.isascii() and ttl.isdigit() and len(ttl) <= 5 and 1 <= int(ttl) <= MAX_TTL):
            return Response(HTTPStatus.BAD_REQUEST)
        expires = struct.pack(">d", self.clock() + int(ttl))
        return Response(HTTPStatus.OK, base64.urlsafe_b64encode(expires + self._mac(expires)), {TTL_HEADER: ttl})

    def _get(self, path: str, headers: Message) -> Response:
        """Answer a GET or HEAD: a value, or a listing of what is below."""
        if path == TOKEN_PATH:
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
        """The seconds for which a token is good; 0 or less for one that has expired or is not this service's."""
        try:
            decoded = base64.b64decode(token.encode(), b"-_", validate=True)
        except ValueError:
            return 0
        expires, mac = decoded[:8], decoded[8:]
        if not hmac.compare_digest(mac, self._mac(expires)):
            return 0
        left: float = struct.unpack(">d", expires)[0] - self.clock()
        return left


def serve(
    tree: Tree,
    *,
    listen: tuple[str, int] = ("127.0.0.1", 0),
    imdsv1: bool = False,
    tokens: TokenAnswers = "served",
    clock: Callable[[], float] = time.time,
) -> AbstractContextManager[Running]:
    """Serve ``tree`` on a thread of its own until the context ends.

    :param listen: address and port; port 0 takes a free one.
    :raises OSError: if the address cannot be listened on.
    """
    return listening(MetadataService(tree, imdsv1, tokens, clock), listen)
