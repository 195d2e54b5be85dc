"""``acme-iid-ca why``: why an instance, a name or an address was refused, and what lets it in."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from acme_iid.cli.filters import as_json as json_option
from acme_iid.cli.output import columns, command_lines, folded, plain

if TYPE_CHECKING:
    from acme_iid.operations.descriptions.refusals import RefusalRow, Refusals


@click.command(short_help="Why something was refused, and what lets it in.")
@click.argument("word", metavar="ID|NAME|ADDRESS")
@click.option("--limit", type=click.IntRange(1, 1000), default=3, show_default=True, help="How many refusals at most.")
@json_option
def why(word: str, *, limit: int, as_json: bool) -> None:
    """Say why an instance, a name or a client's address was refused last, by which rule, and what lifts that.

    An instance is given by its whole id or by the cloud's own, and need never have been let in.
    """
    from acme_iid.cli.asking import ask

    found: Refusals = ask("refusal.why", about=word, limit=limit)
    if as_json:
        click.echo(json.dumps(found["items"], indent=2))
        return
    if not found["items"]:
        click.echo(f"The record has no refusal of {word}.", err=True)
    click.echo("\n\n".join(map(_text, found["items"])), nl=bool(found["items"]))
    if found["certificate_since"] is not None:
        click.echo(f"\nIt got a certificate after that, at {found['certificate_since']}.")


def _text(fields: RefusalRow) -> str:
    width = columns()
    head = folded(f"{fields['at']}  ", plain(f"{fields['kind']}, by the rule: {fields['rule']}"), width)
    facts = {
        "instance": fields["instance"],
        "names": fields["names"],
        "account": fields["account"],
        "from": fields["remote"],
        "times": fields["times"] if fields["times"] != 1 else None,
        "reason": fields["reason"],
        # Authentic evidence names the instance; being stale or bound elsewhere, it does not show who sent it.
        "remark": "the instance is not proven" if fields["proven"] is False else None,
        "lifted by": fields["lifted_by"] or "nothing here: the client needs other evidence, or another order",
    }
    lines = [head]
    for name, value in facts.items():
        label, text = f"  {name + ':':<10} ", plain(value)
        if width is not None and text.startswith("acme-iid-ca ") and len(label) + len(text) > width:
            lines += [label.rstrip(), *command_lines(text, 4, width)]
        elif value is not None:
            lines.append(folded(label, text, width))
    return "\n".join(lines)
