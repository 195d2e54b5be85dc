"""``acme-iid-ca instance``: which account an instance belongs to, and what an operator can do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from acme_iid.cli.acting import reason_option
from acme_iid.cli.filters import Filters, filtered, show_page
from acme_iid.cli.filters import as_json as json_option
from acme_iid.cli.output import show_one
from acme_iid.cli.parameters import Checked

if TYPE_CHECKING:
    from acme_iid.operations.descriptions.instances import BlockedInstance, ReleasedInstance, UnblockedInstance

_id = click.argument("id")


@click.group(short_help="The instances that have certificates here.")
def instance() -> None:
    """Show which account an instance belongs to since its first use, release it to another, or shut it out."""


@instance.command("list", short_help="The instances that were used here.")
@click.option("--blocked", is_flag=True, help="Those that are blocked, the latest first, whether ever used or not.")
@json_option
@filtered("instance", "kind", "remote", "bulk", "profile")
def list_(filters: Filters, *, blocked: bool, as_json: bool) -> None:
    """List the instances that were used here, the latest first use first.

    --since and --until are about the first use (with --blocked, the block); --name finds the instances that got a
    certificate for NAME.
    """
    from acme_iid.cli import asking

    empty = "No instance is blocked." if blocked else "No such instance has been used here yet."
    show_page(asking.page("instance.list", blocked=blocked, **filters), as_json=as_json, empty=empty)


@instance.command("show", short_help="One instance in full.")
@_id
@json_option
def show_instance(id: str, *, as_json: bool) -> None:  # noqa: A002 - the argument's name in --help
    """Show an instance, by its whole id or by the cloud's own instance id, also if it was only ever refused."""
    from acme_iid.cli.asking import ask

    show_one(ask("instance.show", id=id), as_json=as_json)


@instance.command("release", short_help="Let one new account key use an instance.")
@_id
@click.option(
    "--to", "thumbprint", required=True, metavar="THUMBPRINT", help="The account key's; the refused client prints it."
)
@click.option(
    "--for",
    "span",
    type=Checked("duration"),
    default="1h",
    show_default=True,
    help="How long the release lasts if it is not used.",
)
@click.option("--revoke", is_flag=True, help="Also revoke the instance's certificates.")
@json_option
@reason_option()
def release(
    id: str,  # noqa: A002 - as above
    thumbprint: str,
    span: str,
    *,
    revoke: bool,
    as_json: bool,
    act_reason: str | None,
) -> None:
    """Let a VM in again that was rebuilt and lost its account key, or one that is too old for its first use.

    The instance is taken from the account that it belongs to, if there is one. The key with THUMBPRINT, and no
    other, may use it next, whatever the instance's age.
    """
    from acme_iid.cli.asking import ask

    done: ReleasedInstance = ask(
        "instance.release", id=id, to=thumbprint, revoke=revoke, reason=act_reason, **{"for": span}
    )
    whole, ends = done["instance"], done["release_ends"]
    _tell(f"Instance {whole} is released to the key {thumbprint} until {ends}.", done, as_json=as_json)
    if ask("instance.show", id=whole)["blocked"] is not None:
        click.echo(f"It is blocked all the same; acme-iid-ca instance unblock {whole} lets it in.", err=True)


@instance.command("block", short_help="Shut an instance out.")
@_id
@click.option("--revoke", is_flag=True, help="Also revoke its certificates (keyCompromise).")
@json_option
@reason_option()
def block(
    id: str,  # noqa: A002 - as above
    *,
    revoke: bool,
    as_json: bool,
    act_reason: str | None,
) -> None:
    """Refuse an instance from now on, and end what it has proven.

    ID is its whole id, which may be one that was never used here, or the cloud's own id of one that was. The reason is
    for operators; the instance is not told.
    """
    from acme_iid.cli.asking import ask

    done: BlockedInstance = ask("instance.block", id=id, revoke=revoke, reason=act_reason)
    _tell(f"Instance {done['instance']} is blocked.", done, as_json=as_json)


def _tell(sentence: str, done: BlockedInstance, *, as_json: bool) -> None:
    """Say what was done to an instance, and what ended with it."""
    if as_json:
        show_one(done, as_json=True)
        return
    click.echo(sentence)
    click.echo(f"Orders ended: {done['orders_ended']}. Certificates revoked: {done['certificates_revoked']}.")


@instance.command("unblock", short_help="Let a blocked instance in again.")
@_id
@json_option
@reason_option()
def unblock(id: str, *, as_json: bool, act_reason: str | None) -> None:  # noqa: A002 - as above
    """Let an instance in again. Its owner has not changed."""
    from acme_iid.cli.asking import ask

    done: UnblockedInstance = ask("instance.unblock", id=id, reason=act_reason)
    if as_json:
        show_one(done, as_json=True)
        return
    whole = done["instance"]
    click.echo(f"Instance {whole} is no longer blocked.")
    for name in done["closed_names"]:
        click.echo(f"{name} is still closed to it; it is opened with: acme-iid-ca instance reopen {whole} {name}")


@instance.command("reopen", short_help="Open a name that revocation closed.")
@_id
@click.argument("name")
@reason_option()
def reopen(id: str, name: str, act_reason: str | None) -> None:  # noqa: A002 - as above
    """Let an instance hold NAME again after its certificate for it was revoked."""
    from acme_iid.cli.asking import ask

    done = ask("instance.reopen", id=id, name=name, reason=act_reason)
    click.echo(f"The name {name} is open to instance {done['instance']} again.")
