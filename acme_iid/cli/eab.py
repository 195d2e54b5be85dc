"""``acme-iid-ca eab``: keys that let their holder make an account (external account binding)."""

from __future__ import annotations

import click

from acme_iid.cli.acting import reason_option
from acme_iid.cli.filters import ABOUT, Filters, filtered, show_page
from acme_iid.cli.filters import as_json as json_option
from acme_iid.cli.output import show_one
from acme_iid.cli.parameters import Checked, TakesRandomText


@click.group(short_help="Keys that let their holder make an account.")
def eab() -> None:
    """Hand out external account keys (RFC 8555 section 7.3.4), list and revoke them.

    With external_account_required = true in [ca], an account can only be made with such a key.
    """


@eab.command("add", short_help="Make a key.")
@click.option("--label", help="Whom or what it is for.")
@click.option("--expires", type=Checked("duration"), metavar="TIME", help="How long it may be used, such as 7d.")
@click.option("--reusable", is_flag=True, help="More than one account may be made with it.")
@json_option
@reason_option()
def add(*, label: str | None, expires: str | None, reusable: bool, as_json: bool, act_reason: str | None) -> None:
    """Make a key and print it: its id, and the MAC key in base64url. It is not shown again."""
    from acme_iid.cli.asking import ask

    made = ask("eab.add", label=label, expires=expires, reusable=reusable, reason=act_reason)
    show_one(made, as_json=as_json)


@eab.command("list", short_help="The keys, newest first.")
@json_option
@filtered(*ABOUT)
def list_(filters: Filters, *, as_json: bool) -> None:
    """List keys, the latest first, with the account that was last made with each."""
    from acme_iid.cli import asking

    show_page(asking.page("eab.list", **filters), as_json=as_json, empty="There is no external account key.")


@eab.command(
    "revoke",
    cls=TakesRandomText,
    short_help="Let a key make no further account.",
)
@click.argument("key_id")
@reason_option()
def revoke(key_id: str, act_reason: str | None) -> None:
    """Revoke a key. The accounts that were made with it stay; 'account deactivate' ends one."""
    from acme_iid.cli.asking import ask

    revoked = ask("eab.revoke", id=key_id, reason=act_reason)
    click.echo(f"The external account key {key_id} makes no further account.")
    if revoked["account"] is not None:
        click.echo(f"An account was made with it: {revoked['account']}.")
