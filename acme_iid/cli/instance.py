"""``acme-iid-ca instance``: which account an instance belongs to, and what an operator can do about it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from acme_iid.cli.acting import acting
from acme_iid.cli.filters import as_json as json_option
from acme_iid.cli.filters import filtered, instance_called, on_store, one_more, show_page
from acme_iid.cli.output import show_one, timestamp
from acme_iid.cli.parameters import Checked

if TYPE_CHECKING:
    from collections.abc import Mapping

    from acme_iid.operations.instances import Ended
    from acme_iid.protocol.resources import Enrolment, Instance
    from acme_iid.store.database import Database
    from acme_iid.store.listing import Filter

_id = click.argument("id")


def _row(listed: Instance) -> dict[str, object]:
    return {
        "instance": listed.id,
        "account": listed.account_id,
        "first_used": timestamp(listed.first_used_at),
        "last_used": timestamp(listed.last_used_at),
        "released_to": listed.release_to,
        "blocked": timestamp(listed.blocked_at),
    }


@click.group(short_help="The instances that have certificates here.")
def instance() -> None:
    """Show which account an instance belongs to since its first use, release it to another, or shut it out."""


@instance.command("list", short_help="The instances that were used here.")
@click.option("--blocked", is_flag=True, help="Those that are blocked, the latest first, whether ever used or not.")
@json_option
@filtered("instance", "kind", "remote", "bulk", "profile")
def list_(database: Database, filter_: Filter, *, blocked: bool, as_json: bool) -> None:
    """List the instances that were used here, the latest first use first.

    --since and --until are about the first use (with --blocked, the block); --name finds the instances that got a
    certificate for NAME.
    """
    from acme_iid.store import instances
    from acme_iid.store.listing import Position

    rows = []
    for entry in instances.page(database, one_more(filter_), blocked=blocked):
        moment = entry.blocked_at if blocked else entry.first_used_at
        rows.append((Position(moment or 0, entry.id), _row(entry)))
    empty = "No instance is blocked." if blocked else "No such instance has been used here yet."
    show_page(rows, filter_, as_json=as_json, empty=empty)


@instance.command("show", short_help="One instance in full.")
@_id
@json_option
@on_store
def show_instance(database: Database, id: str, *, as_json: bool) -> None:  # noqa: A002 - the argument's name in --help
    """Show an instance, by its whole id or by the cloud's own instance id, also if it was only ever refused."""
    from acme_iid.cli.certificate import status
    from acme_iid.errors import RequestError
    from acme_iid.store import accounts, certificates, enrolments, events, instances, lookups
    from acme_iid.store.listing import Filter

    lookups.follow(database)
    whole = instance_called(database, id)
    known = instances.get(database, whole)
    seen = events.page(database, Filter(instance=whole, limit=1))
    if known is None and not seen:
        raise RequestError(f"the instance {id!r} is not known here: it was neither used nor refused")
    instance = known or _never_used(whole)
    now = int(time.time())
    account = None if instance.account_id is None else accounts.get(database, instance.account_id)
    row = {
        **_row(instance),
        "block_reason": instance.blocked_for,
        "cloud": instance.cloud,
        "owner": instance.owner,
        "instance_id": instance.instance_id,
        **_proven(database, whole),
        "key_thumbprint": account and account.thumbprint,
        # Of the record: the account may have changed its key since.
        "last_used_with": instance.thumbprint,
        "started": timestamp(instance.started_at),
        "vm_resource": instance.resource_id,
        "release_ends": timestamp(instance.release_until),
        # What it proved before that counts no more.
        "proofs_ended": timestamp(instance.raised_at),
        "proofs_ended_for": instance.raised_for,
        "last_revocation": timestamp(instance.last_revocation_at),
        "closed_names": sorted(certificates.closed_names(database, instance.id)),
        "certificates": [
            f"{int(entry.serial, 16)} ({status(entry, now)})"
            for entry in certificates.of_instance(database, instance.id)
        ],
        "enrolments": [_enrolment(database, entry) for entry in enrolments.of_instance(database, instance.id)],
        "last_event": None if not seen else f"{seen[0][1].kind} at {timestamp(seen[0][1].at)}",
    }
    show_one(row, as_json=as_json)


def _never_used(instance_id: str) -> Instance:
    """An instance that was only ever refused: what its id says."""
    from acme_iid.policy.clouds import instance_key
    from acme_iid.protocol.resources import Instance
    from acme_iid.store.lookups import word_of

    key = instance_key(instance_id)
    return Instance(key.id, key.cloud, key.owner, word_of(key.id), None, None, None, None, None)


def _proven(database: Database, instance_id: str) -> dict[str, object]:
    """What an instance has proven last of what it is found by."""
    from acme_iid.store import events
    from acme_iid.store.listing import Filter
    from acme_iid.store.lookups import PROVEN, TRAITS

    latest = [
        event for kind in PROVEN for _, event in events.page(database, Filter(instance=instance_id, kind=kind, limit=1))
    ]
    latest.sort(key=lambda event: event.at, reverse=True)
    return {field: next((event.detail[field] for event in latest if event.detail.get(field)), None) for field in TRAITS}


def _enrolment(database: Database, entry: Enrolment) -> str:
    """An enrolment in a line: the names that the account handed on, the delegates that have them, and the end."""
    from acme_iid.store import accounts

    names = " ".join(name.value for name in entry.names)
    made = " ".join(account.id for account in accounts.delegates(database, entry.id)) or "nobody yet"
    ends = f"until {timestamp(entry.expires_at)}" if entry.ended_at is None else f"ended: {entry.reason}"
    return f"{names} to {made} ({ends})"


@instance.command("release", short_help="Let one new account key use an instance.")
@_id
@click.option(
    "--to", "thumbprint", required=True, metavar="THUMBPRINT", help="The account key's; the refused client prints it."
)
@click.option(
    "--for",
    "seconds",
    type=Checked("duration", keep=False),
    default="1h",
    show_default=True,
    help="How long the release lasts if it is not used.",
)
@click.option("--revoke", is_flag=True, help="Also revoke the instance's certificates.")
@json_option
@acting()
def release(
    database: Database,
    id: str,  # noqa: A002 - as above
    thumbprint: str,
    seconds: int,
    *,
    revoke: bool,
    as_json: bool,
) -> None:
    """Let a VM in again that was rebuilt and lost its account key, or one that is too old for its first use.

    The instance is taken from the account that it belongs to, if there is one. The key with THUMBPRINT, and no
    other, may use it next, whatever the instance's age.
    """
    from acme_iid.operations import instances as use_cases
    from acme_iid.store import instances

    now = int(time.time())
    whole, ended = use_cases.release(database, id, thumbprint, seconds, revoke=revoke, now=now)
    ends = timestamp(now + seconds)
    _tell(
        f"Instance {whole} is released to the key {thumbprint} until {ends}.",
        {"instance": whole, "released_to": thumbprint, "release_ends": ends},
        ended,
        as_json=as_json,
    )
    if instances.closed(database, whole).blocked:
        click.echo(f"It is blocked all the same; acme-iid-ca instance unblock {whole} lets it in.", err=True)


@instance.command("block", short_help="Shut an instance out.")
@_id
@click.option("--revoke", is_flag=True, help="Also revoke its certificates (keyCompromise).")
@json_option
@acting(passed=True)
def block(
    database: Database,
    id: str,  # noqa: A002 - as above
    reason: str | None,
    *,
    revoke: bool,
    as_json: bool,
) -> None:
    """Refuse an instance from now on, and end what it has proven.

    ID is its whole id, which may be one that was never used here, or the cloud's own id of one that was. The reason is
    for operators; the instance is not told.
    """
    from acme_iid.operations import instances as use_cases

    whole, ended = use_cases.block(database, id, reason, revoke=revoke, now=int(time.time()))
    _tell(f"Instance {whole} is blocked.", {"instance": whole}, ended, as_json=as_json)


def _tell(sentence: str, facts: Mapping[str, object], ended: Ended, *, as_json: bool) -> None:
    """Say what was done to an instance, and what ended with it."""
    if as_json:
        counts = {"orders_ended": ended.orders, "certificates_revoked": ended.certificates}
        show_one({**facts, **counts}, as_json=True)
        return
    click.echo(sentence)
    click.echo(f"Orders ended: {ended.orders}. Certificates revoked: {ended.certificates}.")


@instance.command("unblock", short_help="Let a blocked instance in again.")
@_id
@json_option
@acting()
def unblock(database: Database, id: str, *, as_json: bool) -> None:  # noqa: A002 - as above
    """Let an instance in again. Its owner has not changed."""
    from acme_iid.operations import instances as use_cases

    whole, closed = use_cases.unblock(database, id, int(time.time()))
    if as_json:
        show_one({"instance": whole, "closed_names": sorted(closed)}, as_json=True)
        return
    click.echo(f"Instance {whole} is no longer blocked.")
    for name in sorted(closed):
        click.echo(f"{name} is still closed to it; it is opened with: acme-iid-ca instance reopen {whole} {name}")


@instance.command("reopen", short_help="Open a name that revocation closed.")
@_id
@click.argument("name")
@acting()
def reopen(database: Database, id: str, name: str) -> None:  # noqa: A002 - as above
    """Let an instance hold NAME again after its certificate for it was revoked."""
    from acme_iid.operations import instances as use_cases

    instance = use_cases.find(database, id)
    use_cases.reopen(database, instance, name, int(time.time()))
    click.echo(f"The name {name} is open to instance {instance.id} again.")
