"""certbot: http-01 by its own server, dns-01 by a hook."""

from __future__ import annotations

from collections.abc import Sequence

from interop.harness import Client, Files, set_txt

HOOK = f"""#!/bin/sh
{set_txt("_acme-challenge.$CERTBOT_DOMAIN.", "$CERTBOT_VALIDATION")}
"""


class Certbot(Client):
    name = "certbot"
    package = "certbot"
    version = "2.1.0"
    program = "/usr/bin/certbot"
    challenges = ("http-01", "dns-01")
    renews_by = "renew --force-renewal"
    revokes_by = "revoke"
    preferred_chain: str | None = None
    """the common name of the root that its chain is to lead to"""

    def _certbot(self, *arguments: str) -> None:
        folders = [word for kind in ("config", "work", "logs") for word in (f"--{kind}-dir", self.site.home / kind)]
        self.site.run(self.program, *arguments, "--non-interactive", *folders,
                      env=self.site.env(REQUESTS_CA_BUNDLE=self.root))  # fmt: skip

    def _files(self) -> Files:
        live = self.site.home / "config" / "live" / "ours"
        return Files(live / "cert.pem", live / "chain.pem", live / "privkey.pem")

    def issue(self, names: Sequence[str], challenge: str, key: str) -> Files:
        if challenge == "http-01":
            way = ["--standalone", "--http-01-port", str(self.site.http_port), "--http-01-address", "127.0.0.1"]
        else:
            hook = str(self.site.script("hook", HOOK))
            way = ["--manual", "--preferred-challenges", "dns", "--manual-auth-hook", hook]
        bound = ["--eab-kid", self.eab.kid, "--eab-hmac-key", self.eab.key] if self.eab else []
        if self.preferred_chain:
            way += ["--preferred-chain", self.preferred_chain]
        kind = ["--key-type", "ecdsa" if key == "ec" else "rsa"]
        domains = [word for name in names for word in ("-d", name)]
        self._certbot("certonly", "--server", self.server.directory, "--agree-tos", "--email", "a@example.com",
                      "--no-eff-email", "--cert-name", "ours", *way, *bound, *kind, *domains)  # fmt: skip
        return self._files()

    def renew(self) -> Files:
        self._certbot("renew", "--force-renewal", "--no-random-sleep-on-renew")
        return self._files()

    def revoke(self) -> None:
        self._certbot("revoke", "--server", self.server.directory, "--cert-name", "ours", "--no-delete-after-revoke")
