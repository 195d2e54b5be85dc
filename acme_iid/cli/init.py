"""``acme-iid-ca init``: a new CA in a home of its own."""

from __future__ import annotations

import json
import os
import shlex
import time
from pathlib import Path

import click

from acme_iid.cli import Home
from acme_iid.cli.parameters import Checked, password, password_file

_CONFIGURATION = """\
# The CA's configuration. A running server reads it again on SIGHUP; one that cannot be used leaves the old in force.

[ca]
name = {name}
# The names that clients may choose stay inside these domains, whatever a provisioner allows.
domains = {domains}
# Nobody gets a certificate for the CA's own names: the host in url, issuer_domain, the address in listen, and these.
# reserved = ["proxy.local", "10.0.0.5"]
# How long certificates are valid, unless an order asks for another time between the two limits.
# lifetime = "24h"
# minimum_lifetime = "5m"
# maximum_lifetime = "24h"
# Which keys certificates may have, and which algorithms accounts may sign with; all of them by default.
# key_types = ["P-256", "P-384", "P-521", "Ed25519", "RSA"]
# minimum_rsa_bits = 2048
# Revocation lists and OCSP: certificates say where, and the server answers there.
# crl = true
# Chains to other roots, as acme-iid-ca cross-sign makes them.
# alternate_chains = ["certs/alternate.crt"]
# account_algorithms = ["ES256", "ES384", "ES512", "EdDSA", "RS256"]

[server]
# The URL that clients use. Every address in the protocol begins with it.
url = {url}
listen = {listen}

[store]
# The database, a file in this directory; for several servers, postgresql://user@host/database.
url = "sqlite:ca.db"

# How much may be asked for; these are the defaults, and "off" turns one off.
# [limits]
# accounts_per_address = "100/1h"
# orders_per_account = "300/1h"
# open_orders_per_account = 100
# certificates_per_instance = "100/1d"
# certificates_per_name = "off"

# How long things stay in the store after their end: what led to no certificate, and certificates with their orders.
# [retention]
# orders = "7d"
# certificates = "90d"

# Kinds of certificates that orders ask for by name; one that asks for none gets the first.
# [profile.server]
# description = "TLS servers"
# usages = ["server"]
# lifetime = "12h"

# Whose instances get certificates; acme-iid-ca provisioner add writes these tables.
# [[provisioner]]
# name = "AWS IID Provisioner"
# type = "AWS"
# accounts = ["123456789042"]
"""


@click.command(short_help="Make a new CA.")
@click.option("--name", default="My CA", show_default=True, type=Checked("name"), help="What the CA is called.")
@click.option(
    "--domain",
    "domains",
    multiple=True,
    default=("local", "internal"),
    show_default=True,
    type=Checked("domain", keep=False),
    help="A domain that the CA issues names in; may be repeated.",
)
@click.option(
    "--url",
    default="https://ca.local",
    show_default=True,
    type=Checked("server_url", keep=False),
    help="The URL that clients use.",
)
@click.option(
    "--listen",
    default="0.0.0.0:443",
    show_default=True,
    type=Checked("listen_address"),
    help="Where the server listens.",
)
@password_file
@click.pass_obj
def init(home: Home, name: str, domains: tuple[str, ...], url: str, listen: str, password_file: Path | None) -> None:
    """Make a new CA: a root, an intermediate that issues, and ca.toml. Nothing that exists is overwritten.

    With --password-file the private keys are encrypted, and ``serve`` needs the same file.
    """
    from acme_iid.config import ca_toml
    from acme_iid.issuance import ca, keys

    text = _CONFIGURATION.format(
        name=_quoted(name),
        domains="[" + ", ".join(_quoted(domain) for domain in dict.fromkeys(domains)) + "]",
        url=_quoted(url),
        listen=_quoted(listen),
    )
    ca_toml.parse(text.encode(), home.path)
    secret = password(password_file)
    now = int(time.time())
    root = ca.create_root(name, now)
    intermediate = ca.create_intermediate(root, name, now)
    authority = ca.CertificateAuthority(root.certificate, intermediate)
    _write(
        home.path,
        {
            ca.ROOT_KEY: (keys.to_pem(root.key, secret), 0o600),
            ca.INTERMEDIATE_KEY: (keys.to_pem(intermediate.key, secret), 0o600),
            ca.ROOT_CERTIFICATE: (authority.root_pem.encode(), 0o644),
            ca.INTERMEDIATE_CERTIFICATE: (authority.intermediate_pem.encode(), 0o644),
            # Last: a home is one when this file is there, so an init that was cut short leaves none.
            Path(ca_toml.FILE_NAME): (text.encode(), 0o644),
        },
    )
    _tell(home, name, url, authority.root_fingerprint, password_file)


def _quoted(text: str) -> str:
    # For printable text, which is all that comes here, JSON's strings are TOML's.
    return json.dumps(text, ensure_ascii=False)


def _write(home: Path, files: dict[Path, tuple[bytes, int]]) -> None:
    from acme_iid.config.ca_toml import FILE_NAME
    from acme_iid.durable import sync_names, write_new

    if (home / FILE_NAME).exists():
        raise click.ClickException(f"{home} already holds a CA; choose another directory with --home")
    for path in files:
        if (home / path).exists():
            raise click.ClickException(
                f"{home / path} exists, without a {FILE_NAME} beside it: an init was interrupted there. Nothing uses "
                f"those files; remove them, or choose another directory with --home"
            )
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    home.chmod(0o700)
    made: list[Path] = []
    try:
        for path, (data, mode) in files.items():
            folder = (home / path).parent
            folder.mkdir(mode=0o700, exist_ok=True)
            if path.name != FILE_NAME:
                made.append(home / path)
                write_new(home / path, data, mode)
                continue
            # Complete before it has its name.
            partial = home / f"{path}.{os.getpid()}.new"
            made.append(partial)
            write_new(partial, data, mode)
            for changed in {(home / other).parent for other in files}:
                sync_names(changed)
            partial.rename(home / path)
            sync_names(home)
    except BaseException:
        for path in made:
            path.unlink(missing_ok=True)
        raise


def _tell(home: Home, name: str, url: str, fingerprint: str, password_file: Path | None) -> None:
    command = "acme-iid-ca" + (f" --home {shlex.quote(str(home.path))}" if home.given else "")
    secret = f" --password-file {shlex.quote(str(password_file))}" if password_file else ""
    click.echo(f"The CA {name!r} has been made in {home.path}.")
    click.echo(f"Root fingerprint: {fingerprint}")
    click.echo(f"""
Next, say whose instances get certificates, and start the server:
  {command} provisioner add "AWS IID Provisioner" --type AWS --aws-account ACCOUNT_ID
  {command} serve{secret}
Then, on each VM:
  acme-iid bootstrap --ca-url {url} --fingerprint {fingerprint}

secrets/root_ca_key signs further intermediates only and the server never reads it: keep it in a safer place.""")
