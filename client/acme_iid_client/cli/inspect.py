"""acme-iid inspect."""

from __future__ import annotations

from typing import BinaryIO

import click

from acme_iid_client.cli import options


@click.command("inspect")
@click.argument("crt", type=click.File("rb"))
@click.option("--short", is_flag=True, help="In a few lines.")
@options.json
def command(crt: BinaryIO, short: bool, as_json: bool) -> None:
    """Show what is in a certificate. CRT is a PEM or DER file, or - for standard input; the first one in it counts."""
    from acme_iid_client import certificates
    from acme_iid_client.cli.terminal import printable

    leaf = certificates.load_certificates(crt.read())[0]
    if as_json:
        import json

        click.echo(json.dumps(certificates.facts(leaf), indent=2))
    else:
        click.echo(printable(certificates.short_text(leaf) if short else certificates.long_text(leaf)))
