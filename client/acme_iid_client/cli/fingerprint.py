"""acme-iid fingerprint."""

from __future__ import annotations

from typing import BinaryIO

import click


@click.command("fingerprint")
@click.argument("crt", type=click.File("rb"))
def command(crt: BinaryIO) -> None:
    """Print the SHA-256 fingerprint of a certificate. CRT is a PEM or DER file, or - for standard input."""
    from acme_iid_client.x509 import certificates

    click.echo(certificates.fingerprint(certificates.load_certificates(crt.read())[0]))
