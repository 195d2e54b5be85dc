"""acme-iid revoke."""

from __future__ import annotations

from pathlib import Path

import click

from acme_iid_client.cli import options
from acme_iid_client.storage.directories import Directories

_REASONS = {
    "unspecified": 0, "keyCompromise": 1, "affiliationChanged": 3, "superseded": 4, "cessationOfOperation": 5,
}  # fmt: skip
"""Reason codes a subscriber may give (RFC 5280 section 5.3.1); the others are the CA's own to use."""


@click.command("revoke")
@click.option("--cert", "crt", required=True, type=options.FILE, help="The certificate.")
@click.option("--key", type=options.FILE, help="Its private key; without it, this machine's account revokes.")
@click.option(
    "--reason",
    "--reasonCode",
    metavar="CODE",
    default="unspecified",
    help=f"Why: a number of RFC 5280, or one of {', '.join(_REASONS)} (default: unspecified). "
    "keyCompromise takes --key, and the key is never certified again.",
)
@options.ca_url
@options.root
@options.account_key
@options.metadata_url
@options.timeout
@options.json
@click.pass_obj
def command(
    where: Directories,
    crt: Path,
    key: Path | None,
    reason: str,
    ca_url: str | None,
    root: Path | None,
    metadata_url: str | None,
    timeout: float,
    as_json: bool,
) -> None:
    """Revoke a certificate.

    The CA then also refuses to renew it: for this machine, its names stay closed until an operator opens
    them again, unless the reason is superseded. It is no longer renewed by itself. Programs that have the
    certificate go on using it until they load another one.
    """
    import os

    from acme_iid_client import clouds
    from acme_iid_client.acme import known_ca, revocation
    from acme_iid_client.cli.terminal import notice
    from acme_iid_client.deadline import Deadline
    from acme_iid_client.renewal import inventory
    from acme_iid_client.x509 import certificates

    code = _REASONS.get(reason, int(reason) if reason.isascii() and reason.isdigit() else None)
    if code is None:
        raise click.UsageError(f"--reason {reason} is neither a number nor one of {', '.join(_REASONS)}.")
    chain = certificates.load_certificates(crt.read_bytes())
    leaf = chain[0]
    ca = known_ca.load_issuer(where, chain, ca_url, root)
    deadline = Deadline(timeout)
    if key is not None:
        revocation.by_certificate_key(leaf, key, code, ca, deadline, notice)
    else:

        def cloud() -> clouds.Cloud:
            return clouds.here(os.environ, metadata_url, notice=notice)

        revocation.by_account(leaf, code, ca, where.state, cloud, deadline, notice)
    inventory.note_revoked(where.state, leaf)
    if as_json:
        import json

        click.echo(json.dumps({"ca": ca.ca_url, "revoked": True, "reason": code, **certificates.facts(leaf)}, indent=2))
        return
    click.echo(f"Certificate with Serial Number {leaf.serial_number} has been revoked.")
