"""acme-iid order."""

from __future__ import annotations

from pathlib import Path

import click

from acme_iid_client.cli import options
from acme_iid_client.places import Places


@click.command("order")
@click.argument("name", required=False)
@click.argument("crt", required=False, type=options.FILE)
@click.argument("key", required=False, type=options.FILE)
@click.option(
    "--san", "sans", multiple=True, metavar="NAME", help="One more name or address in the certificate; repeatable."
)
@options.provisioner
@options.not_after
@click.option("--kty", type=click.Choice(["EC", "RSA", "OKP"]), help="The kind of key (default EC).")
@click.option(
    "--curve", type=click.Choice(["P-256", "P-384", "P-521", "Ed25519"]), help="The key's curve (default P-256)."
)
@click.option("--size", type=int, metavar="BITS", help="The size of an RSA key (default 2048).")
@click.option("--force", is_flag=True, help="Overwrite existing files without asking.")
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
    name: str | None,
    crt: Path | None,
    key: Path | None,
    sans: tuple[str, ...],
    provisioner: str | None,
    not_after: str | None,
    kty: str | None,
    curve: str | None,
    size: int | None,
    force: bool,
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
    """Get a certificate for NAME, a dns name or an address; without NAME, for every name that this instance may hold.

    A new key is written to KEY (default: NAME.key), the certificate and its intermediate to CRT (default: NAME.crt).
    NAME may be the instance's id: then its private name and address are in the certificate too, where the CA gives
    them. NAME may be a wildcard, quoted for the shell: '*.foo.local'.
    """
    import os
    from datetime import UTC, datetime

    from acme_iid_client import authority, clouds, files, keys, names, renewal
    from acme_iid_client.cli.terminal import achieved, may_overwrite, notice
    from acme_iid_client.errors import ClientError
    from acme_iid_client.order import Request, order
    from acme_iid_client.trust import Deadline

    try:
        wanted = list(dict.fromkeys(names.canonical(text) for text in (name, *sans) if text is not None))
        kind = keys.parse_type(kty, curve, size)
        permissions = files.parse_permissions(mode, owner, group)
        end = renewal.parse_not_after(not_after, datetime.now(UTC))
    except ClientError as error:
        raise click.UsageError(str(error)) from error

    def prepare(first: str) -> tuple[Path, Path]:
        """Where the files go; asked before anything is, unless only the cloud can say the name."""
        stem = names.file_stem(first)
        shown = (crt or Path(f"{stem}.crt"), key or Path(f"{stem}.key"))
        pair = files.pair(*shown)
        files.recover(pair)
        may_overwrite(pair.existing, force)
        return shown

    shown = None if name is None else prepare(wanted[0])
    ca = authority.load(where, ca_url, root)
    cloud = clouds.here(os.environ, metadata_url, azure_resource or ca.azure_resource, notice)
    request = Request(wanted, kind, provisioner, end)
    own, instance = cloud.names()[0], cloud.instance().partition(":")[2]
    if name is None:
        request = Request(list(dict.fromkeys([own, *wanted])), kind, provisioner, end, "all")
    elif wanted == [instance]:
        request = Request([own], kind, provisioner, end, "own")
    if shown is None:
        shown = prepare(own)
    issued = order(request, ca, where.state, cloud, Deadline(timeout), notice)
    files.install(files.pair(*shown), issued.certificate_pem, keys.to_pem(issued.key), permissions)
    achieved(ca.ca_url, issued, shown, as_json)
