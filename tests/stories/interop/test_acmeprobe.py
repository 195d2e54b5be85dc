"""The probe that x/crypto's authors run against CAs: it issues, deactivates its authorizations and account, revokes."""

from __future__ import annotations

import pytest
from interop.harness import Server, Site, new_names, set_txt

SOURCE = "/usr/share/gocode/src/golang.org/x/crypto/acme/internal/acmeprobe/prober.go"
# The probe runs it with the record's name and its value.
HOOK = f"""#!/bin/sh
{set_txt("$1.", "$2")}
"""


def probe(site: Site, server: Server, challenge: str, *arguments: str, address: str = "127.0.0.1") -> None:
    """Run the probe, which ends with 1 if it finds anything wrong."""
    program = site.prepared / "acmeprobe"
    if not program.exists():
        packaged = site.env(GOPATH="/usr/share/gocode", GO111MODULE="off", GOCACHE=site.prepared / "go-cache")
        site.run("/usr/bin/go", "build", "-o", program, SOURCE, env=packaged)
    port = site.http_port if challenge == "http-01" else site.tls_port
    way = ["-s", str(site.script("hook", HOOK))] if challenge == "dns-01" else ["-a", f"{address}:{port}"]
    env = site.env(SSL_CERT_FILE=server.root)
    site.run(program, "-d", server.directory, "-t", challenge, *way, *arguments, env=env)


@pytest.mark.parametrize("flow", ["order", "preauthz"])
@pytest.mark.parametrize("challenge", ["http-01", "tls-alpn-01", "dns-01"])
def test_acmeprobe_finds_nothing_wrong(flow: str, challenge: str, server: Server, site: Site) -> None:
    probe(site, server, challenge, "-f", flow, "-domain", " ".join(new_names(2)))


def test_acmeprobe_finds_nothing_wrong_with_an_address(server: Server, site: Site) -> None:
    # By tls-alpn-01 it shows a dNSName in place of the iPAddress of RFC 8738 section 6, which no server may take.
    probe(site, server, "http-01", "-f", "order", "-ip", "127.0.0.2", address="127.0.0.2")  # not the CA's own
