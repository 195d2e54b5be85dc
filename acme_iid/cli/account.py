"""``acme-iid-ca account``: the ACME accounts, account and deactivated."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from acme_iid.cli.acting import acting
from acme_iid.cli.filters import ABOUT, filtered, on_store, one_more, show_page
from acme_iid.cli.filters import as_json as json_option
from acme_iid.cli.output import show_one, timestamp
from acme_iid.cli.parameters import TakesRandomText

if TYPE_CHECKING:
    from acme_iid.protocol.resources import Account
    from acme_iid.store.database import Database
    from acme_iid.store.listing import Filter

_id = click.argument("id")
_SHOWN = 100


def _row(account: Account) -> dict[str, object]:
    return {
        "account": account.id,
        "key_thumbprint": account.thumbprint,
        "contact": list(account.contact),
        "external_key": account.external_key_id,
        "enrolment": account.enrolment_id,
        "created": timestamp(account.created_at),
        "deactivated": timestamp(account.deactivated_at),
    }


@click.group(short_help="The ACME accounts.")
def account() -> None:
    """Show the ACME accounts, and deactivate them."""


@account.command("list", short_help="The accounts, newest first.")
@json_option
@filtered(*ABOUT)
def list_(database: Database, filter_: Filter, *, as_json: bool) -> None:
    """List accounts, the latest first; --since and --until are about when they were made."""
    from acme_iid.store import accounts
    from acme_iid.store.listing import Position

    rows = [(Position(entry.created_at, entry.id), _row(entry)) for entry in accounts.page(database, one_more(filter_))]
    show_page(rows, filter_, as_json=as_json, empty="There is no such account.")


@account.command("show", cls=TakesRandomText, short_help="One account in full.")
@_id
@json_option
@on_store
def show_account(database: Database, id: str, *, as_json: bool) -> None:  # noqa: A002 - the argument's name in --help
    """Show an account, by its id or by its key's thumbprint, with the instances that belong to it."""
    from acme_iid.authority import accounts as use_cases
    from acme_iid.authority import delegates
    from acme_iid.store import instances
    from acme_iid.store.listing import Filter

    account = use_cases.by_id_or_thumbprint(database, id)
    listed = instances.page(database, Filter(account=account.id, limit=_SHOWN + 1))
    enrolment = delegates.enrolment_of(database, account)
    row = {
        **_row(account),
        "instances": [entry.id for entry in listed[:_SHOWN]],
        "enrolled_by": enrolment and enrolment.account_id,
        "enrolled_instance": enrolment and enrolment.instance_id,
        "enrolled_names": enrolment and [name.value for name in enrolment.names],
        "enrolled_until": enrolment and timestamp(enrolment.expires_at),
        "enrolment_ended": enrolment and enrolment.reason,
    }
    show_one(row, as_json=as_json)
    if len(listed) > _SHOWN:
        click.echo(f"It has more; they are listed with: acme-iid-ca instance list --account {account.id}", err=True)


@account.command("deactivate", cls=TakesRandomText, short_help="End an account.")
@_id
@acting()
def deactivate(database: Database, id: str) -> None:  # noqa: A002 - as above
    """Deactivate an account for good, by its id or by its key's thumbprint, and end its open orders.

    Its certificates stay valid, and its instances stay its own until they are released.
    """
    from acme_iid.authority import accounts as use_cases
    from acme_iid.store.writes import perform

    account = use_cases.by_id_or_thumbprint(database, id)
    if account.deactivated_at is not None:
        raise click.ClickException(f"the account {account.id} was deactivated at {timestamp(account.deactivated_at)}")
    now = int(time.time())
    perform(database, lambda reader: use_cases.deactivate(reader, account, now, by="operator"))
    click.echo(f"The account {account.id} is deactivated.")
