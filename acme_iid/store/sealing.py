"""Chaining events that were stored without a place in the chain, where several machines write.

Each event is in the inbox from the commit of what it records on. One process at a time takes the oldest ones, puts them
behind the head of the chain and removes them from the inbox, in one transaction.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from acme_iid.store.chain import HEAD, INSERT, START, Columns, Link, values_after
from acme_iid.store.writes import Reader, Row

AT_ONCE = 1000
"""Events that are chained in one transaction."""
_LOCK = "SELECT id FROM sealing WHERE id = 1 FOR UPDATE"


class Unsealed(NamedTuple):
    """Events that are not chained yet.

    :ivar oldest: the time of the oldest of them; None if every event is chained.
    """

    number: int
    oldest: int | None


class Transaction(Reader, Protocol):
    """A write transaction that runs a statement many times in one round trip."""

    def run(self, statement: str, **parameters: object) -> int:
        """Run a statement and say how many rows it changed."""

    def run_many(self, statement: str, several: Sequence[Mapping[str, object]]) -> None:
        """Run a statement once for each of several sets of parameters."""


def seal_some(transaction: Transaction, *, waits: bool) -> bool:
    """Chain some events; whether there may be more.

    :param waits: whether to wait for another process that does so.
    """
    if not transaction.rows(_LOCK if waits else f"{_LOCK} SKIP LOCKED"):
        return False
    inbox = transaction.rows("SELECT id, entry FROM event_inbox ORDER BY id LIMIT :most", most=AT_ONCE)
    if not inbox:
        return False
    rows = transaction.rows(HEAD)
    link = Link(rows[0]["seq"], rows[0]["hash"]) if rows else START
    values: list[dict[str, object]] = []
    for columns in events(inbox):
        link, entry = values_after(link, columns)
        values.append(entry)
    transaction.run_many(INSERT, values)
    transaction.run("DELETE FROM event_inbox WHERE id = ANY(:ids)", ids=[row["id"] for row in inbox])
    return len(inbox) == AT_ONCE


def events(inbox: Sequence[Row]) -> list[Columns]:
    """The events in rows of the inbox."""
    return [Columns(*json.loads(row["entry"])) for row in inbox]


def unsealed(reader: Reader) -> Unsealed:
    """The number and age of the events in the inbox."""
    (row,) = reader.rows("SELECT count(*) AS number, min(at) AS oldest FROM event_inbox")
    return Unsealed(row["number"], row["oldest"])
