"""lacme: http-01 by its own web server; the account's key is held by lacme-accountd.

It trusts whom the system trusts, and takes no word from the environment.
"""

from __future__ import annotations

from collections.abc import Sequence

from interop.harness import Client, Files, openssl


class Lacme(Client):
    name = "lacme"
    package = "lacme"
    version = "0.8.2"
    program = "/usr/sbin/lacme"
    challenges = ("http-01",)
    renews_by = "newOrder --force"
    revokes_by = "revokeCert"
    binds = False

    def _lacme(self, *arguments: str) -> None:
        self.site.run(*self.site.trusting(self.root), self.program, "--config", self.site.home / "lacme.conf",
                      *arguments, env=self.site.env())  # fmt: skip

    def _files(self) -> Files:
        home = self.site.home
        return Files(home / "cert.pem", home / "chain.pem", home / "key.pem")

    def issue(self, names: Sequence[str], challenge: str, key: str) -> Files:
        assert challenge == "http-01"
        home = self.site.home
        if key == "ec":
            openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", home / "key.pem")
        else:
            openssl("genrsa", "-out", home / "key.pem", "2048")
        openssl("genrsa", "-out", home / "account.key", "2048")
        (home / "accountd.conf").write_text(f"privkey = file:{home}/account.key\n")
        (home / "lacme.conf").write_text(
            f"config-certs = {home}/certs.conf\n"
            f"[client]\nserver = {self.server.directory}\nuser =\ngroup =\n"
            f"[webserver]\nlisten = 127.0.0.1:{self.site.http_port}\nuser =\ngroup =\n"
            f"[accountd]\nconfig = {home}/accountd.conf\n"
        )
        (home / "certs.conf").write_text(
            f"[ours]\ncertificate-key = {home}/key.pem\ncertificate = {home}/cert.pem\n"
            f"certificate-chain = {home}/chain.pem\nsubject = /CN={names[0]}\n"
            f"subjectAltName = {','.join(f'DNS:{name}' for name in names)}\nCAfile = {self.server.issuing_root}\n"
        )
        self._lacme("account", "--register", "--tos-agreed", "mailto:a@example.com")
        self._lacme("newOrder")
        return self._files()

    def renew(self) -> Files:
        self._lacme("newOrder", "--force")
        return self._files()

    def revoke(self) -> None:
        self._lacme("revokeCert", str(self._files().leaf))
