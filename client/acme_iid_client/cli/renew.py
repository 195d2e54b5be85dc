"""acme-iid renew."""

from __future__ import annotations

from pathlib import Path

import click

from acme_iid_client.cli import options
from acme_iid_client.storage.directories import Directories


@click.command("renew")
# A file that cannot be used is no reason to leave the others.
@click.argument("files", metavar="[CRT KEY]...", nargs=-1, type=click.Path(readable=False, path_type=Path))
@click.option("--force", is_flag=True, help="Renew now, due or not.")
@click.option(
    "--expires-in",
    metavar="LEFT",
    help="Renew with this much of the life left: 8h, 1d12h, or a share like 25%, whatever the CA suggests.",
)
@click.option("--new-key", is_flag=True, help="Make a new key, of the same kind, instead of keeping the key.")
@click.option("--daemon", is_flag=True, help="Stay, and renew each certificate whenever it is due.")
@options.execute
@options.exec_timeout
@options.signal
@options.pid
@options.pid_file
@click.option(
    "--roots-out",
    type=options.FILE,
    help="Keep the CA's roots in this file, PEM, for other programs; they are notified of changes as of renewals.",
)
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
    files: tuple[Path, ...],
    force: bool,
    expires_in: str | None,
    new_key: bool,
    daemon: bool,
    execute: str | None,
    exec_timeout: float,
    signal: str | None,
    pid: int | None,
    pid_file: Path | None,
    roots_out: Path | None,
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
    """Renew the certificate in CRT if it is due: with a third of its life left, or when the CA says so.

    The key in KEY, the names and the provisioner stay what they are, and so do the files' owner and mode; a
    certificate that has expired is ordered afresh. Before it is due, this says when it will be and exits with 0.
    Without files, all that were ordered on this machine are renewed. 'acme-iid rekey' makes a new key. After a refusal
    that only an operator can change, by a rule for one, the CA is asked again hours later, or at once with --force.

    Once a day the CA's list of roots is looked at, so that a new root is trusted before the former one is dropped.

    With --daemon this stays and renews each certificate in time. SIGHUP renews all of them now; SIGTERM ends it.
    """
    from acme_iid_client.cli import renewing
    from acme_iid_client.errors import ClientError
    from acme_iid_client.renewal import hooks, renew
    from acme_iid_client.storage import pairs

    try:
        wishes = renew.Wishes(
            provisioner, not_after, new_key=new_key, permissions=pairs.parse_permissions(mode, owner, group)
        )
        renewing.check_not_after(not_after)
        renewing.check_expires_in(expires_in)
        after = hooks.parse(execute, exec_timeout, signal, pid, pid_file)
    except ClientError as error:
        raise click.UsageError(str(error)) from error
    if daemon and where.account_options.agree_tos:
        raise click.UsageError(
            "A daemon would also agree to terms that are still to come. Agree once, without --daemon: acme-iid "
            "renew --agree-tos"
        )
    if len(files) % 2:
        raise click.UsageError("Name the key of each certificate: acme-iid renew foo.crt foo.key")
    task = renewing.Task(
        where,
        wishes,
        expires_in,
        after,
        renewing.Origin(ca_url, root, metadata_url, token_resource),
        tuple(zip(files[::2], files[1::2], strict=True)),
        force,
        timeout,
        as_json,
        roots_out,
    )
    if daemon:
        task.stay()
    else:
        task.run()
