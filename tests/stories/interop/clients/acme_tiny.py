"""acme-tiny: http-01 by files. It signs what openssl asks for, keeps nothing and cannot revoke."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from interop.harness import Client, Files, openssl


class AcmeTiny(Client):
    name = "acme-tiny"
    package = "acme-tiny"
    version = "5.0.1"
    program = "/usr/bin/acme-tiny"
    challenges = ("http-01",)
    renews_by = "run again"
    revokes_by = None
    binds = False
    _folder: Path

    def issue(self, names: Sequence[str], challenge: str, key: str) -> Files:
        assert challenge == "http-01"
        home = self.site.home
        openssl("genrsa", "-out", home / "account.key", "2048")
        kind = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"] if key == "ec" else ["rsa:2048"]
        openssl("req", "-new", "-newkey", *kind, "-nodes", "-keyout", home / "key.pem", "-out", home / "csr.pem",
                "-subj", "/", "-addext", "subjectAltName=" + ",".join(f"DNS:{name}" for name in names))  # fmt: skip
        self._folder = self.site.webroot()
        return self.renew()

    def renew(self) -> Files:
        home = self.site.home
        outcome = self.site.run(
            self.program, "--account-key", home / "account.key", "--csr", home / "csr.pem",
            "--acme-dir", self._folder, "--directory-url", self.server.directory,
            "--check-port", str(self.site.http_port), "--disable-check", env=self.site.env(SSL_CERT_FILE=self.root),
        )  # fmt: skip
        chain = home / "chain.pem"
        chain.write_text(outcome.stdout)
        return Files(chain, chain, home / "key.pem")
