"""``acme-iid-ca events``: the record of decisions, shown and checked."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from acme_iid.cli.filters import as_json as json_option
from acme_iid.cli.filters import filtered, numbered, one_more, show_page
from acme_iid.cli.output import timestamp

if TYPE_CHECKING:
    from pathlib import Path

    from acme_iid.cli import Home
    from acme_iid.store.chain import Event, Link
    from acme_iid.store.database import Database
    from acme_iid.store.events import Verify
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
@click.option("--follow", is_flag=True, help="Print events as they come, a line of JSON each, until ctrl-C.")
@click.option(
    "--after", type=click.IntRange(0), metavar="NUMBER", help="With --follow: begin behind this event; by default now."
)
@json_option
@filtered()
def events(
    database: Database,
    filter_: Filter,
    *,
    check: bool,
    follow: bool,
    after: int | None,
    first: int | None,
    expect: tuple[int | None, str] | None,
    as_json: bool,
) -> None:
    """Show the record of decisions, the latest first: who was let in, who was refused and by which rule.

    Each event carries a hash over itself and the event before it. --check finds the first event that was removed,
    edited or inserted, and prints the head of the chain: keep it in another place, and give it back with --expect
    to see that nothing up to there was cut off or written anew.

    --follow is for a program that keeps the record elsewhere. Each line has the event's hash and what it is made of:
    rfc-notes/iid-01.md says how, under "What is recorded".
    """
    from acme_iid.store import events as record
    from acme_iid.store.listing import Filter, Position

    if (check or follow) and (filter_ != Filter() or (check and follow)):
        raise click.UsageError(
            "--check and --follow are about the chain, from which no filter takes anything; give one of them."
        )
    if after is not None and not follow:
        raise click.UsageError("--after goes with --follow.")
    if follow:
        if first is not None or expect is not None:
            raise click.UsageError("--from and --expect go with --check.")
        from acme_iid.cli import following

        following.follow(database, after)
        return
    if check:
        home: Home = click.get_current_context().obj
        _check(home.path, database, first, expect, as_json=as_json)
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
    actor = detail.get("actor")
    if isinstance(actor, dict) and actor.get("reason") == detail.get("reason"):
        # A block has its reason as well.
        detail = {**detail, "actor": {fact: value for fact, value in actor.items() if fact != "reason"}}
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


def _check(
    home: Path, database: Database, first: int | None, expect: tuple[int | None, str] | None, *, as_json: bool
) -> None:
    from acme_iid.operations import event_checkpoints
    from acme_iid.store import checkpoints
    from acme_iid.store import events as record

    latest, gone = record.head(database), record.removed(database)
    begin = gone.seq + 1 if first is None else first
    verify = partial(event_checkpoints.verify, home, database)
    last, met = None, expect is None or _is_checkpoint(database, expect, verify)
    for link in _told(record.check(database, first or 1, verify), latest.seq - begin + 1):
        last = link
        met = met or (expect is not None and expect[1] == link.hash and expect[0] in (None, link.seq))
    if expect is not None and not met:
        raise click.ClickException(_unmet(database, expect, begin, latest))
    count = 0 if last is None else last.seq - begin + 1
    head = str(last or latest)
    # They were sealed before, but servers go on.
    beyond = database.unsealed().number
    signed = checkpoints.latest(database)
    if as_json:
        place = None if signed is None else str(signed.place)
        click.echo(
            json.dumps({"events": count, "head": head, "unsealed": beyond, "removed": gone.seq, "checkpoint": place})
        )
        return
    click.echo(f"OK: {count} event{'' if count == 1 else 's'}, head {head}")
    if signed is not None:
        click.echo(
            f"Events 1 to {gone.seq} are in exports and no longer here. The issuer {signed.issuer_id[:16]} has signed "
            f"the place {signed.place}, which follows from them."
        )
    if beyond:
        click.echo(f"Not under this head yet: {beyond} event{'' if beyond == 1 else 's'} that came since.")


def _is_checkpoint(database: Database, expect: tuple[int | None, str], verify: Verify) -> bool:
    """Whether a place that was kept is one that was signed."""
    from acme_iid.store import checkpoints

    number, kept = expect
    checkpoint = None if number is None else checkpoints.at(database, number)
    if checkpoint is None or checkpoint.place != (number, kept):
        return False
    verify(checkpoint)
    return True


def _unmet(database: Database, expect: tuple[int | None, str], first: int, latest: Link) -> str:
    from acme_iid.operations.event_checkpoints import file_of
    from acme_iid.store import checkpoints
    from acme_iid.store import events as record

    number, kept = expect
    gone = record.removed(database)
    if number is not None and number <= gone.seq:
        checkpoint = checkpoints.at(database, number)
        file = "an export" if checkpoint is None else file_of(checkpoint)
        if checkpoint is not None and checkpoint.place.seq == number:
            return f"event {number} does not have the hash {kept}: the place that was signed there is another"
        return f"event {number} is no longer here: compare it with its line in the export {file}"
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
