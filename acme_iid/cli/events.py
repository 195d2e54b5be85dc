"""``acme-iid-ca events``: the record of decisions, shown and checked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from acme_iid.cli.filters import Criterion, Filters, filtered, require_number, show_page
from acme_iid.cli.filters import as_json as json_option

if TYPE_CHECKING:
    from acme_iid.cli import Home


class _Head(Criterion):
    """A place in the chain that was kept: NUMBER:HASH, or the hash alone."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text: the event's number, if it is given, and the hash."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail("write what --check printed as the head: NUMBER:HASH, or the hash alone", param, ctx)


@click.command(short_help="What was decided, and why.")
@click.option("--check", is_flag=True, help="Walk the chain of events and say whether any was tampered with.")
@click.option("--from", "first", type=click.IntRange(1), metavar="NUMBER", help="With --check: begin at this event.")
@click.option(
    "--expect",
    type=_Head("head"),
    metavar="NUMBER:HASH",
    help="With --check: a head that an earlier check printed and that must still be in the chain.",
)
@click.option("--follow", is_flag=True, help="Print events as they come, a line of JSON each, until ctrl-C.")
@click.option(
    "--after", type=click.IntRange(0), metavar="NUMBER", help="With --follow: begin behind this event; by default now."
)
@json_option
@filtered()
def events(
    filters: Filters,
    *,
    check: bool,
    follow: bool,
    after: int | None,
    first: int | None,
    expect: str | None,
    as_json: bool,
) -> None:
    """Show the record of decisions, the latest first: who was let in, who was refused and by which rule.

    Each event carries a hash over itself and the event before it. --check finds the first event that was removed,
    edited or inserted, and prints the head of the chain: keep it in another place, and give it back with --expect
    to see that nothing up to there was cut off or written anew.

    --follow is for a program that keeps the record elsewhere. Each line has the event's hash and what it is made of:
    rfc-notes/iid-01.md says how, under "What is recorded".
    """
    from acme_iid.cli import asking
    from acme_iid.operations.descriptions import events

    is_filtered = (
        any(value is not None for name, value in filters.items() if name != "limit") or filters["limit"] != 100
    )
    if (check or follow) and (is_filtered or (check and follow)):
        raise click.UsageError(
            "--check and --follow are about the chain, from which no filter takes anything; give one of them."
        )
    if after is not None and not follow:
        raise click.UsageError("--after goes with --follow.")
    if follow:
        if first is not None or expect is not None:
            raise click.UsageError("--from and --expect go with --check.")
        from acme_iid.cli import following

        following.follow(after)
        return
    if check:
        home: Home = click.get_current_context().obj
        _check(home, first, expect, as_json=as_json)
        return
    if first is not None or expect is not None:
        raise click.UsageError("--from and --expect go with --check.")
    require_number(filters)
    page = asking.page("events.list", **filters)
    if as_json:
        rows = [events.flat(event) for event in page["items"]]
        show_page({"items": rows, "next": page["next"]}, as_json=True, empty="")
        return
    lines = [
        {
            "seq": event["seq"],
            "at": event["at"],
            "event": event["kind"],
            "instance": event["instance"],
            "what": events.in_words(event),
        }
        for event in page["items"]
    ]
    show_page({"items": lines, "next": page["next"]}, as_json=False, empty="No such thing has been decided yet.")


def _check(home: Home, first: int | None, expect: str | None, *, as_json: bool) -> None:
    from acme_iid.cli import asking, chain_walks

    checked, signed_by = (
        chain_walks.here(home, first, expect) if asking.server(home) is None else chain_walks.there(first, expect)
    )
    if as_json:
        click.echo(json.dumps(checked))
        return
    count, beyond = checked["events"], checked["unsealed"]
    click.echo(f"OK: {count} event{'' if count == 1 else 's'}, head {checked['head']}")
    if signed_by is not None:
        click.echo(
            f"Events 1 to {checked['removed']} are in exports and no longer here. The issuer {signed_by[:16]} "
            f"has signed the place {checked['checkpoint']}, which follows from them."
        )
    if beyond:
        click.echo(f"Not under this head yet: {beyond} event{'' if beyond == 1 else 's'} that came since.")
