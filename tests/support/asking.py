"""Asks the admin API without a socket, as somebody with a role; each answer is held against the API's document."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jsonschema

from acme_iid.admin import dispatch, openapi
from acme_iid.admin.acts import JSON
from acme_iid.admin.dispatch import Dispatcher
from acme_iid.admin.problems import ProblemError
from acme_iid.admin.roles import Role
from acme_iid.admin.table import ACTS
from acme_iid.admin.table.configuration import Look
from acme_iid.config import ca_toml
from acme_iid.serving.messages import Request
from acme_iid.store.actor import Actor
from acme_iid.store.database import Database

DOCUMENT = openapi.document(ACTS)
PROBLEM = "application/problem+json"


@dataclass(frozen=True)
class Caller:
    """Somebody, by a role."""

    role: Role | None

    def actor(self, reason: str | None) -> Actor:
        """How events name them."""
        word = None if self.role is None else self.role.word
        return Actor("socket", "hannah", 1234, "desk", word, reason=reason)


@dataclass(frozen=True)
class Reply:
    """An answer.

    :ivar content: of JSON its value, else the text.
    """

    status: int
    headers: dict[str, str]
    content: Any

    @property
    def parameter(self) -> str:
        """The parameter that was wrong."""
        assert self.content["type"] == "urn:acme-iid:admin:badParameter", self.content
        return str(self.content["parameter"])


def held(act_path: str, method: str, status: int, media: str, content: Any) -> None:
    """Hold an answer against the document."""
    response = DOCUMENT["paths"][act_path][method.lower()]["responses"][str(status)]
    if "$ref" in response:
        response = DOCUMENT["components"]["responses"][response["$ref"].rpartition("/")[2]]
    schema = response["content"][media]["schema"]
    jsonschema.Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(content)


class Api:
    """The acts of a CA.

    :param home: its home.
    :param now: the time, seconds.
    :param reload: has the server take ca.toml up again.
    :param look: looks at ca.toml.
    """

    def __init__(
        self,
        home: Path,
        database: Database,
        now: int,
        reload: Callable[[], None] | None = None,
        look: Callable[[], Look] | None = None,
    ) -> None:
        self.home = home
        self.database = database
        self.now = now
        self.dispatcher = Dispatcher(ca_toml.load(home), database, reload, look, clock=lambda: self.now)

    def send(self, request: Request, role: Role | None = Role.ADMINISTRATOR) -> Reply:
        """Send any request."""
        answer = self.dispatcher.respond(request, Caller(role))
        headers = dict(answer.headers)
        assert headers["X-Request-Id"]
        text, media = answer.body.decode(), headers["Content-Type"]
        content: Any = json.loads(text) if media.endswith("json") and "ndjson" not in media else text
        if media == PROBLEM:
            assert content["status"] == answer.status
            assert content["requestId"] == headers["X-Request-Id"]
        try:
            act, _ = dispatch.find(ACTS, request.method, request.path)
        except ProblemError:
            pass  # such an answer has no place in the document
        else:
            held(act.path, act.method, answer.status, media, content)
        return Reply(answer.status, headers, content)

    def ask(self, method: str, path: str, role: Role | None = Role.ADMINISTRATOR, /, **parameters: Any) -> Reply:
        """Ask for an act; ``parameters`` are in the query, or in the body."""
        query, body, media = "", b"", None
        if method == "POST":
            body, media = json.dumps({_key(name): value for name, value in parameters.items()}).encode(), JSON
        else:
            query = urlencode({_key(name): _spelled(value) for name, value in parameters.items()})
        return self.send(Request(method, path, query, media, "", "", body), role)

    def get(self, path: str, **parameters: Any) -> Any:
        """What is answered to an administrator who reads."""
        reply = self.ask("GET", path, **parameters)
        assert reply.status == 200, reply
        return reply.content

    def post(self, path: str, *, status: int = 200, **parameters: Any) -> Any:
        """What is answered to an administrator who changes something."""
        reply = self.ask("POST", path, **parameters)
        assert reply.status == status, reply
        return reply.content


def _key(name: str) -> str:
    """The parameter that a keyword stands for: ``for_`` is no word of Python's."""
    return name.rstrip("_")


def _spelled(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value


def request(method: str, path: str, query: str = "", body: bytes = b"", media: str | None = JSON) -> Request:
    """A request as it is sent."""
    return Request(method, path, query, media if body else None, "", "", body)
