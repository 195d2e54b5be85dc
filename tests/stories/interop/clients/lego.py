"""lego: all three challenges."""

from __future__ import annotations

from collections.abc import Sequence

from interop.harness import Client, Files, set_txt

# lego runs it as "present FQDN VALUE" and "cleanup FQDN VALUE".
HOOK = f"""#!/bin/sh
[ "$1" = present ] || exit 0
{set_txt("$2", "$3")}
"""


class Lego(Client):
    name = "lego"
    package = "lego"
    version = "4.9.1"
    program = "/usr/bin/lego"
    challenges = ("http-01", "dns-01", "tls-alpn-01")
    renews_by = "renew --days"
    revokes_by = "revoke"
    _options: Sequence[str]
    _domains: Sequence[str]
    _first: str

    def _lego(self, domains: Sequence[str], *command: str) -> None:
        env = self.site.env(LEGO_CA_CERTIFICATES=self.root, EXEC_PATH=self.site.home / "hook",
                            EXEC_POLLING_INTERVAL="1", EXEC_SEQUENCE_INTERVAL="1")  # fmt: skip
        self.site.run(self.program, *self._options, *domains, *command, env=env)

    def _files(self) -> Files:
        folder = self.site.home / "lego" / "certificates"
        stem = self._first.replace("*", "_")
        return Files(folder / f"{stem}.crt", folder / f"{stem}.issuer.crt", folder / f"{stem}.key")

    def issue(self, names: Sequence[str], challenge: str, key: str) -> Files:
        self._first = names[0]
        self.site.script("hook", HOOK)
        self._domains = [word for name in names for word in ("--domains", name)]
        self._options = [
            "--accept-tos", "--server", self.server.directory, "--email", "a@example.com",
            "--path", str(self.site.home / "lego"), "--key-type", "ec256" if key == "ec" else "rsa2048",
            *(["--eab", "--kid", self.eab.kid, "--hmac", self.eab.key] if self.eab else []),
            *{
                "http-01": ["--http", "--http.port", f"127.0.0.1:{self.site.http_port}"],
                "tls-alpn-01": ["--tls", "--tls.port", f"127.0.0.1:{self.site.tls_port}"],
                "dns-01": ["--dns", "exec", "--dns.disable-cp", "--dns.resolvers", self.site.names.resolver],
            }[challenge],
        ]  # fmt: skip
        self._lego(self._domains, "run")
        return self._files()

    def renew(self) -> Files:
        self._lego(self._domains, "renew", "--days", "36500", "--no-random-sleep")
        return self._files()

    def revoke(self) -> None:
        self._lego(self._domains[:2], "revoke")
