"""``acme-iid-ca why``: why an instance, a name or an address was refused, and what lets it in."""

from __future__ import annotations

import ipaddress
import json
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from acme_iid.cli.filters import as_json as json_option
from acme_iid.cli.filters import follow_again, on_store
from acme_iid.cli.output import columns, command_lines, folded, plain
from acme_iid.operations.descriptions.times import timestamp

if TYPE_CHECKING:
    from acme_iid.store.chain import Event
    from acme_iid.store.database import Database
    from acme_iid.store.listing import Filter


@click.command(short_help="Why something was refused, and what lets it in.")
@click.argument("word", metavar="ID|NAME|ADDRESS")
@click.option("--limit", type=click.IntRange(1, 1000), default=3, show_default=True, help="How many refusals at most.")
@json_option
@on_store
def why(database: Database, word: str, *, limit: int, as_json: bool) -> None:
    """Say why an instance, a name or a client's address was refused last, by which rule, and what lifts that.

    An instance is given by its whole id or by the cloud's own, and need never have been let in.
    """
    from acme_iid.store import lookups

    lookups.follow(database)
    follow_again(database)
    found = _refusals(database, word, limit)
    if as_json:
        click.echo(json.dumps([_fields(seq, event) for seq, event in found], indent=2))
        return
    if not found:
        click.echo(f"The record has no refusal of {word}.", err=True)
    click.echo("\n\n".join(_text(seq, event) for seq, event in found), nl=bool(found))
    if (later := _since(database, found)) is not None:
        click.echo(f"\nIt got a certificate after that, at {timestamp(later)}.")


def _filters(database: Database, word: str) -> list[Filter]:
    """What an operator may mean by a word."""
    from acme_iid.operations import instances
    from acme_iid.policy import clouds
    from acme_iid.protocol.identifiers import from_text
    from acme_iid.store.listing import Filter

    ids = instances.called(database, word) or ([word] if clouds.is_whole_id(word) else [])
    meant = [Filter(instance=instance_id) for instance_id in ids]
    with suppress(ValueError):
        meant.append(Filter(remote=str(ipaddress.ip_address(word))))
    try:
        meant.append(Filter(name=from_text(word).value))
    except ValueError:
        if not meant:
            raise click.UsageError(
                f"{word!r} is neither an instance that was seen here, nor a name, nor an address"
            ) from None
    return meant


def _refusals(database: Database, word: str, limit: int) -> list[tuple[int, Event]]:
    """The latest refusals, the latest first."""
    from acme_iid.operations.status import REFUSALS
    from acme_iid.store import events

    found = {
        seq: event
        for meant in _filters(database, word)
        for kind in REFUSALS
        for seq, event in events.page(database, replace(meant, kind=kind, limit=limit))
    }
    return sorted(found.items(), reverse=True)[:limit]


def _since(database: Database, found: list[tuple[int, Event]]) -> int | None:
    """When the instance of the latest refusal got a certificate after it; None if it did not."""
    from acme_iid.store import events
    from acme_iid.store.listing import Filter

    if not found or found[0][1].instance is None:
        return None
    latest = found[0][1]
    assert latest.instance is not None
    issued = Filter(instance=latest.instance.id, kind="certificate.issued", since=latest.at, limit=1)
    return next((event.at for seq, event in events.page(database, issued) if seq > found[0][0]), None)


def _fields(seq: int, event: Event) -> dict[str, object]:
    from acme_iid.cli.refusals import cause

    detail, refused = event.detail, cause(event)
    return {
        "seq": seq,
        "at": timestamp(event.at),
        "kind": event.kind,
        "step": detail.get("step"),
        "rule": refused.rule,
        "provisioner": detail.get("provisioner"),
        "instance": None if event.instance is None else event.instance.id,
        "proven": detail.get("proven"),
        "names": [event.name] if event.name is not None else detail.get("identifiers"),
        "account": event.account_id,
        "remote": detail.get("remote"),
        "times": detail.get("refused", 1),
        "reason": detail.get("reason"),
        "lifted_by": refused.lift,
    }


def _text(seq: int, event: Event) -> str:
    fields = _fields(seq, event)
    width = columns()
    head = folded(f"{fields['at']}  ", plain(f"{event.kind}, by the rule: {fields['rule']}"), width)
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
