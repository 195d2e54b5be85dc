"""Our server with everything switched on that the suite can see, its hosts' names answered by pebble-challtestsrv."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from conformance_runs.pebble import ADDRESS, Challenges
from running import CA

DOMAIN = "conformance.local"


@dataclass
class Ours:
    """Our server, while it runs, and a key for external account binding."""

    ca: CA
    challenges: Challenges
    eab: str

    @property
    def options(self) -> tuple[str, ...]:
        """What the suite is told besides the directory and the root."""
        return (*self.challenges.options, "--acme-domain", DOMAIN, "--acme-address", ADDRESS, "--acme-eab", self.eab)


@contextmanager
def serving(folder: Path, challenges: Challenges, *settings: str) -> Iterator[Ours]:
    """A CA whose hosts are on loopback.

    :param settings: further lines of the table ``[ca]``.
    """
    ca = CA(folder / "ca")
    ca.init()
    file = ca.home / "ca.toml"
    other = CA(folder / "other")
    other.init()
    ca.cli(
        "cross-sign",
        ca.home / "certs" / "alternate.crt",
        "--root-cert",
        other.root,
        "--root-key",
        other.root_key,
    )
    lines = "\n".join(
        (
            'terms_of_service = "https://ca.local/terms"',
            "crl = true",
            'alternate_chains = ["certs/alternate.crt"]',
            *settings,
        )
    )
    text = file.read_text().replace("[ca]\n", f"[ca]\n{lines}\n", 1)
    file.write_text(
        text
        + f"""
[[provisioner]]
name = "Hosts"
type = "ACME"
challenges = ["http-01", "dns-01", "tls-alpn-01", "dns-account-01"]
allow_wildcards = true
networks = ["127.0.0.0/8"]
resolver = ["{challenges.dns}"]
http_port = {challenges.http_port}
tls_port = {challenges.tls_port}

[profile.both]
description = "TLS servers and clients"
[profile.hour]
description = "TLS servers, for an hour"
usages = ["server"]
lifetime = "1h"
maximum_lifetime = "2h"
"""
    )
    made = json.loads(ca.cli("eab", "add", "--reusable", "--json").stdout)
    ca.start()
    try:
        yield Ours(ca, challenges, f"{made['key_id']}:{made['hmac_key']}")
    finally:
        if ca.process is not None:
            ca.stop()
