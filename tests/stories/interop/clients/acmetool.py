"""acmetool: http-01 by its own server, dns-01 by a hook.

It has no way to renew early, but asks again for what it does not find. Its command "revoke" marks a certificate as
one to revoke, and never sends that to the server.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from interop.harness import Client, Files, set_txt

# acmetool runs it as "challenge-dns-start NAME TARGET VALUE"; 42 says that an event is not for this hook.
HOOK = f"""#!/bin/sh
[ "$1" = challenge-dns-stop ] && exit 0
[ "$1" = challenge-dns-start ] || exit 42
{set_txt("_acme-challenge.$2.", "$4")}
"""


class Acmetool(Client):
    name = "acmetool"
    package = "acmetool"
    version = "0.2.2"
    program = "/usr/bin/acmetool"
    challenges = ("http-01", "dns-01")
    renews_by = "reconcile, without the old one"
    revokes_by = None
    binds = False
    _names: Sequence[str]
    _target: dict[str, object]

    def _acmetool(self, *arguments: str) -> None:
        home = self.site.home
        self.site.run(self.program, "--batch", "--state", home / "state", "--hooks", home / "hooks",
                      "--response-file", home / "responses", "--xlog.severity=debug", *arguments,
                      env=self.site.env(SSL_CERT_FILE=self.root))  # fmt: skip

    def _live(self) -> Path:
        return (self.site.home / "state" / "live" / self._names[0]).resolve()

    def _reconcile(self) -> Files:
        state = self.site.home / "state"
        (state / "desired" / "ours").write_text(json.dumps(self._target))  # JSON is YAML
        self._acmetool("reconcile")
        live = self._live()
        return Files(live / "cert", live / "chain", live / "privkey")

    def issue(self, names: Sequence[str], challenge: str, key: str) -> Files:
        home = self.site.home
        self._names = names
        for folder in ("state/conf", "state/desired", "hooks"):
            (home / folder).mkdir(parents=True)
        if challenge == "dns-01":
            self.site.script("hooks/dns", HOOK)
        terms = "data:text/plain,Do%20what%20thou%20wilt"  # Pebble's; our server has none here
        answers = {
            f"acme-agreement:{terms}": True,
            "acme-enter-email": "a@example.com",
            "acmetool-quickstart-complete": True,
        }
        (home / "responses").write_text(json.dumps(answers))
        self._target = {
            "satisfy": {"names": list(names)},
            "request": {
                "provider": self.server.directory,
                "key": {"type": "ecdsa", "ecdsa-curve": "nistp256"}
                if key == "ec"
                else {"type": "rsa", "rsa-size": 2048},
                "challenge": {
                    "http-ports": [f"127.0.0.1:{self.site.http_port}"],
                    # A challenge that its own test of it fails is passed over.
                    "http-self-test": challenge == "dns-01",
                },
            },
        }
        return self._reconcile()

    def renew(self) -> Files:
        self._live().rename(self.site.home / "aside")
        return self._reconcile()
