"""uacme: hooks for http-01 and dns-01, its own ualpn for tls-alpn-01.

It has no setting for whom to trust but the system.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from interop.harness import Client, Files, running, set_txt, until

# uacme runs it as "begin TYPE NAME TOKEN VALUE", and takes another challenge when it fails.
HOOK = f"""#!/bin/sh
[ "$1" = begin ] || exit 0
[ "$2" = "$CHALLENGE" ] || exit 1
case "$2" in
    http-01) printf %s "$5" > "$WEBROOT/$4" ;;
    dns-01) {set_txt("_acme-challenge.$3.", "$5")} ;;
    tls-alpn-01) [ "$(echo "auth $3 $5" | ualpn --sock "$UALPN")" = OK ] ;;
esac
"""


class Uacme(Client):
    name = "uacme"
    package = "uacme"
    version = "1.7.4"
    program = "/usr/bin/uacme"
    challenges = ("http-01", "dns-01", "tls-alpn-01")
    renews_by = "issue --force"
    revokes_by = "revoke"
    _challenge: str
    _names: Sequence[str]
    _options: Sequence[str]

    def _uacme(self, *arguments: str | Path) -> None:
        home = self.site.home
        env = self.site.env(CHALLENGE=self._challenge, WEBROOT=home / "webroot/.well-known/acme-challenge",
                            UALPN=home / "ualpn.sock")  # fmt: skip
        self.site.run(*self.site.trusting(self.root), self.program, "--acme-url", self.server.directory,
                      "--confdir", home / "uacme", *self._options, *arguments, env=env)  # fmt: skip

    def _files(self) -> Files:
        folder, name = self.site.home / "uacme", self._names[0].removeprefix("*.")
        return Files(folder / name / "cert.pem", folder / name / "cert.pem", folder / "private" / name / "key.pem")

    def issue(self, names: Sequence[str], challenge: str, key: str) -> Files:
        home = self.site.home
        self._challenge, self._names = challenge, names
        self._options = ["--verbose", "--type", "EC" if key == "ec" else "RSA", "--hook",
                         str(self.site.script("hook", HOOK))]  # fmt: skip
        if challenge == "http-01":
            self.site.webroot()
        elif challenge == "tls-alpn-01":
            self.site.stack.enter_context(
                running("/usr/bin/ualpn", "--bind", f"127.0.0.1@{self.site.tls_port}", "--connect",
                        f"127.0.0.1@{self.site.http_port}", "--sock", home / "ualpn.sock", "-vv",
                        log=home / "ualpn.log")
            )  # fmt: skip
            until((home / "ualpn.sock").exists, "ualpn")
        self._uacme(*(["--eab", f"{self.eab.kid}:{self.eab.key}"] if self.eab else []), "--yes", "new", "a@example.com")
        self._uacme("issue", *names)
        return self._files()

    def renew(self) -> Files:
        self._uacme("--force", "issue", *self._names)
        return self._files()

    def revoke(self) -> None:
        self._uacme("revoke", self._files().leaf)
