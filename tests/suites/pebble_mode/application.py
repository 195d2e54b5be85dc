"""The CA's application with Pebble's directory path and habits in front of it, served by the CA's own server.

python -m pebble_mode.application HOME PORT NONCE_REJECT
"""

from __future__ import annotations

import json
import random
import sys
from dataclasses import replace
from pathlib import Path

from acme_iid.app import create_app
from acme_iid.config import ca_toml as configuration
from acme_iid.config.settings import Config
from acme_iid.errors import AcmeError
from acme_iid.protocol.addresses import Listen
from acme_iid.serving import server
from acme_iid.serving.messages import Answer, Request
from acme_iid.store import certificates
from acme_iid.store.database import Database, open_store
from acme_iid.web import application

_CERTIFICATE = "/acme/certificate/"


class Application:
    """The CA's application, and what Pebble does otherwise.

    :param app: the CA's.
    :param nonce_reject: how many requests with a good nonce are told that it is bad, percent.
    """

    def __init__(self, app: application.Application, database: Database, nonce_reject: int) -> None:
        self._app = app
        self._database = database
        self._nonce_reject = nonce_reject

    async def answer(self, request: Request) -> Answer:
        path = request.path
        if path == "/dir":
            answer = await self._app.answer(request)
            if request.method == "POST":
                answer.add("Replay-Nonce", await self._nonce(request))
            return answer
        if request.method != "POST":
            return await self._app.answer(request)
        if random.random() * 100 < self._nonce_reject:
            return await self._problem(request, 400, "badNonce", "told so by chance")
        if path.startswith(_CERTIFICATE):
            found = certificates.get(self._database, path.removeprefix(_CERTIFICATE).partition("/")[0])
            if found is not None and found.revoked_at is not None:
                # Pebble forgets a certificate that was revoked, and suites look for that.
                return await self._problem(request, 404, "malformed", "it was revoked")
        return await self._app.answer(request)

    def refusal(self, request: Request, error: AcmeError) -> Answer:
        return self._app.refusal(request, error)

    def failure(self, error: Exception) -> Answer:
        return self._app.failure(error)

    def takes_connection(self) -> bool:
        return self._app.takes_connection()

    def stopped(self) -> None:
        self._app.stopped()

    def close(self) -> None:
        self._app.close()
        self._database.close()

    async def _problem(self, request: Request, status: int, code: str, detail: str) -> Answer:
        problem = {"type": f"urn:ietf:params:acme:error:{code}", "detail": detail, "status": status}
        nonce = {"Replay-Nonce": await self._nonce(request)}
        return Answer(json.dumps(problem), status, "application/problem+json", nonce)

    async def _nonce(self, request: Request) -> str:
        """A fresh nonce, asked for as a client would."""
        asked = request._replace(method="HEAD", path="/acme/new-nonce", body=b"")
        return dict((await self._app.answer(asked)).headers)["Replay-Nonce"]


def main(home: str, port: str, nonce_reject: str) -> None:
    """Serve without TLS until SIGTERM."""

    def factory(config: Config, password: str | None) -> Application:
        # What listens here is a relay's other side; suites may order the address for themselves.
        config = replace(config, server=replace(config.server, listen=Listen("0.0.0.0", 0)))  # noqa: S104 - not bound
        app = create_app(config, password)
        for name, method in (("directory", "GET"), ("directory_as_get", "POST")):
            app.add_url_rule("/dir", f"pebble_{name}", app.view_functions[f"acme.{name}"], methods=[method])
        return Application(app, open_store(config.store.url), int(nonce_reject))

    config = configuration.load(Path(home))
    server.run(config, listen=Listen("127.0.0.1", int(port)), plain_http=True, application=factory)


if __name__ == "__main__":
    main(*sys.argv[1:])
