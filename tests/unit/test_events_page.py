"""The page of events has each kind that the code records with its facts, and no other."""

from __future__ import annotations

import re

import event_details
from pages import page, table

from acme_iid.store import actor

PAGE = page("docs/reference/events.md")
REPORTED = {"order.created"}
"""Kinds that are counted and logged, and are in no record: an order is a row of its own."""
OF_A_REFUSAL = "those of a refusal"


def names(text: str) -> list[str]:
    return re.findall(r"`([\w.]+)`", text)


def of_refusals() -> list[str]:
    """The facts that the page says of all refusals."""
    said = re.search(r"^Those of a refusal are ((?:`\w+`,?\s)*`\w+`)\.", PAGE, re.MULTILINE)
    assert said is not None
    return names(said[1])


def test_the_page_has_each_kind_that_is_recorded_with_its_facts() -> None:
    recorded = {kind: sorted(facts) for kind, facts in event_details.details().items() if kind not in REPORTED}
    rows = table(PAGE, "kind")
    listed = {
        kind.strip("`"): sorted(names(facts) + (of_refusals() if OF_A_REFUSAL in facts else []))
        for kind, _, facts in rows
    }
    assert listed == recorded
    assert [kind.strip("`") for kind, *_ in rows] == sorted(recorded)


def test_each_fact_is_explained() -> None:
    explained = [name for row in table(PAGE, "fact") for name in names(row[0])]
    said = {name for _, _, facts in table(PAGE, "kind") for name in names(facts)} | set(of_refusals())
    assert sorted(explained) == sorted(said | {"bulk", "ticket"})


def test_the_page_has_each_fact_of_an_actor() -> None:
    rows = table(PAGE.partition("## Who did it")[2], "fact")
    named = [name for row in rows for name in names(row[0])]
    assert sorted(named) == sorted(actor.Actor.__dataclass_fields__)
