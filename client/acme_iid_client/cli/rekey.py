"""acme-iid rekey."""

from __future__ import annotations

from pathlib import Path

import click

from acme_iid_client.cli import options
from acme_iid_client.storage.directories import Directories


@click.command("rekey")
@click.argument("crt", type=options.FILE)
@click.argument("key", type=options.FILE)
@options.kty
@options.curve
@options.size
@click.option("--force", is_flag=True, help="Replace the key without asking.")
@options.execute
@options.exec_timeout
@options.signal
@options.pid
@options.pid_file
@options.provisioner
@options.not_after
@options.mode
@options.owner
@options.group
@options.ca_url
@options.root
@options.account_key
@options.account_conditions
@options.metadata_url
@options.token_resource
@options.timeout
@options.json
@click.pass_obj
def command(
    where: Directories,
    crt: Path,
    key: Path,
    kty: str | None,
    curve: str | None,
    size: int | None,
    force: bool,
    execute: str | None,
    exec_timeout: float,
    signal: str | None,
    pid: int | None,
    pid_file: Path | None,
    provisioner: str | None,
    not_after: str | None,
    mode: str | None,
    owner: str | None,
    group: str | None,
    ca_url: str | None,
    root: Path | None,
    metadata_url: str | None,
    token_resource: str | None,
    timeout: float,
    as_json: bool,
) -> None:
    """Replace the key in KEY, and the certificate in CRT by one for the new key, due or not.

    Both are replaced in one step. The names and the provisioner stay what they are, and the kind of key does unless
    --kty, --curve or --size says otherwise. The old certificate stays valid until it expires; 'acme-iid revoke' ends it
    if its key has become known to others.
    """
    from acme_iid_client.cli import renewing
    from acme_iid_client.cli.terminal import may_overwrite
    from acme_iid_client.errors import ClientError
    from acme_iid_client.renewal import hooks, renew
    from acme_iid_client.storage import pairs
    from acme_iid_client.x509 import keys

    try:
        kind = keys.parse_type(kty, curve, size) if kty or curve or size else None
        wishes = renew.Wishes(
            provisioner, not_after, kind, new_key=True, permissions=pairs.parse_permissions(mode, owner, group)
        )
        renewing.check_not_after(not_after)
        after = hooks.parse(execute, exec_timeout, signal, pid, pid_file)
    except ClientError as error:
        raise click.UsageError(str(error)) from error
    may_overwrite([path for path in (key,) if path.exists()], force)
    task = renewing.Task(
        where,
        wishes,
        None,
        after,
        renewing.Origin(ca_url, root, metadata_url, token_resource),
        ((crt, key),),
        True,
        timeout,
        as_json,
    )
    task.run()
