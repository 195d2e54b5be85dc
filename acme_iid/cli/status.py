"""``acme-iid-ca status``: the CA and its fleet on one screen, what is red first."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

import click

from acme_iid.cli.filters import as_json as json_option
from acme_iid.cli.filters import follow_again
from acme_iid.cli.output import command_lines, plain
from acme_iid.operations.descriptions.times import seconds_of
from acme_iid.terminal import tables

if TYPE_CHECKING:
    from acme_iid.cli import Home
    from acme_iid.operations.descriptions.issuers import CARow
    from acme_iid.operations.descriptions.refusals import RuleRow
    from acme_iid.operations.descriptions.status import StatusDescription

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
    from acme_iid.cli import asking

    # A server asks no key for a signature, and says of no key where it is.
    server = asking.server(home)
    state: StatusDescription = _look(home) if server is None else asking.ask("status.show")
    if as_json:
        click.echo(json.dumps(state, indent=2))
    else:
        for line in screen(state, str(home.path) if server is None else server.caller["home"]):
            click.echo(line)
    if any(trouble["severity"] == "red" for trouble in state["troubles"]):
        click.get_current_context().exit(1)


def _look(home: Home) -> StatusDescription:
    from acme_iid.operations.descriptions.status import describe
    from acme_iid.operations.status import collect
    from acme_iid.store import lookups
    from acme_iid.store.database import open_store

    now, config = int(time.time()), home.config()
    with closing(open_store(config.store.url)) as database:
        lookups.follow(database)
        follow_again(database)
        return describe(collect(home.path, database, config.sink_names, now), now)


def screen(state: StatusDescription, home: str) -> Iterator[str]:
    """The lines of the screen, with the colours of a terminal."""
    yield _fit(f"{state['at']}  {home}")
    troubles, fleet, servers = state["troubles"], state["fleet"], state["servers"]
    if not troubles:
        yield click.style("Nothing is red.", fg="green")
    for trouble in troubles[:_TROUBLES]:
        severity = trouble["severity"]
        mark = click.style("RED   " if severity == "red" else "yellow", fg=severity, bold=True)
        yield f"{mark} {_fit(plain(trouble['text']), WIDTH - 7)}"
        if trouble["command"] is not None:
            yield from command_lines(trouble["command"], 7, WIDTH)
    if len(troubles) > _TROUBLES:
        yield f"       {len(troubles) - _TROUBLES} more: --json has all"
    yield ""
    certificates = _table(("WHAT", "NAME", "STATE", "DAYS LEFT", "KEY"), _certificates(state["ca"], state["at"]))
    yield from _section("CA", [*certificates, f"  last backup {state['backup'] or 'never'}"])
    use = f"valid {fleet['valid']}, in use {fleet['used']}: due {fleet['due']}, overdue {fleet['overdue']}"
    yield from _section("FLEET", [_fit(f"  {use}; lapsed in a day {fleet['lapsed']}")])
    yield from _section("REFUSED IN THE LAST DAY", _refused(state["refused"]))
    rows = [
        (server["id"][:10], server["version"], server["config"][:12], f"{server['clock_ahead']:+d} s")
        for server in servers
    ]
    lines = _table(("PROCESS", "VERSION", "CA.TOML", "CLOCK"), rows[:_SERVERS])
    if len(rows) > _SERVERS:
        lines.append(f"  and {len(rows) - _SERVERS} more: acme-iid-ca store servers")
    store = state["store"]
    known = f"  the store has schema {store['schema']}; who knows {store['min_writer']} or later may write"
    yield from _section("SERVERS", [*(lines if rows else ["  none"]), _fit(plain(known))])


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    yield click.style(title, bold=True)
    yield from lines


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [_fit(f"  {line}") for line in tables.columns(heads, [[plain(cell) for cell in row] for row in rows])]


def _certificates(entries: Sequence[CARow], at: str) -> list[tuple[str, ...]]:
    """Rows of the CA's certificates, those that are not retired, as many as a screen has room for."""
    rows: list[tuple[str, ...]] = []
    for entry in entries:
        if entry["state"] == "retired":
            continue
        common = _COMMON_NAME.search(entry["subject"])
        name = entry["subject"] if common is None else common[1]
        name = _fit(name, 32) if entry["id"] is None else f"{_fit(name, 24)} {entry['id'][:8]}"
        left = max(0, seconds_of(entry["ends"]) - seconds_of(at))
        days = f"{left // _DAY}" if left >= 2 * _DAY else f"{left // 3600} h"
        key = "" if entry["key"] is None else entry["key"].partition(":")[0]
        if entry["fault"] is not None:
            key = "FAULT"
        rows.append((entry["role"], name, entry["state"] or "", days, key))
    return rows[:_CERTIFICATES]


def _refused(rules: Sequence[RuleRow]) -> Iterator[str]:
    if not rules:
        yield "  nothing"
    for rule in rules[:_RULES]:
        yield _fit(f"  {rule['times']} x {plain(rule['rule'])}")
        if rule["lifted_by"] is None:
            yield "      other evidence, or another order, is needed: acme-iid-ca why"
        else:
            yield from command_lines(plain(rule["lifted_by"]), 6, WIDTH)
            if rule["other_lifts"]:
                yield f"      and {rule['other_lifts']} further commands like this one"
    if len(rules) > _RULES:
        yield f"  and {len(rules) - _RULES} further rules: acme-iid-ca status --json"


def _fit(text: str, width: int = WIDTH) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."
