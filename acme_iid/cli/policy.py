"""``acme-iid-ca policy``: who may hold what."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import click

from acme_iid.cli.filters import as_json as json_option
from acme_iid.cli.output import columns, fits, folded, plain
from acme_iid.terminal import tables

if TYPE_CHECKING:
    from acme_iid.cli import Home
    from acme_iid.operations.descriptions.policy import PolicyRow

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
    from acme_iid.cli import asking
    from acme_iid.operations.descriptions.policy import rows as described

    # In the home no store is needed.
    is_here = asking.server(home) is None
    rows: list[PolicyRow] = list(described(home.config())) if is_here else asking.ask("policy.show")["items"]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    elif not rows:
        click.echo("There are no provisioners, so nobody may hold anything.", err=True)
    else:
        _print(rows)


def _print(rows: Sequence[PolicyRow]) -> None:
    """As columns, or on a narrower terminal the names below each owner; any name is red."""
    cells = [_cells(row) for row in rows]
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


def _cells(row: Mapping[str, object]) -> list[str]:
    return [plain(row[head]) if row[head] != [] else "-" for head in _HEADS]


def _narrow(rows: Sequence[PolicyRow]) -> Iterator[str]:
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
