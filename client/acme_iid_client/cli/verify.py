"""acme-iid verify."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import click

from acme_iid_client.cli import options


@click.command("verify")
@click.argument("file", type=click.File("rb"), default="-")
@click.option(
    "--format", "kind", metavar="FORMAT", help="The kind of evidence, if it is not in the file or not to be guessed."
)
@click.option("--iid-roots", type=options.FILE, help="More keys of AWS to believe: certificates or public keys, PEM.")
@options.json
def command(file: BinaryIO, kind: str | None, iid_roots: Path | None, as_json: bool) -> None:
    """Check an identity document offline, as the CA would, and print what it proves.

    FILE (or standard input) holds what 'acme-iid evidence --raw' prints, what the metadata service gives as
    rsa2048 or pkcs7, or JSON with 'document' and 'signature'. A document that does not hold is refused with the
    step that failed, exit status 1.
    """
    import json
    import time

    from acme_iid.errors import AttestationError, TrustUnavailableError
    from acme_iid_client import verification
    from acme_iid_client.cli.terminal import printable

    content = file.read(verification.MAX_BYTES + 1)
    extra = {} if iid_roots is None else {str(iid_roots): iid_roots.read_bytes()}
    try:
        result = verification.verify(content, kind, extra, int(time.time()))
    except AttestationError as error:
        if as_json:
            click.echo(json.dumps({"verified": False, "step": error.step.value, "detail": error.detail}, indent=2))
        raise click.ClickException(printable(f"Refused at step '{error.step.value}': {error.detail}")) from error
    except TrustUnavailableError as error:
        raise click.ClickException(printable(str(error))) from error
    if as_json:
        click.echo(json.dumps(result.as_json(), indent=2))
        return
    for line in result.lines():
        click.echo(printable(line))
