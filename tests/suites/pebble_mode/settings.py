"""What Pebble is told by its command line, its configuration file and its environment, as far as this CA can follow."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_DAY = 86400
_MOST = 825 * _DAY


@dataclass(frozen=True)
class Settings:
    """One run.

    :ivar listen: where ACME is served, host and port.
    :ivar management: where the management endpoints are; None for nowhere.
    :ivar certificate: the PEM file with the chain for both, with ``key``; None for a certificate of the CA's own.
    :ivar resolver: the DNS server; None for the system's.
    :ivar lifetime: of certificates, seconds; whole minutes count.
    :ivar nonce_reject: how many good nonces are refused, percent.
    :ivar alternate_roots: how many other roots vouch for the intermediate.
    :ivar external_keys: MAC keys by their id, base64url.
    """

    listen: tuple[str, int]
    management: tuple[str, int] | None
    certificate: Path | None
    key: Path | None
    http_port: int
    tls_port: int
    resolver: str | None
    lifetime: int
    nonce_reject: int
    alternate_roots: int
    external_required: bool
    external_keys: Mapping[str, str]

    @property
    def url(self) -> str:
        """The server's URL; clients on this machine call it localhost."""
        return f"https://localhost:{self.listen[1]}"


def read(arguments: Sequence[str]) -> Settings:
    """Read the command line, and what it names."""
    parser = argparse.ArgumentParser(prog="pebble", description=__doc__, allow_abbrev=False)
    parser.add_argument("-config", "--config", type=Path, help="a Pebble configuration file")
    parser.add_argument("-dnsserver", "--dnsserver", help="the DNS server that validation asks, address:port")
    parser.add_argument("-strict", "--strict", nargs="?", const="true", help="this CA is always as strict as it can be")
    chosen = parser.parse_args(arguments)
    known = json.loads(chosen.config.read_text())["pebble"] if chosen.config else {}
    lifetime = known.get("certificateValidityPeriod") or _profile_lifetime(known) or 90 * _DAY
    management = known.get("managementListenAddress", "127.0.0.1:15000")
    return Settings(
        listen=_address(known.get("listenAddress", "127.0.0.1:14000")),
        management=_address(management) if management else None,
        certificate=Path(known["certificate"]) if "certificate" in known else None,
        key=Path(known["privateKey"]) if "privateKey" in known else None,
        http_port=known.get("httpPort", 5002),
        tls_port=known.get("tlsPort", 5001),
        resolver=None if chosen.dnsserver is None else "{}:{}".format(*_address(chosen.dnsserver)),
        lifetime=min(int(lifetime), _MOST),
        nonce_reject=int(os.environ.get("PEBBLE_WFE_NONCEREJECT", "5")),
        alternate_roots=int(os.environ.get("PEBBLE_ALTERNATE_ROOTS", "0")),
        external_required=bool(known.get("externalAccountBindingRequired")),
        external_keys=known.get("externalAccountMACKeys") or {},
    )


def _profile_lifetime(known: Mapping[str, Mapping[str, Mapping[str, int]]]) -> int | None:
    profiles = known.get("profiles") or {}
    return next((profile.get("validityPeriod") for profile in profiles.values()), None)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]") or "127.0.0.1", int(port)
