"""Caddy: http-01 and tls-alpn-01 by itself. It renews when the rest of the lifetime is inside a window."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from interop.harness import Client, Files, running, until


class Caddy(Client):
    name = "Caddy"
    package = "caddy"
    version = "2.6.2"
    program = "/usr/bin/caddy"
    challenges = ("http-01", "tls-alpn-01")
    renews_by = "renewal window"
    revokes_by = None
    joins_names = False
    _names: Sequence[str]
    _issuer: dict[str, object]
    _key: str

    def _certificate(self) -> Path | None:
        name = self._names[0]
        found = list((self.site.home / "storage").glob(f"certificates/*/{name}/{name}.crt"))
        return found[0] if found else None

    def _run(self, window: float, stack: ExitStack) -> None:
        configuration = {
            "admin": {"disabled": True},
            "storage": {"module": "file_system", "root": str(self.site.home / "storage")},
            "apps": {
                "http": {
                    "http_port": self.site.http_port,
                    "https_port": self.site.tls_port,
                    "servers": {"ours": {"listen": [f"127.0.0.1:{self.site.tls_port}"], "routes": [
                        {"match": [{"host": list(self._names)}]}
                    ]}},
                },
                "tls": {"automation": {
                    "policies": [{"subjects": list(self._names), "key_type": self._key, "renewal_window_ratio": window,
                                  "issuers": [self._issuer]}],
                }},
            },
        }  # fmt: skip
        path = self.site.home / "caddy.json"
        path.write_text(json.dumps(configuration))
        stack.enter_context(
            running(self.program, "run", "--config", path, env=self.site.env(), log=self.site.home / "caddy.log")
        )

    def issue(self, names: Sequence[str], challenge: str, key: str) -> Files:
        self._names = names
        self._key = "p256" if key == "ec" else "rsa2048"
        other = "tls-alpn" if challenge == "http-01" else "http"
        self._issuer = {
            "module": "acme",
            "ca": self.server.directory,
            "email": "a@example.com",
            "trusted_roots_pem_files": [str(self.root)],
            "challenges": {other: {"disabled": True}},
        }
        if self.eab:
            self._issuer["external_account"] = {"key_id": self.eab.kid, "mac_key": self.eab.key}
        with ExitStack() as stack:
            self._run(0.01, stack)
            log = self.site.home / "caddy.log"
            until(lambda: self._certificate() is not None or "unknown authority" in log.read_text(), "Caddy")
        assert self._certificate(), log.read_text()
        return self._files()

    def renew(self) -> Files:
        before = self._files().leaf.read_bytes()
        with ExitStack() as stack:
            self._run(1, stack)
            until(lambda: self._files().leaf.read_bytes() != before, "Caddy's renewal")
        return self._files()

    def _files(self) -> Files:
        leaf = self._certificate()
        assert leaf is not None
        return Files(leaf, leaf, leaf.with_suffix(".key"))
