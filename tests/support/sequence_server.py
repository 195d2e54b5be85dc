"""The application that random sequences of requests meet, in this process, and what its accounts have."""

from __future__ import annotations

import functools
import io
import json
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flask
import forge
from running import ACCOUNT, CA
from werkzeug.datastructures import Headers
from werkzeug.test import run_wsgi_app
from wire import JOSE, Key, b64

from acme_iid.app import create_app
from acme_iid.config import ca_toml
from acme_iid.simulator import aws

_FRESH_EVERY = 2000
"""Sequences after which the store begins anew: what is measured is not how it grows."""


@dataclass
class Answer:
    """The app's answer to one request."""

    status: int
    headers: Headers
    text: str

    @functools.cached_property
    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.text)


class Server:
    """The app, in a home of its own in memory."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sequences-", dir="/dev/shm"))
        ca = CA(self.folder / "ca", port=8443)
        ca.init()
        self.app: flask.Flask = create_app(ca_toml.load(ca.home))
        self.base = ca.url
        self.sequences = 0
        # How many keys for certain names were compromised here.
        self.generations: Counter[tuple[str, ...]] = Counter()

    def request(self, method: str, target: str, body: bytes = b"") -> Answer:
        """Send a request, with no more around it than WSGI takes: a test client costs as much as the app."""
        path, _, query = target.partition("?")
        environ = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "8443",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "CONTENT_TYPE": JOSE,
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.url_scheme": "https",
            "wsgi.version": (1, 0),
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": sys.stderr,
        }
        text, status, headers = run_wsgi_app(self.app, environ, buffered=True)
        return Answer(int(status.split()[0]), headers, b"".join(text).decode())

    def close(self) -> None:
        """Throw it away."""
        shutil.rmtree(self.folder)


ANSWERED: Counter[int] = Counter()
"""How many answers of each status there were."""
BEGUN: Counter[str] = Counter()
"""How many sequences there were, under "sequences"."""
_SERVERS: list[Server] = []


def server() -> Server:
    """The server of the sequence that begins now."""
    if _SERVERS and _SERVERS[-1].sequences >= _FRESH_EVERY:
        _SERVERS.pop().close()
    if not _SERVERS:
        _SERVERS.append(Server())
    _SERVERS[-1].sequences += 1
    BEGUN["sequences"] += 1
    return _SERVERS[-1]


@dataclass
class Account:
    """An account as its client knows it."""

    key: Key
    url: str
    active: bool = True
    instance: aws.Instance = field(default_factory=lambda: aws.Instance(account=ACCOUNT))

    @functools.cached_property
    def evidence(self) -> dict[str, str]:
        """A good answer of its own instance's."""
        tree = aws.tree(self.instance, forge.keys())
        document, signature = (tree[aws.IDENTITY + kind]() for kind in ("document", "signature"))
        return {"format": "aws-signature", "document": b64(document), "signature": signature.decode()}


@dataclass
class Resource:
    """Something that belongs to an account: what it is, and what was last seen of it."""

    owner: Account
    url: str
    body: dict[str, Any]
