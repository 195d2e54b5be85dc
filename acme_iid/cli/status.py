"""``acme-iid-ca status``: the CA and its fleet on one screen, what is red first."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from acme_iid.cli.filters import as_json as json_option
from acme_iid.cli.filters import follow_again
from acme_iid.cli.output import command_lines, plain
from acme_iid.operations.descriptions.times import timestamp
from acme_iid.terminal import tables

if TYPE_CHECKING:
    from acme_iid.cli import Home
    from acme_iid.operations.overview import Line
    from acme_iid.operations.status import Status
    from acme_iid.store.chain import Event

WIDTH = 80
"""Columns of a screen. Commands are broken before, as a shell takes them; of names the end is left out."""
_DAY = 86400
_COMMON_NAME = re.compile(r"CN=((?:\\.|[^,+\\])+)")
_RULES = 5
_SERVERS = 4
_TROUBLES = 6
_CERTIFICATES = 10


@click.command(short_help="The CA and its fleet on one screen.")
@json_option
@click.pass_obj
def status(home: Home, *, as_json: bool) -> None:
    """Show the CA and its fleet on one screen, what is red first.

    Below are the CA's certificates with their days left, the fleet's in numbers, what was refused in the last day by
    which rule with the command that lifts it, and the servers. A certificate is due in its time for renewal, overdue
    after it, and lapsed for a day after its end, each as long as it has no successor; those with one are not in use.
    Backups count as daily: a last one is yellow after 25 hours, and red after two days. The exit status is 1 if
    something is red, and 0 otherwise.
    """
    from acme_iid.operations.status import collect
    from acme_iid.store import lookups
    from acme_iid.store.database import open_store

    now = int(time.time())
    config = home.config()
    database = open_store(config.store.url)
    try:
        lookups.follow(database)
        follow_again(database)
        state = collect(home.path, database, config.sink_names, now)
    finally:
        database.close()
    if as_json:
        click.echo(json.dumps(_as_json(state, now), indent=2))
    else:
        for line in screen(state, str(home.path), now):
            click.echo(line)
    if any(trouble.severity == "red" for trouble in state.troubles):
        click.get_current_context().exit(1)


def screen(state: Status, home: str, now: int) -> Iterator[str]:
    """The lines of the screen, with the colours of a terminal."""
    yield _fit(f"{timestamp(now)}  {home}")
    if not state.troubles:
        yield click.style("Nothing is red.", fg="green")
    for trouble in state.troubles[:_TROUBLES]:
        mark = click.style("RED   " if trouble.severity == "red" else "yellow", fg=trouble.severity, bold=True)
        yield f"{mark} {_fit(plain(trouble.text), WIDTH - 7)}"
        if trouble.command is not None:
            yield from command_lines(trouble.command, 7, WIDTH)
    if len(state.troubles) > _TROUBLES:
        yield f"       {len(state.troubles) - _TROUBLES} more: --json has all"
    yield ""
    certificates = _table(("WHAT", "NAME", "STATE", "DAYS LEFT", "KEY"), _certificates(state.lines, now))
    yield from _section("CA", [*certificates, f"  last backup {timestamp(state.backed_up_at) or 'never'}"])
    counts = state.counts
    use = f"valid {counts.valid}, in use {counts.used}: due {counts.due}, overdue {counts.overdue}"
    yield from _section("FLEET", [_fit(f"  {use}; lapsed in a day {counts.lapsed}")])
    yield from _section("REFUSED IN THE LAST DAY", _refused(state.refusals))
    rows = [
        (server.id[:10], server.version, server.config_hash[:12], f"{server.clock - server.seen_at:+d} s")
        for server in state.servers
    ]
    lines = _table(("PROCESS", "VERSION", "CA.TOML", "CLOCK"), rows[:_SERVERS])
    if len(rows) > _SERVERS:
        lines.append(f"  and {len(rows) - _SERVERS} more: acme-iid-ca store servers")
    yield from _section("SERVERS", lines if rows else ["  none"])


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    yield click.style(title, bold=True)
    yield from lines


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [_fit(f"  {line}") for line in tables.columns(heads, [[plain(cell) for cell in row] for row in rows])]


def _certificates(lines: Sequence[Line], now: int) -> list[tuple[str, ...]]:
    """Rows of the CA's certificates, those that are not retired, as many as a screen has room for."""
    rows: list[tuple[str, ...]] = []
    for line in lines:
        if line.state == "retired":
            continue
        common = _COMMON_NAME.search(line.lifetime.name)
        name = line.lifetime.name if common is None else common[1]
        name = _fit(name, 32) if line.id is None else f"{_fit(name, 24)} {line.id[:8]}"
        left = max(0, line.lifetime.ends - now)
        days = f"{left // _DAY}" if left >= 2 * _DAY else f"{left // 3600} h"
        key = "" if line.key is None else line.key.partition(":")[0]
        if line.fault is not None:
            key = "FAULT"
        rows.append((line.lifetime.role, name, line.state or "", days, key))
    return rows[:_CERTIFICATES]


def by_rule(refusals: Iterable[Event]) -> list[dict[str, object]]:
    """Refusals by their rules, those with the most first, each with the command that lifts most of them."""
    from acme_iid.cli.refusals import cause

    numbers: Counter[str] = Counter()
    lifts: dict[str, Counter[str]] = {}
    for event in refusals:
        refused, times = cause(event), event.detail.get("refused", 1)
        number = times if isinstance(times, int) else 1
        numbers[refused.rule] += number
        if refused.lift is not None:
            lifts.setdefault(refused.rule, Counter())[refused.lift] += number
    return [
        {
            "rule": rule,
            "times": number,
            "lifted_by": lifts[rule].most_common(1)[0][0] if rule in lifts else None,
            "other_lifts": max(0, len(lifts.get(rule, ())) - 1),
        }
        for rule, number in numbers.most_common()
    ]


def _refused(refusals: Sequence[Event]) -> Iterator[str]:
    rows = by_rule(refusals)
    if not rows:
        yield "  nothing"
    for row in rows[:_RULES]:
        yield _fit(f"  {row['times']} x {plain(row['rule'])}")
        if row["lifted_by"] is None:
            yield "      other evidence, or another order, is needed: acme-iid-ca why"
        else:
            yield from command_lines(plain(row["lifted_by"]), 6, WIDTH)
            if row["other_lifts"]:
                yield f"      and {row['other_lifts']} further commands like this one"
    if len(rows) > _RULES:
        yield f"  and {len(rows) - _RULES} further rules: acme-iid-ca status --json"


def _fit(text: str, width: int = WIDTH) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."


def _as_json(state: Status, now: int) -> Mapping[str, object]:
    return {
        "at": timestamp(now),
        "troubles": [asdict(trouble) for trouble in state.troubles],
        "ca": [
            {
                "role": line.lifetime.role,
                "id": line.id,
                "subject": line.lifetime.name,
                "state": line.state,
                "ends": timestamp(line.lifetime.ends),
                "days_left": max(0, (line.lifetime.ends - now) // _DAY),
                "warning": line.warning,
                "key": line.key,
                "fault": line.fault,
            }
            for line in state.lines
        ],
        "backup": timestamp(state.backed_up_at),
        "fleet": {**state.counts._asdict(), "used": state.counts.used},
        "refused": by_rule(state.refusals),
        "servers": [
            {
                "id": server.id,
                "version": server.version,
                "config": server.config_hash,
                "clock_ahead": server.clock - server.seen_at,
                "seen": timestamp(server.seen_at),
            }
            for server in state.servers
        ],
    }
