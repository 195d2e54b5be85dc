"""``acme-iid-ca eab``: keys that let their holder make an account (external account binding)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from acme_iid.cli.acting import acting
from acme_iid.cli.filters import ABOUT, filtered, show_page
from acme_iid.cli.filters import as_json as json_option
from acme_iid.cli.output import show_one
from acme_iid.cli.parameters import Checked, TakesRandomText

if TYPE_CHECKING:
    from acme_iid.store.database import Database
    from acme_iid.store.listing import Filter


@click.group(short_help="Keys that let their holder make an account.")
def eab() -> None:
    """Hand out external account keys (RFC 8555 section 7.3.4), list and revoke them.

    With external_account_required = true in [ca], an account can only be made with such a key.
    """


@eab.command("add", short_help="Make a key.")
@click.option("--label", help="Whom or what it is for.")
@click.option(
    "--expires", type=Checked("duration", keep=False), metavar="TIME", help="How long it may be used, such as 7d."
)
@click.option("--reusable", is_flag=True, help="More than one account may be made with it.")
@json_option
@acting()
def add(database: Database, *, label: str | None, expires: int | None, reusable: bool, as_json: bool) -> None:
    """Make a key and print it: its id, and the MAC key in base64url. It is not shown again."""
    from acme_iid.authority import external_keys
    from acme_iid.operations.descriptions.external_keys import new

    key = external_keys.add(database, label, expires, int(time.time()), reusable=reusable)
    show_one(new(key), as_json=as_json)


@eab.command("list", short_help="The keys, newest first.")
@json_option
@filtered(*ABOUT)
def list_(database: Database, filter_: Filter, *, as_json: bool) -> None:
    """List keys, the latest first, with the account that was last made with each."""
    from acme_iid.operations.descriptions import external_keys

    show_page(external_keys.listed(database, filter_), as_json=as_json, empty="There is no external account key.")


@eab.command(
    "revoke",
    cls=TakesRandomText,
    short_help="Let a key make no further account.",
)
@click.argument("key_id")
@acting()
def revoke(database: Database, key_id: str) -> None:
    """Revoke a key. The accounts that were made with it stay; 'account deactivate' ends one."""
    from acme_iid.authority import external_keys

    revoked = external_keys.revoke(database, key_id, int(time.time()))
    click.echo(f"The external account key {key_id} makes no further account.")
    if revoked.account_id is not None:
        click.echo(f"An account was made with it: {revoked.account_id}.")
