"""``acme-iid-ca account``: the ACME accounts, account and deactivated."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from acme_iid.cli.acting import acting
from acme_iid.cli.filters import ABOUT, filtered, on_store, show_page
from acme_iid.cli.filters import as_json as json_option
from acme_iid.cli.output import show_one
from acme_iid.cli.parameters import TakesRandomText

if TYPE_CHECKING:
    from acme_iid.store.database import Database
    from acme_iid.store.listing import Filter

_id = click.argument("id")


@click.group(short_help="The ACME accounts.")
def account() -> None:
    """Show the ACME accounts, and deactivate them."""


@account.command("list", short_help="The accounts, newest first.")
@json_option
@filtered(*ABOUT)
def list_(database: Database, filter_: Filter, *, as_json: bool) -> None:
    """List accounts, the latest first; --since and --until are about when they were made."""
    from acme_iid.operations.descriptions import accounts

    show_page(accounts.listed(database, filter_), as_json=as_json, empty="There is no such account.")


@account.command("show", cls=TakesRandomText, short_help="One account in full.")
@_id
@json_option
@on_store
def show_account(database: Database, id: str, *, as_json: bool) -> None:  # noqa: A002 - the argument's name in --help
    """Show an account, by its id or by its key's thumbprint, with the instances that belong to it."""
    from acme_iid.operations.descriptions import accounts

    found = accounts.whole(database, id)
    show_one(found, as_json=as_json)
    if accounts.has_further_instances(database, found["account"]):
        click.echo(
            f"It has more; they are listed with: acme-iid-ca instance list --account {found['account']}", err=True
        )


@account.command("deactivate", cls=TakesRandomText, short_help="End an account.")
@_id
@acting()
def deactivate(database: Database, id: str) -> None:  # noqa: A002 - as above
    """Deactivate an account for good, by its id or by its key's thumbprint, and end its open orders.

    Its certificates stay valid, and its instances stay its own until they are released.
    """
    from acme_iid.authority import accounts as use_cases
    from acme_iid.operations.descriptions.times import timestamp
    from acme_iid.store.writes import perform

    account = use_cases.by_id_or_thumbprint(database, id)
    if account.deactivated_at is not None:
        raise click.ClickException(f"the account {account.id} was deactivated at {timestamp(account.deactivated_at)}")
    now = int(time.time())
    perform(database, lambda reader: use_cases.deactivate(reader, account, now, by="operator"))
    click.echo(f"The account {account.id} is deactivated.")
