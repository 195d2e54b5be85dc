"""``acme-iid-ca events``: the record of decisions, shown and checked."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from acme_iid.cli.filters import as_json as json_option
from acme_iid.cli.filters import filtered, numbered, one_more, show_page
from acme_iid.cli.output import timestamp

if TYPE_CHECKING:
    from acme_iid.store.chain import Event, Link
    from acme_iid.store.database import Database
    from acme_iid.store.listing import Filter

_LONG = 20_000
"""Events whose walk takes long enough for a person to wonder."""
_EXPECTED = re.compile(r"(?:([0-9]{1,18}):)?([0-9a-f]{64})\Z")
_TOLD = ("names", "provisioner", "rule", "step", "reason", "by", "actor", "released_to", "refused")


class _Expected(click.ParamType[tuple[int | None, str]]):
    """A place in the chain that was kept: NUMBER:HASH, or the hash alone."""

    name = "link"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int | None, str]:
        """Return the event's number, if it is given, and the hash."""
        match = _EXPECTED.match(value)
        if match is None:
            self.fail("write what --check printed as the head: NUMBER:HASH, or the hash alone", param, ctx)
        return None if match[1] is None else int(match[1]), match[2]


@click.command(short_help="What was decided, and why.")
@click.option("--check", is_flag=True, help="Walk the chain of events and say whether any was tampered with.")
@click.option("--from", "first", type=click.IntRange(1), metavar="NUMBER", help="With --check: begin at this event.")
@click.option(
    "--expect",
    type=_Expected(),
    metavar="NUMBER:HASH",
    help="With --check: a head that an earlier check printed and that must still be in the chain.",
)
@json_option
@filtered()
def events(
    database: Database,
    filter_: Filter,
    *,
    check: bool,
    first: int | None,
    expect: tuple[int | None, str] | None,
    as_json: bool,
) -> None:
    """Show the record of decisions, the latest first: who was let in, who was refused and by which rule.

    Each event carries a hash over itself and the event before it. --check finds the first event that was removed,
    edited or inserted, and prints the head of the chain: keep it in another place, and give it back with --expect
    to see that nothing up to there was cut off or written anew.
    """
    from acme_iid.store import events as record
    from acme_iid.store.listing import Filter, Position

    if check:
        if filter_ != Filter():
            raise click.UsageError("--check is about the chain, from which no filter takes anything; give one of them.")
        _check(database, first or 1, expect, as_json=as_json)
        return
    if first is not None or expect is not None:
        raise click.UsageError("--from and --expect go with --check.")
    filter_ = numbered(filter_)
    row = _fields if as_json else _line
    rows = [(Position(event.at, seq), row(seq, event)) for seq, event in record.page(database, one_more(filter_))]
    show_page(rows, filter_, as_json=as_json, empty="No such thing has been decided yet.")


_TIMES = ("not_after", "until")
"""Further facts that are times, in seconds in the record."""


def _spelled(detail: Mapping[str, object]) -> dict[str, object]:
    """An event's further facts with its times and its serial number as all of this program's output has them."""
    spelled = dict(detail)
    if isinstance(serial := spelled.get("serial"), str):
        spelled["serial"] = str(int(serial, 16))
    for key in _TIMES:
        if isinstance(seconds := spelled.get(key), int):
            spelled[key] = timestamp(seconds)
    if isinstance(times := spelled.get("times"), dict):
        spelled["times"] = {name: timestamp(seconds) for name, seconds in times.items()}
    return spelled


def _fields(seq: int, event: Event) -> dict[str, object]:
    return {
        "seq": seq,
        "at": timestamp(event.at),
        "kind": event.kind,
        "account": event.account_id,
        "instance": None if event.instance is None else event.instance.id,
        "name": event.name,
        **_spelled(event.detail),
    }


def _line(seq: int, event: Event) -> dict[str, object]:
    return {
        "seq": seq,
        "at": timestamp(event.at),
        "event": event.kind,
        "instance": None if event.instance is None else event.instance.id,
        "what": _summary({"name": event.name or event.detail.get("identifiers"), **_spelled(event.detail)}),
    }


def _summary(detail: Mapping[str, object]) -> str:
    summary = "; ".join(
        f"{key} {_text(value)}" for key in ("name", *_TOLD) if (value := detail.get(key)) not in (None, [])
    )
    # Authentic evidence names the instance; being stale or bound elsewhere, it does not show who sent it.
    return f"{summary}; the instance is not proven" if detail.get("proven") is False else summary


def _text(value: object) -> str:
    if isinstance(value, dict):
        return _actor(value)
    return ", ".join(value) if isinstance(value, list) else str(value)


def _actor(actor: Mapping[str, object]) -> str:
    """Who acted, in some words."""
    words = [str(actor.get("user") or f"uid {actor.get('uid')}")]
    words += [
        f"{word} {actor[fact]}"
        for fact, word in (("claimed", "claiming to be"), ("host", "on"), ("role", "as"), ("reason", "because:"))
        if fact in actor
    ]
    return " ".join(words)


def _check(database: Database, first: int, expect: tuple[int | None, str] | None, *, as_json: bool) -> None:
    from acme_iid.store import events as record

    latest = record.head(database)
    last, met = None, expect is None
    for link in _told(record.check(database, first), latest.seq - first + 1):
        last = link
        met = met or (expect is not None and expect[1] == link.hash and expect[0] in (None, link.seq))
    if expect is not None and not met:
        raise click.ClickException(_unmet(expect, first, latest))
    count = 0 if last is None else last.seq - first + 1
    head = str(last or latest)
    # They were sealed before, but servers go on.
    beyond = database.unsealed().number
    if as_json:
        click.echo(json.dumps({"events": count, "head": head, "unsealed": beyond}))
        return
    click.echo(f"OK: {count} event{'' if count == 1 else 's'}, head {head}")
    if beyond:
        click.echo(f"Not under this head yet: {beyond} event{'' if beyond == 1 else 's'} that came since.")


def _unmet(expect: tuple[int | None, str], first: int, latest: Link) -> str:
    number, kept = expect
    if number is not None and number < first:
        return f"event {number} is before the first that was checked; begin at it or earlier (--from)"
    if number is not None and number > latest.seq:
        return f"events {latest.seq + 1} to {number} were cut off: the chain ends at event {latest.seq}"
    what = f"event {number} does not have" if number is not None else f"no event from {first} on has"
    return f"{what} the hash {kept}: the chain was cut off before it, or written anew"


def _told(links: Iterator[Link], count: int) -> Iterator[Link]:
    """The same links, with a bar on a terminal if there are many."""
    if count < _LONG or not sys.stderr.isatty():
        yield from links
        return
    with click.progressbar(length=count, label="Checking events", file=sys.stderr, update_min_steps=1000) as bar:
        for link in links:
            yield link
            bar.update(1)
