"""Operators' commands over the store: ``instance``, ``certificate`` and ``events``. They work while the server runs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from acme_iid.cli.output import show, show_one, timestamp

if TYPE_CHECKING:
    from acme_iid.config import Config
    from acme_iid.protocol.resources import Certificate, Instance
    from acme_iid.store.database import Database

_json = click.option("--json", "as_json", is_flag=True, help="For scripts.")
_limit = click.option(
    "--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="How many at most, newest first."
)


def _database(context: click.Context) -> Database:
    from acme_iid.store.database import open_store

    config: Config = context.obj.config()
    return open_store(config.store.path)


def _instance_row(instance: Instance) -> dict[str, object]:
    return {
        "instance": instance.id,
        "account": instance.account_id,
        "first used": timestamp(instance.first_used_at),
        "last used": timestamp(instance.last_used_at),
        "released to": instance.release_to,
    }


def _certificate_row(certificate: Certificate, now: int) -> dict[str, object]:
    current = "valid" if certificate.not_after > now else "expired"
    return {
        "serial": str(int(certificate.serial, 16)),
        "names": [name.value for name in certificate.names],
        "status": current if certificate.revoked_at is None else "revoked",
        "not after": timestamp(certificate.not_after),
        "instance": certificate.instance,
    }


@click.group(short_help="The instances that have certificates here.")
def instance() -> None:
    """Show which account an instance belongs to since its first use, and release it to another."""


@instance.command("list", short_help="The instances that were used last.")
@_limit
@_json
@click.pass_context
def instance_list(context: click.Context, limit: int, as_json: bool) -> None:
    """List the instances that were used here, the latest first."""
    from acme_iid.store import instances

    rows = [_instance_row(entry) for entry in instances.newest(_database(context), limit)]
    show(rows, as_json=as_json, empty="No instance has been used here yet.")


@instance.command("show", short_help="One instance in full.")
@click.argument("id")
@_json
@click.pass_context
def instance_show(context: click.Context, id: str, as_json: bool) -> None:  # noqa: A002 - the argument's name in --help
    """Show an instance, by its whole id or by the cloud's own instance id."""
    from acme_iid.authority import instances as use_cases
    from acme_iid.store import certificates

    database = _database(context)
    found = use_cases.find(database, id)
    now = int(time.time())
    row = {
        **_instance_row(found),
        "cloud": found.cloud,
        "owner": found.owner,
        "instance id": found.instance_id,
        "key thumbprint": found.thumbprint,
        "started": timestamp(found.started_at),
        "release ends": timestamp(found.release_until),
        "closed names": sorted(certificates.closed_names(database, found.id)),
        "certificates": [
            f"{entry['serial']} ({entry['status']})"
            for entry in (_certificate_row(one, now) for one in certificates.of_instance(database, found.id))
        ],
    }
    show_one(row, as_json=as_json)


@instance.command("release", short_help="Let one new account key use an instance.")
@click.argument("id")
@click.option(
    "--to", "thumbprint", required=True, metavar="THUMBPRINT", help="The account key's; the refused client prints it."
)
@click.option(
    "--for", "duration", default="1h", show_default=True, help="How long the release lasts if it is not used."
)
@click.option("--revoke", is_flag=True, help="Also revoke the instance's certificates.")
@click.pass_context
def instance_release(context: click.Context, id: str, thumbprint: str, duration: str, revoke: bool) -> None:  # noqa: A002 - as above
    """Let a VM in again that was rebuilt and lost its account key.

    The instance is taken from the account that it belongs to. The key with THUMBPRINT, and no other, may use
    it next, whatever the instance's age.
    """
    from acme_iid import config
    from acme_iid.authority import instances as use_cases

    try:
        seconds = config.duration(duration)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--for") from error
    database = _database(context)
    found = use_cases.find(database, id)
    now = int(time.time())
    ended, revoked = use_cases.release(database, found, thumbprint, seconds, revoke=revoke, now=now)
    click.echo(f"Instance {found.id} is released to the key {thumbprint} until {timestamp(now + seconds)}.")
    click.echo(f"Orders ended: {ended}. Certificates revoked: {revoked}.")


@instance.command("reopen", short_help="Open a name that revocation closed.")
@click.argument("id")
@click.argument("name")
@click.pass_context
def instance_reopen(context: click.Context, id: str, name: str) -> None:  # noqa: A002 - as above
    """Let an instance hold NAME again after its certificate for it was revoked."""
    from acme_iid.authority import instances as use_cases

    database = _database(context)
    found = use_cases.find(database, id)
    use_cases.reopen(database, found, name, int(time.time()))
    click.echo(f"The name {name} is open to instance {found.id} again.")


@click.group(short_help="The certificates that were issued.")
def certificate() -> None:
    """List the certificates that were issued here, and revoke them."""


@certificate.command("list", short_help="The certificates that were issued last.")
@_limit
@_json
@click.pass_context
def certificate_list(context: click.Context, limit: int, as_json: bool) -> None:
    """List issued certificates, the latest first."""
    from acme_iid.store import certificates

    now = int(time.time())
    rows = [_certificate_row(entry, now) for entry in certificates.newest(_database(context), limit)]
    show(rows, as_json=as_json, empty="No certificate has been issued yet.")


@certificate.command("revoke", short_help="Revoke a certificate.")
@click.argument("serial")
@click.option("--reason", type=int, default=0, show_default=True, help="The reason code of RFC 5280.")
@click.pass_context
def certificate_revoke(context: click.Context, serial: str, reason: int) -> None:
    """Revoke the certificate with SERIAL (decimal, or hexadecimal after 0x) and close its names to its instance."""
    from acme_iid.authority import revocation
    from acme_iid.store import certificates

    try:
        number = int(serial, 16 if serial.lower().startswith("0x") else 10)
    except ValueError as error:
        raise click.BadParameter("a serial number is decimal, or hexadecimal after 0x", param_hint="SERIAL") from error
    database = _database(context)
    found = certificates.by_serial(database, f"{number:x}")
    if found is None:
        raise click.ClickException(f"no certificate with the serial number {serial} was issued here")
    with database.transaction() as transaction:
        revocation.revoke(transaction, found, revocation.reason(reason), "operator", int(time.time()), closes=True)
    click.echo(f"Certificate with Serial Number {number} has been revoked.")


@click.command(short_help="What was decided, and why.")
@click.option("--instance", "word", metavar="ID", help="Only what concerns this instance.")
@_limit
@_json
@click.pass_context
def events(context: click.Context, word: str | None, limit: int, as_json: bool) -> None:
    """Show the record of decisions, the latest first: who was let in, who was refused and by which rule."""
    from acme_iid.authority import instances as use_cases
    from acme_iid.store import events as record

    database = _database(context)
    instance_id = None if word is None else use_cases.find(database, word).id
    found = record.newest(database, limit, instance_id)
    if as_json:
        rows: list[dict[str, object]] = [
            {
                "at": timestamp(event.at),
                "kind": event.kind,
                "account": event.account_id,
                "instance": event.instance_id,
                **event.detail,
            }
            for event in found
        ]
    else:
        rows = [
            {
                "at": timestamp(event.at),
                "event": event.kind,
                "instance": event.instance_id,
                "what": _summary(event.detail),
            }
            for event in found
        ]
    show(rows, as_json=as_json, empty="Nothing has been decided yet.")


def _summary(detail: object) -> str:
    assert isinstance(detail, dict)
    told = ("identifier", "names", "name", "provisioner", "step", "reason", "by", "released_to")
    return "; ".join(
        f"{key} {', '.join(value) if isinstance(value, list) else value}"
        for key in told
        if (value := detail.get(key)) not in (None, [])
    )
