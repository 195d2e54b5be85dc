"""acme-iid order."""

from __future__ import annotations

from pathlib import Path

import click

from acme_iid_client.cli import options
from acme_iid_client.storage.directories import Directories


@click.command("order")
@click.argument("name", required=False)
@click.argument("crt", required=False, type=options.FILE)
@click.argument("key", required=False, type=options.FILE)
@click.option(
    "--san", "sans", multiple=True, metavar="NAME", help="One more name or address in the certificate; repeatable."
)
@options.provisioner
@options.profile
@options.not_after
@options.kty
@options.curve
@options.size
@click.option("--csr", "csr_file", type=options.FILE, help="Use this signing request; its key stays where it is.")
@click.option(
    "--bundle", type=options.FILE, help="Also write certificate, intermediate and key to one file, now and on renewal."
)
@click.option("--p12", type=options.FILE, help="Also write a PKCS #12 file, now and on renewal.")
@click.option(
    "--p12-password-file", type=options.FILE, help="The file with the PKCS #12 file's password (default: none)."
)
@options.own_execute
@options.exec_timeout
@click.option("--force", is_flag=True, help="Overwrite existing files without asking.")
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
    name: str | None,
    crt: Path | None,
    key: Path | None,
    sans: tuple[str, ...],
    provisioner: str | None,
    profile: str | None,
    not_after: str | None,
    kty: str | None,
    curve: str | None,
    size: int | None,
    csr_file: Path | None,
    bundle: Path | None,
    p12: Path | None,
    p12_password_file: Path | None,
    execute: str | None,
    exec_timeout: float,
    force: bool,
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
    """Get a certificate for NAME, a dns name or an address; without NAME, for every name that this instance may hold.

    A new key is written to KEY (default: NAME.key), the certificate and its intermediate to CRT (default: NAME.crt).
    NAME may be the instance's id: then its private name and address are in the certificate too, where the CA gives
    them. A CA with name constraints cannot give the bare id itself. NAME may be a wildcard, quoted for the shell:
    '*.foo.local'.

    'acme-iid renew' keeps it from running out, and runs the certificate's own --exec: another order of the same files
    changes it.
    """
    import os
    from dataclasses import replace
    from datetime import UTC, datetime

    from acme_iid_client import clouds
    from acme_iid_client.acme import known_ca
    from acme_iid_client.acme.order import Request, order
    from acme_iid_client.cli import ordering
    from acme_iid_client.cli.terminal import achieved, notice
    from acme_iid_client.deadline import Deadline
    from acme_iid_client.errors import ClientError
    from acme_iid_client.renewal import hooks, pending_installations, renew
    from acme_iid_client.renewal.notifications import Notifications
    from acme_iid_client.storage import pairs
    from acme_iid_client.storage.bundles import Bundles
    from acme_iid_client.x509 import keys, names

    if p12_password_file is not None and p12 is None:
        raise click.UsageError("--p12-password-file goes with --p12.")
    if csr_file is not None and (sans or kty or curve or size or key or bundle or p12 or execute):
        raise click.UsageError("--csr brings the names and the key: only NAME and CRT go with it.")
    try:
        ordered = list(dict.fromkeys(names.canonical(text) for text in (name, *sans) if text is not None))
        subject, ordered = (
            (keys.parse_type(kty, curve, size), ordered) if csr_file is None else ordering.read_csr(csr_file, ordered)
        )
        permissions = pairs.parse_permissions(mode, owner, group)
        end = renew.parse_not_after(not_after, datetime.now(UTC))
        hooks.parse(execute, exec_timeout)
    except ClientError as error:
        raise click.UsageError(str(error)) from error
    target = ordering.Target(crt, key, csr_file is None, Bundles(bundle, p12, p12_password_file), permissions)
    named = name is not None or csr_file is not None
    # Asked before anything else is, unless only the cloud can say the name.
    shown = target.prepare(ordered[0], force) if named else None
    ca = known_ca.load(where, ca_url, root)
    cloud = clouds.at(where.state, ca.identity, os.environ, metadata_url, token_resource or ca.token_resource, notice)
    request = Request(ordered, subject, provisioner, end, profile=profile)
    own, instance = cloud.names()[0], cloud.instance().partition(":")[2]
    if not named:
        request = replace(request, names=list(dict.fromkeys([own, *ordered])), further="all")
    elif ordered == [instance] and csr_file is None:
        request = replace(request, names=[own], further="own")
    shown = shown or target.prepare(own, force)
    if p12 is not None and p12_password_file is None:
        notice(f"{p12} has no password. Java finds nothing in such a file: --p12-password-file sets one.")
    waiting = ordering.obtain(
        where.state,
        shown,
        request,
        ca.ca_url,
        not_after,
        permissions,
        lambda: order(request, ca, where.state, cloud, Deadline(timeout), notice),
    )
    # Before the files, so that a renewal puts them in place if this cannot.
    record = ordering.record(
        where, target, shown, ca.ca_url, root, metadata_url, token_resource, not_after, profile, (execute, exec_timeout)
    )
    target.install(waiting, shown)
    pending_installations.drop(where.state, shown[0])
    target.refresh(shown)
    achieved(ca.ca_url, waiting.issued, shown, as_json)
    if record is not None:
        Notifications(where.state).send(record, waiting.issued.leaf, ca.ca_url)
