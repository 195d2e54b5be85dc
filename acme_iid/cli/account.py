"""``acme-iid-ca account``: the ACME accounts, account and deactivated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from acme_iid.cli.acting import reason_option
from acme_iid.cli.filters import ABOUT, Filters, filtered, show_page
from acme_iid.cli.filters import as_json as json_option
from acme_iid.cli.output import show_one
from acme_iid.cli.parameters import TakesRandomText

if TYPE_CHECKING:
    from acme_iid.operations.descriptions.accounts import AccountDescription

_id = click.argument("id")


@click.group(short_help="The ACME accounts.")
def account() -> None:
    """Show the ACME accounts, and deactivate them."""


@account.command("list", short_help="The accounts, newest first.")
@json_option
@filtered(*ABOUT)
def list_(filters: Filters, *, as_json: bool) -> None:
    """List accounts, the latest first; --since and --until are about when they were made."""
    from acme_iid.cli import asking

    show_page(asking.page("account.list", **filters), as_json=as_json, empty="There is no such account.")


@account.command("show", cls=TakesRandomText, short_help="One account in full.")
@_id
@json_option
def show_account(id: str, *, as_json: bool) -> None:  # noqa: A002 - the argument's name in --help
    """Show an account, by its id or by its key's thumbprint, with the instances that belong to it."""
    from acme_iid.cli.asking import ask

    found: AccountDescription = ask("account.show", id=id)
    show_one(found, as_json=as_json)
    whole, shown = found["account"], len(found["instances"])
    if shown and ask("instance.list", account=whole, limit=shown)["next"] is not None:
        click.echo(f"It has more; they are listed with: acme-iid-ca instance list --account {whole}", err=True)


@account.command("deactivate", cls=TakesRandomText, short_help="End an account.")
@_id
@reason_option()
def deactivate(id: str, act_reason: str | None) -> None:  # noqa: A002 - as above
    """Deactivate an account for good, by its id or by its key's thumbprint, and end its open orders.

    Its certificates stay valid, and its instances stay its own until they are released.
    """
    from acme_iid.cli.asking import ask

    done = ask("account.deactivate", id=id, reason=act_reason)
    click.echo(f"The account {done['account']} is deactivated.")
