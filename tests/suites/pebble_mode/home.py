"""A throw-away CA with everything that Pebble's clients may ask of it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding
from pebble_mode.settings import Kind, Settings
from running import CA, UNLIMITED
from writing import put

from acme_iid.config import ca_toml
from acme_iid.config.locations import FILE_NAME
from acme_iid.durable import write_new
from acme_iid.issuance import keys
from acme_iid.issuance.ceremony import create_root
from acme_iid.issuance.home import load as load_ca
from acme_iid.issuance.serving import ServingCertificate
from acme_iid.protocol.identifiers import from_text
from acme_iid.protocol.resources import ExternalKey
from acme_iid.store import external_keys
from acme_iid.store.database import open_store

_YEAR = 365 * 86400


class Alternate(NamedTuple):
    """The files of another root: ``chain`` is the intermediate as it signed it, and the root."""

    root: Path
    key: Path
    chain: Path


def make(home: Path, settings: Settings) -> Path:
    """Make the CA, and return the PEM file with the key and the chain for its TLS servers."""
    CA(home).cli(
        "init", "--name", "Pebble mode", "--url", settings.url, "--listen", "127.0.0.1:0", "--no-name-constraints"
    )
    for number in range(1, settings.alternate_roots + 1):
        _cross_sign(home, number)
    path = home / FILE_NAME
    text = path.read_text().replace("[ca]\n", f"[ca]\n{_of_ca(settings)}", 1) + _provisioner(settings)
    path.write_text(text + "".join(_profile(name, kind) for name, kind in settings.profiles.items()))
    # Other people's suites make accounts and orders by the thousand, from one address.
    path.write_text(f"{path.read_text()}\n[limits]\n{UNLIMITED}\n")
    loaded = ca_toml.load(home)
    database = open_store(loaded.store.url)
    now = int(time.time())
    put(
        database,
        *(
            external_keys.add(ExternalKey(kid, key.rstrip("="), "pebble", reusable=True, created_at=now))
            for kid, key in settings.external_keys.items()
        ),
    )
    if settings.certificate is not None and settings.key is not None:
        both = home / "served.pem"
        both.write_bytes(settings.key.read_bytes() + b"\n" + settings.certificate.read_bytes())
        return both
    authority = load_ca(home)
    names = [from_text(name) for name in ("localhost", "127.0.0.1", "::1")]
    return ServingCertificate(home / "tls-front", _YEAR).issue(authority, names, int(time.time()))


def alternate(home: Path, number: int) -> Alternate:
    """Where the files of another root are."""
    folder = home / "alternates" / str(number)
    return Alternate(folder / "root.pem", folder / "root.key", folder / "chain.pem")


def _cross_sign(home: Path, number: int) -> None:
    files = alternate(home, number)
    files.root.parent.mkdir(parents=True)
    root = create_root(f"Pebble mode {number}", int(time.time()))
    files.root.write_bytes(root.certificate.public_bytes(Encoding.PEM))
    write_new(files.key, keys.to_pem(root.key), 0o600)
    CA(home).cli("cross-sign", "--root-cert", files.root, "--root-key", files.key, files.chain)


def _of_ca(settings: Settings) -> str:
    required = "external_account_required = true" if settings.external_required else ""
    chains = [f"alternates/{number}/chain.pem" for number in range(1, settings.alternate_roots + 1)]
    return f"""alternate_chains = {chains}
minimum_lifetime = "1m"
maximum_lifetime = "825d"
terms_of_service = "{settings.url}/terms"
issuer_domain = {json.dumps(settings.issuer)}
{required}
"""


def _profile(name: str, kind: Kind) -> str:
    minutes, seconds = divmod(kind.lifetime, 60)
    hours, minutes = divmod(minutes, 60)
    return f"""
[profile.{json.dumps(name, ensure_ascii=False)}]
description = {json.dumps(kind.description, ensure_ascii=False)}
lifetime = "{hours}h{minutes}m{seconds}s"
"""


def _provisioner(settings: Settings) -> str:
    servers = [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in settings.resolvers]
    return f"""
[[provisioner]]
name = "Pebble"
type = "ACME"
challenges = ["http-01", "dns-01", "tls-alpn-01", "dns-account-01", "dns-persist-01"]
allow_wildcards = true
networks = ["127.0.0.0/8", "::1/128", "0.0.0.0/0", "::/0"]
http_port = {settings.http_port}
tls_port = {settings.tls_port}
{f"resolver = {json.dumps(servers)}" if servers else ""}
"""
