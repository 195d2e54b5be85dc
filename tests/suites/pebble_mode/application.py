"""The CA's application with Pebble's directory path and habits in front of it, served by the CA's own server.

python -m pebble_mode.application HOME PORT HABITS

HABITS is JSON: the members of :class:`Habits`. The home is removed, and the program ends, when its standard input does.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import threading
from dataclasses import dataclass, fields
from pathlib import Path

from acme_iid.app import create_app
from acme_iid.config import ca_toml as configuration
from acme_iid.config.settings import Config
from acme_iid.errors import AcmeError
from acme_iid.policy.namespace import Namespace
from acme_iid.policy.policy import Policy
from acme_iid.protocol.addresses import Listen
from acme_iid.protocol.identifiers import Identifier
from acme_iid.serving import server
from acme_iid.serving.messages import Answer, Request
from acme_iid.store import certificates
from acme_iid.store.database import Database, open_store
from acme_iid.web import application

_CERTIFICATE = "/acme/certificate/"


@dataclass(frozen=True)
class Habits:
    """What Pebble does otherwise than the CA.

    :ivar nonce_reject: how many requests with a good nonce are told that it is bad, percent.
    :ivar retry_after: seconds that clients are told to wait for an authorization; 0 for the CA's own reckoning.
    :ivar blocked: names that are refused, with all names below them.
    """

    nonce_reject: int
    retry_after: int
    blocked: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AnyName(Namespace):
    """Every name but the blocked ones: nothing is reserved, not even the name that clients have for the CA."""

    blocked: tuple[str, ...] = ()

    def contains(self, _identifier: Identifier) -> bool:
        return True

    def refusal(self, identifier: Identifier) -> str | None:
        found = next((name for name in self.blocked if f".{identifier.value}".endswith(f".{name}")), None)
        return None if found is None else f"{identifier} is forbidden: domainBlocklist has {found}"


@dataclass(frozen=True, slots=True)
class Forgiving(Config):
    """The CA's configuration, by which it issues for any name.

    :ivar blocked: see :class:`Habits`.
    """

    blocked: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        policy = Policy(AnyName(blocked=self.blocked), self.provisioners, self.hosts)
        object.__setattr__(self, "policy", policy)


class Application:
    """The CA's application, and what Pebble does otherwise."""

    def __init__(self, app: application.Application, database: Database, habits: Habits, issuer: str | None) -> None:
        self._app = app
        self.ca = app.ca
        self.status = app.status
        self.metrics = app.metrics
        self._database = database
        self._habits = habits
        self._issuer = issuer

    async def answer(self, request: Request) -> Answer:
        path = request.path
        if path == "/dir":
            return await self._directory(request)
        if request.method != "POST":
            return await self._app.answer(request)
        if random.random() * 100 < self._habits.nonce_reject:
            return await self._problem(request, 400, "badNonce", "told so by chance")
        if path.startswith(_CERTIFICATE):
            found = certificates.get(self._database, path.removeprefix(_CERTIFICATE).partition("/")[0])
            if found is not None and found.revoked_at is not None:
                # Pebble forgets a certificate that was revoked, and suites look for that.
                return await self._problem(request, 404, "malformed", "it was revoked")
        answer = await self._app.answer(request)
        if self._habits.retry_after and answer.status == 200:
            seconds = str(self._habits.retry_after)
            answer.headers = [(name, seconds if name == "Retry-After" else value) for name, value in answer.headers]
        return answer

    def refusal(self, request: Request, error: AcmeError) -> Answer:
        return self._app.refusal(request, error)

    def failure(self, error: Exception) -> Answer:
        return self._app.failure(error)

    def takes_connection(self) -> bool:
        return self._app.takes_connection()

    def leaving(self) -> None:
        self._app.leaving()

    def stopped(self) -> None:
        self._app.stopped()

    def close(self) -> None:
        self._app.close()
        self._database.close()

    async def _directory(self, request: Request) -> Answer:
        answer = await self._app.answer(request)
        if answer.status == 200:
            shown = json.loads(answer.body)
            # Pebble heeds no CAA records and gives its name in them nevertheless.
            shown["meta"]["caaIdentities"] = [self._issuer]
            kept = {name: value for name, value in answer.headers if name != "Content-Length"}
            answer = Answer(json.dumps(shown), headers=kept)
        if request.method == "POST":
            answer.add("Replay-Nonce", await self._nonce(request))
        return answer

    async def _problem(self, request: Request, status: int, code: str, detail: str) -> Answer:
        problem = {"type": f"urn:ietf:params:acme:error:{code}", "detail": detail, "status": status}
        nonce = {"Replay-Nonce": await self._nonce(request)}
        return Answer(json.dumps(problem), status, "application/problem+json", nonce)

    async def _nonce(self, request: Request) -> str:
        """A fresh nonce, asked for as a client would."""
        asked = request._replace(method="HEAD", path="/acme/new-nonce", body=b"")
        return dict((await self._app.answer(asked)).headers)["Replay-Nonce"]


def main(home: str, port: str, habits: str) -> None:
    """Serve without TLS until SIGTERM, or until the program that started this one is no more."""
    threading.Thread(target=_end_with_input, args=(Path(home),), daemon=True).start()
    read = json.loads(habits)
    chosen = Habits(read["nonce_reject"], read["retry_after"], tuple(read["blocked"]))

    def factory(config: Config, password: str | None) -> Application:
        members = {field.name: getattr(config, field.name) for field in fields(Config) if field.init}
        app = create_app(Forgiving(**members, blocked=chosen.blocked), password)
        for name, method in (("directory", "GET"), ("directory_as_get", "POST")):
            app.add_url_rule("/dir", f"pebble_{name}", app.view_functions[f"acme.{name}"], methods=[method])
        return Application(app, open_store(config.store.url), chosen, config.issuer_domain)

    config = configuration.load(Path(home))
    server.run(config, listen=Listen("127.0.0.1", int(port)), plain_http=True, application=factory)


def _end_with_input(home: Path) -> None:
    """End when the other end of the standard input is gone: the kernel closes it also where SIGKILL ends a program."""
    sys.stdin.buffer.read()
    shutil.rmtree(home, ignore_errors=True)
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
