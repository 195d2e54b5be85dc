"""``acme-iid-ca policy``: who may hold what."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

from acme_iid.cli.filters import as_json as json_option
from acme_iid.cli.output import columns, fits, folded, plain
from acme_iid.terminal import tables

if TYPE_CHECKING:
    from acme_iid.cli import Home
    from acme_iid.config.settings import Config
    from acme_iid.policy.hosts import HostProvisioner
    from acme_iid.policy.instances import Provisioner

Row = dict[str, Any]

_HEADS = ("owner", "provisioner", "only_if", "may_hold", "profiles")


@click.group(short_help="Who may hold what.")
def policy() -> None:
    """Show what ca.toml's rules come to."""


@policy.command("show", short_help="Each owner, and the names that its instances may hold.")
@json_option
@click.pass_obj
def show_policy(home: Home, *, as_json: bool) -> None:
    """Show the rules against the owners: whose instances may hold which names, under which conditions.

    Names are the rules' own words, with facts in braces and * for any one label. Where there is no rule, any name in
    the CA's domains is given to whoever asks first: a terminal shows that in red. What one instance may hold,
    'acme-iid-ca provisioner test' says.
    """
    rows = list(_rows(home.config()))
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    elif not rows:
        click.echo("There are no provisioners, so nobody may hold anything.", err=True)
    else:
        _print(rows)


def _rows(config: Config) -> Iterator[Row]:
    """A row for each owner and rule, in the order in which provisioners are tried."""
    for entry in config.policy.instances:
        rules = list(_of_instances(entry, config.namespace.domains))
        for owner, only_if in _owners(entry):
            for may_hold, conditions, is_any in rules:
                yield _row(owner, entry, [*only_if, *conditions], may_hold, is_any=is_any)
    for host in config.policy.hosts:
        for may_hold, conditions, is_any in _of_hosts(host, config.namespace.domains):
            yield _row("any host", host, conditions, may_hold, is_any=is_any)


def _row(
    owner: str, entry: Provisioner | HostProvisioner, only_if: Sequence[str], may_hold: str, *, is_any: bool
) -> Row:
    return {
        "owner": owner,
        "provisioner": entry.name,
        "only_if": list(only_if),
        "may_hold": may_hold,
        "any_name": is_any,
        "profiles": None if entry.profiles is None else list(entry.profiles),
    }


def _owners(entry: Provisioner) -> Iterator[tuple[str, list[str]]]:
    """The owners whose instances a provisioner admits, each with what else it demands."""
    listed = [demand for demand in entry.demands if demand.key in entry.cloud_type.owners]
    first, *others = listed
    only_if = [
        f"{demand.key} {' '.join(demand.values)}"
        for demand in (*others, *(demand for demand in entry.demands if demand not in listed))
    ]
    if entry.instance_age is not None:
        only_if.append(f"first use within {entry.instance_age} s of its start")
    for owner in first.values:
        yield f"{entry.cloud_type.cloud} {owner}", only_if


def _of_instances(entry: Provisioner, domains: Sequence[str]) -> Iterator[tuple[str, list[str], bool]]:
    """What a provisioner gives: the names, the conditions, and whether it is any name."""
    inside = [] if entry.networks is None else [f"private addresses in {' '.join(map(str, entry.networks))}"]
    yield "its own names and addresses", inside, False
    if not entry.disable_custom_sans:
        if entry.allow is None:
            yield _any(domains), [], True
        for rule in entry.allow or ():
            yield rule.template.text, [_when(demand.key, demand.values) for demand in rule.when], False
    for rule in entry.allow_wildcards:
        yield f"*.{rule.template.text}", [_when(demand.key, demand.values) for demand in rule.when], False


def _of_hosts(host: HostProvisioner, domains: Sequence[str]) -> Iterator[tuple[str, list[str], bool]]:
    proving = [f"proves it by {' or '.join(host.challenges)}"]
    if host.networks is not None:
        proving.append(f"is in {' '.join(map(str, host.networks))}")
    wildcards = ", wildcards too" if host.allow_wildcards else ""
    if host.allow is None:
        yield _any(domains) + wildcards, proving, True
    for rule in host.allow or ():
        yield rule.template.text + wildcards, proving, False


def _any(domains: Sequence[str]) -> str:
    return f"any name in {', '.join(domains)}" if domains else "no name, since the CA has no domains"


def _when(key: str, values: Sequence[str]) -> str:
    return f"{key} {' '.join(values)}"


def _print(rows: Sequence[Row]) -> None:
    """As columns, or on a narrower terminal the names below each owner; any name is red."""
    cells = [[plain(row[head]) if row[head] != [] else "-" for head in _HEADS] for row in rows]
    heads = [head.replace("_", " ").upper() for head in _HEADS]
    lines = tables.columns(heads, cells)
    if not fits(lines):
        for line in _narrow(rows):
            click.echo(line)
        return
    click.echo(lines[0])
    for row, line in zip(rows, lines[1:], strict=True):
        text = plain(row["may_hold"])
        click.echo(line.replace(text, _red(text), 1) if row["any_name"] else line)


def _narrow(rows: Sequence[Row]) -> Iterator[str]:
    """Each owner under a provisioner, and below it a line a name."""
    width = columns()
    for (owner, provisioner), group in groupby(rows, lambda row: (row["owner"], row["provisioner"])):
        several = list(group)
        yield folded("", f"{plain(owner)}, by {plain(provisioner)}", width)
        if several[0]["profiles"] is not None:
            yield folded("  with the profiles ", plain(several[0]["profiles"]), width)
        for row in several:
            text = plain(row["may_hold"])
            yield f"  {_red(text) if row['any_name'] else text}"
            if row["only_if"]:
                yield folded("    only if: ", plain(row["only_if"]), width)


def _red(text: str) -> str:
    return click.style(text, fg="red", bold=True)
