"""dehydrated: http-01 by files, dns-01 by a hook, tls-alpn-01 by the certificates that it makes."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from interop.harness import Client, Files, listens, running, set_txt, until

RESPONDER = Path(__file__).parent.parent / "alpn_responder.py"
# dehydrated runs it as "deploy_challenge NAME TOKEN VALUE", once a name.
HOOK = f"""#!/bin/sh
[ "$1" = deploy_challenge ] || exit 0
{set_txt("_acme-challenge.$2.", "$4")}
"""


class Dehydrated(Client):
    name = "dehydrated"
    package = "dehydrated"
    version = "0.7.0"
    program = "/usr/bin/dehydrated"
    challenges = ("http-01", "dns-01", "tls-alpn-01")
    renews_by = "--cron --force"
    revokes_by = "--revoke"
    _sign: Sequence[str]

    def _dehydrated(self, *arguments: str | Path) -> None:
        self.site.run(self.program, *arguments, "--config", self.site.home / "config", env=self.site.env())

    def _files(self) -> Files:
        folder = self.site.home / "certs" / "ours"
        return Files(folder / "cert.pem", folder / "chain.pem", folder / "privkey.pem")

    def issue(self, names: Sequence[str], challenge: str, key: str) -> Files:
        home = self.site.home
        settings = {
            "BASEDIR": home,
            "CA": self.server.directory,
            "CURL_OPTS": f"--cacert {shlex.quote(str(self.root))}",
            "CHALLENGETYPE": challenge,
            "KEY_ALGO": "prime256v1" if key == "ec" else "rsa",
            "KEYSIZE": 2048,
            "CONTACT_EMAIL": "a@example.com",
        }
        if self.eab:
            settings |= {"EAB_KID": self.eab.kid, "EAB_HMAC_KEY": self.eab.key}
        if challenge == "http-01":
            settings["WELLKNOWN"] = self.site.webroot()
        elif challenge == "dns-01":
            settings["HOOK"] = self.site.script("hook", HOOK)
        else:
            settings["ALPNCERTDIR"] = folder = home / "alpn"
            folder.mkdir()
            self.site.stack.enter_context(
                running(sys.executable, RESPONDER, str(self.site.tls_port), folder, log=home / "responder.log")
            )
            until(lambda: listens(self.site.tls_port), "the responder")
        (home / "config").write_text("".join(f"{name}={shlex.quote(str(v))}\n" for name, v in settings.items()))
        self._dehydrated("--register", "--accept-terms")
        self._sign = ["--cron", "--alias", "ours", "--domain", " ".join(names)]
        self._dehydrated(*self._sign)
        return self._files()

    def renew(self) -> Files:
        self._dehydrated(*self._sign, "--force")
        return self._files()

    def revoke(self) -> None:
        self._dehydrated("--revoke", self._files().leaf)
