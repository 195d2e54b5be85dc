"""acme-iid inspect."""

from __future__ import annotations

from typing import BinaryIO

import click

from acme_iid_client.cli import options


@click.command("inspect")
@click.argument("crt", type=click.File("rb"))
@click.option("--short", is_flag=True, help="Print a few lines only.")
@click.option("--bundle", is_flag=True, help="Print every certificate in the file, not only the first.")
@options.json
def command(crt: BinaryIO, short: bool, bundle: bool, as_json: bool) -> None:
    """Show what is in a certificate. CRT is a PEM or DER file, or - for standard input; the first one in it counts."""
    from acme_iid_client.cli.terminal import printable
    from acme_iid_client.x509 import certificates

    chain = certificates.load_certificates(crt.read())
    if as_json:
        import json

        facts = [certificates.facts(certificate) for certificate in chain]
        click.echo(json.dumps(facts if bundle else facts[0], indent=2))
        return
    show = certificates.short_text if short else certificates.long_text
    for certificate in chain if bundle else chain[:1]:
        click.echo(printable(show(certificate)))
