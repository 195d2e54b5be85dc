"""acme-iid renew."""

from __future__ import annotations

from pathlib import Path

import click

from acme_iid_client.cli import options
from acme_iid_client.places import Places


@click.command("renew")
@click.argument("crt", type=options.FILE)
@click.argument("key", type=options.FILE)
@click.option("--force", is_flag=True, help="Renew now, due or not.")
@options.provisioner
@options.not_after
@options.mode
@options.owner
@options.group
@options.ca_url
@options.root
@options.metadata_url
@options.azure_resource
@options.timeout
@options.json
@click.pass_obj
def command(
    where: Places,
    crt: Path,
    key: Path,
    force: bool,
    provisioner: str | None,
    not_after: str | None,
    mode: str | None,
    owner: str | None,
    group: str | None,
    ca_url: str | None,
    root: Path | None,
    metadata_url: str | None,
    azure_resource: str | None,
    timeout: float,
    as_json: bool,
) -> None:
    """Renew the certificate in CRT, with a new key in KEY, if it is due: with a third of its life left.

    The names, the kind of key and the provisioner stay what they are, and so do the files' owner and mode.
    Before it is due, this says when it will be and exits with 0.
    """
    import json
    import os
    from datetime import UTC, datetime

    from acme_iid_client import authority, certificates, clouds, files, keys, renewal
    from acme_iid_client.cli.terminal import achieved, notice
    from acme_iid_client.errors import ClientError
    from acme_iid_client.order import order
    from acme_iid_client.trust import Deadline

    now = datetime.now(UTC)
    try:
        permissions = files.parse_permissions(mode, owner, group)
        end = renewal.parse_not_after(not_after, now)
    except ClientError as error:
        raise click.UsageError(str(error)) from error
    pair = files.pair(crt, key)
    files.recover(pair)
    if not pair.certificate.exists():
        raise ClientError(f"{crt} does not exist. 'acme-iid order NAME {crt} {key}' makes it.")
    leaf = certificates.load_certificates(pair.certificate.read_bytes())[0]
    if pair.key.exists() and not files.belong_together(pair.certificate, pair.key):
        raise ClientError(f"{key} is not the key of {crt}, so it is not overwritten. Which file is the right one?")
    due = renewal.due_at(leaf)
    if now < due and not force:
        ends = certificates.rfc3339(leaf.not_valid_after_utc)
        if as_json:
            click.echo(json.dumps({"renewed": False, "not_after": ends, "due": certificates.rfc3339(due)}))
        notice(
            f"{crt} expires at {ends} and is due for renewal from {certificates.rfc3339(due)} on. --force renews now."
        )
        return
    request = renewal.successor(leaf, provisioner, end)
    ca = authority.load(where, ca_url, root)
    cloud = clouds.here(os.environ, metadata_url, azure_resource or ca.azure_resource, notice)
    issued = order(request, ca, where.state, cloud, Deadline(timeout), notice)
    files.install(pair, issued.certificate_pem, keys.to_pem(issued.key), permissions)
    if as_json:
        achieved(ca.ca_url, issued, (crt, key), as_json)
    else:
        click.echo(f"Your certificate has been saved in {crt}.")
