"""``acme-iid-ca fingerprint``."""

from __future__ import annotations

import click

from acme_iid.cli import Home


@click.command(short_help="Print the root's fingerprint.")
@click.pass_obj
def fingerprint(home: Home) -> None:
    """Print the SHA-256 of the root certificate in lower-case hex, as ``acme-iid bootstrap --fingerprint`` takes it."""
    from cryptography.hazmat.primitives import hashes

    from acme_iid.issuance.home import ROOT_CERTIFICATE, load_certificate

    click.echo(load_certificate(home.path / ROOT_CERTIFICATE).fingerprint(hashes.SHA256()).hex())
