"""The CA's application with Pebble's directory path and habits in front of it, served by the CA's own server.

python -m pebble_mode.application HOME PORT NONCE_REJECT
"""

from __future__ import annotations

import io
import json
import random
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from acme_iid import config as configuration
from acme_iid import server
from acme_iid.app import create_app
from acme_iid.config import Config
from acme_iid.store import certificates
from acme_iid.store.database import Database, open_store
from acme_iid.values import Listen

Environment = dict[str, Any]
StartResponse = Callable[..., Any]
_CERTIFICATE = "/acme/certificate/"


class Application:
    """A WSGI application.

    :param app: the CA's.
    :param nonce_reject: how many requests with a good nonce are told that it is bad, percent.
    """

    def __init__(self, app: Callable[..., Iterable[bytes]], database: Database, nonce_reject: int) -> None:
        self._app = app
        self._database = database
        self._nonce_reject = nonce_reject

    def __call__(self, environment: Environment, start_response: StartResponse) -> Iterable[bytes]:
        path, method = environment["PATH_INFO"], environment["REQUEST_METHOD"]
        if method != "POST":
            return self._app(environment, start_response)
        if path == "/dir":
            nonce = self._nonce(environment)

            def with_nonce(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
                return start_response(status, [*headers, ("Replay-Nonce", nonce)], *more)

            return self._app(environment, with_nonce)
        if random.random() * 100 < self._nonce_reject:
            return self._problem(environment, start_response, "400 Bad Request", "badNonce", "told so by chance")
        if path.startswith(_CERTIFICATE):
            found = certificates.get(self._database, path.removeprefix(_CERTIFICATE).partition("/")[0])
            if found is not None and found.revoked_at is not None:
                # Pebble forgets a certificate that was revoked, and suites look for that.
                return self._problem(environment, start_response, "404 Not Found", "malformed", "it was revoked")
        return self._app(environment, start_response)

    def _problem(
        self, environment: Environment, start_response: StartResponse, status: str, code: str, detail: str
    ) -> Iterable[bytes]:
        environment["wsgi.input"].read(1024 * 1024)
        nonce = self._nonce(environment)
        problem = {"type": f"urn:ietf:params:acme:error:{code}", "detail": detail, "status": int(status[:3])}
        start_response(status, [("Content-Type", "application/problem+json"), ("Replay-Nonce", nonce)])
        return [json.dumps(problem).encode()]

    def _nonce(self, environment: Environment) -> str:
        """A fresh nonce, asked for as a client would."""
        headers: list[tuple[str, str]] = []
        asked = {
            **environment,
            "REQUEST_METHOD": "HEAD",
            "PATH_INFO": "/acme/new-nonce",
            "CONTENT_LENGTH": "0",
            "wsgi.input": io.BytesIO(),
        }
        list(self._app(asked, lambda _status, found, *_: headers.extend(found)))
        return dict(headers)["Replay-Nonce"]


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
