"""Our CA as the server: hosts are on loopback, and known to the challenge test server's DNS alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from interop.harness import DOMAIN, ExternalAccount
from running import CA

PROVISIONER = """
[[provisioner]]
name = "Hosts"
type = "ACME"
challenges = ["http-01", "dns-01", "tls-alpn-01"]
allow_wildcards = true
networks = ["127.0.0.0/8"]
resolver = ["{resolver}"]
http_port = {http_port}
tls_port = {tls_port}
"""


@dataclass
class Ours(CA):
    """A CA with a provisioner of type ACME."""

    @property
    def issuing_root(self) -> Path:
        return self.root

    def init_for_hosts(self, resolver: str, http_port: int, tls_port: int, *made_with: str) -> None:
        """Make it; nobody but hosts is admitted.

        :param made_with: further options of ``init``.
        """
        # Hosts are on loopback, whose addresses init's name constraints do not permit by themselves.
        self.cli("init", "--name", "Interop CA", "--domain", DOMAIN, "--url", self.url,
                 "--listen", f"127.0.0.1:{self.port}", "--permit-network", "127.0.0.0/8", *made_with)  # fmt: skip
        with (self.home / "ca.toml").open("a") as file:
            file.write(PROVISIONER.format(resolver=resolver, http_port=http_port, tls_port=tls_port))

    def require_external_accounts(self) -> None:
        """Let nobody make an account without an external account key."""
        path = self.home / "ca.toml"
        path.write_text(path.read_text().replace("[ca]\n", "[ca]\nexternal_account_required = true\n", 1))

    @contextmanager
    def served(self, *options: str) -> Iterator[None]:
        self.start(*options)
        try:
            yield
        finally:
            self.stop()

    def record(self, serial: int) -> dict[str, object]:
        """What the operator is shown of a certificate."""
        shown: dict[str, object] = json.loads(self.cli("certificate", "show", str(serial), "--json").stdout)
        return shown

    def revoked(self, serial: int) -> bool:
        return self.record(serial)["status"] == "revoked"

    def external_account(self) -> ExternalAccount:
        """A new external account key."""
        made = json.loads(self.cli("eab", "add", "--json").stdout)
        return ExternalAccount(made["key_id"], made["hmac_key"])

    def external_accounts(self) -> list[dict[str, object]]:
        """What the operator is shown of the external account keys."""
        listed: list[dict[str, object]] = json.loads(self.cli("eab", "list", "--json").stdout)
        return listed
