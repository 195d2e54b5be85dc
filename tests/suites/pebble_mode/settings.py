"""What Pebble is told by its command line, its configuration file and its environment, as far as this CA can follow."""

from __future__ import annotations

import argparse
import json
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_DAY = 86400
_LEAST, _MOST = 60, 825 * _DAY
_USUAL = 90 * _DAY
_LIMIT = 9223372038
"""From this many seconds on Pebble takes the usual ones: they do not fit Go's durations."""
ISSUER = "pebble.letsencrypt.org"
"""Pebble's name in CAA and dns-persist-01 records, unless ``caaIdentities`` says another."""


@dataclass(frozen=True)
class Kind:
    """A certificate profile: its description, and the seconds that its certificates are valid."""

    description: str
    lifetime: int


@dataclass(frozen=True)
class Settings:
    """One run.

    :ivar listen: where ACME is served, host and port; an empty host is every address.
    :ivar management: where the management endpoints are; None for nowhere.
    :ivar certificate: the PEM file with the chain for both, with ``key``; None for a certificate of the CA's own.
    :ivar resolvers: the DNS servers that validation asks; none for the system's.
    :ivar profiles: by their names; the first one is an order's that asks for none.
    :ivar issuer: the CA's name in CAA and dns-persist-01 records.
    :ivar blocked: names that are refused, with all names below them.
    :ivar retry_after: seconds that clients are told to wait for an authorization; 0 for this CA's own reckoning.
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
    resolvers: Sequence[tuple[str, int]]
    profiles: Mapping[str, Kind]
    issuer: str
    blocked: Sequence[str]
    retry_after: int
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
    known = _Object({} if chosen.config is None else _Object(json.loads(chosen.config.read_text())).get("pebble", {}))
    management = known.get("managementListenAddress", "")
    certificate, key = known.get("certificate", ""), known.get("privateKey", "")
    return Settings(
        listen=_address(known.get("listenAddress", "127.0.0.1:14000")),
        management=_address(management) if management else None,
        certificate=Path(certificate) if certificate else None,
        key=Path(key) if key else None,
        http_port=known.get("httpPort", 5002),
        tls_port=known.get("tlsPort", 5001),
        resolvers=name_servers(chosen.dnsserver) if chosen.dnsserver else (),
        profiles=_profiles(known),
        issuer=next(iter(known.get("caaIdentities", [])), ISSUER),
        blocked=[name.lower() for name in known.get("domainBlocklist", [])],
        retry_after=_Object(known.get("retryAfter", {})).get("authz", 0),
        nonce_reject=int(os.environ.get("PEBBLE_WFE_NONCEREJECT", "5")),
        alternate_roots=int(os.environ.get("PEBBLE_ALTERNATE_ROOTS", "0")),
        external_required=known.get("externalAccountBindingRequired", False),
        external_keys=known.get("externalAccountMACKeys", {}),
    )


class _Object:
    """A JSON object as Go reads one: the case of its members' names does not count, and null is nothing."""

    def __init__(self, members: Mapping[str, Any]) -> None:
        self._members = {name.lower(): value for name, value in members.items()}

    def get(self, name: str, default: Any) -> Any:
        """A member, or ``default`` if there is none."""
        value = self._members.get(name.lower())
        return default if value is None else value


def _profiles(known: _Object) -> dict[str, Kind]:
    """The profiles; a file without any has one, whose lifetime files for older versions give beside them."""
    usual = _lifetime(known.get("certificateValidityPeriod", 0))
    found = {name: _Object(members) for name, members in known.get("profiles", {}).items()}
    if not found:
        return {"default": Kind("The default profile", usual)}
    return {
        name: Kind(profile.get("description", "") or name, _lifetime(profile.get("validityPeriod", 0)))
        for name, profile in found.items()
    }


def _lifetime(seconds: int) -> int:
    """The lifetime that Pebble would give, as far as this CA gives it."""
    return min(max(seconds, _LEAST), _MOST) if 0 < seconds < _LIMIT else _USUAL


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def name_servers(text: str) -> list[tuple[str, int]]:
    """The addresses of a DNS server that is given as Go takes it: an address or a host's name, with its port.

    :raises SystemExit: if the name has no address.
    """
    host, port = _address(text if ":" in text else f"{text}:53")
    try:
        found = socket.getaddrinfo(host or "localhost", port, type=socket.SOCK_DGRAM)
    except socket.gaierror as error:
        raise SystemExit(f"-dnsserver {text}: {host} has no address: {error.strerror}") from error
    # Docker and /etc/hosts give a server's IPv6 address too, at which it may not listen: it is asked second.
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    return list(dict.fromkeys((str(entry[4][0]), port) for entry in found))
