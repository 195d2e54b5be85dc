"""The page of events has each kind that the code records, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from acme_iid.store import actor

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/reference/events.md").read_text()


def kinds(node: ast.expr) -> Iterator[str]:
    """The texts that an expression may be."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from kinds(node.body)
        yield from kinds(node.orelse)


REPORTED = {"order.created"}
"""Kinds that are counted and logged, and are in no record: an order is a row of its own."""


def recorded() -> Iterator[str]:
    for file in (ROOT / "acme_iid").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "Event":
                yield from kinds(node.args[0])
            # A refusal's kind is handed to the function that records it.
            elif isinstance(node, ast.Call):
                for argument in node.args:
                    yield from (kind for kind in kinds(argument) if re.fullmatch(r"[a-z]+\.refused", kind))


def test_the_page_has_each_kind_that_is_recorded() -> None:
    table = PAGE.partition("## Who did it")[0]
    assert re.findall(r"^\| `([a-z_.]+)` \|", table, re.MULTILINE) == sorted(set(recorded()) - REPORTED)


def test_the_page_has_each_fact_of_an_actor() -> None:
    table = PAGE.partition("## Who did it")[2].partition("## ")[0]
    named = [name for row in re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)]
    assert sorted(named) == sorted(actor.Actor.__dataclass_fields__)
