"""acme-iid verify."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import click

from acme_iid_client.cli import options


@click.command("verify")
@click.argument("file", type=click.File("rb"), default="-")
@click.option(
    "--format",
    "kind",
    metavar="FORMAT",
    help="The kind of evidence, if the file does not name it and it cannot be guessed.",
)
@click.option(
    "--iid-roots", type=options.FILE, help="More keys to believe, PEM: of AWS's documents, or roots of Azure's."
)
@click.option("--nitro-roots", type=options.FILE, help="More roots of NitroTPM documents to believe, PEM.")
@click.option(
    "--jwks",
    type=options.FILE,
    help="The key set of a token's issuer. Without this option, the set is fetched from the cloud.",
)
@click.option("--issuer", metavar="URL", help="For web identity tokens: the AWS account's own issuer.")
@click.option("--account", metavar="ID", help="For web identity tokens: the AWS account that has that issuer.")
@click.option("--tenant", metavar="ID", help="For managed identity tokens: the tenant.")
@click.option("--audience", metavar="URI", help="For managed identity tokens: the CA's resource in that tenant.")
@options.json
def command(
    file: BinaryIO,
    kind: str | None,
    iid_roots: Path | None,
    nitro_roots: Path | None,
    jwks: Path | None,
    issuer: str | None,
    account: str | None,
    tenant: str | None,
    audience: str | None,
    as_json: bool,
) -> None:
    """Check evidence as the CA would, and print what it proves; with --jwks for tokens, nothing leaves this machine.

    FILE (or standard input) holds the output of 'acme-iid evidence --raw', a token, a metadata service's rsa2048,
    pkcs7 or attested document, or JSON with 'document' and 'signature'. Evidence that does not hold is refused with the
    step that failed, and the exit status is 1. Its freshness and its binding are printed, and decide nothing.
    """
    import json
    import time

    from acme_iid.errors import AttestationError, TrustUnavailableError
    from acme_iid_client.cli import verification
    from acme_iid_client.cli.terminal import printable

    content = file.read(verification.MAX_BYTES + 1)
    believed = verification.Believed(
        iid_roots=None if iid_roots is None else iid_roots.read_bytes(),
        nitro_roots=None if nitro_roots is None else nitro_roots.read_bytes(),
        jwks=None if jwks is None else jwks.read_bytes(),
        issuer=issuer,
        account=account,
        tenant=tenant,
        audience=audience,
    )
    try:
        result = verification.verify(content, kind, believed, int(time.time()))
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
