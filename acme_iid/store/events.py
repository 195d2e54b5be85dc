"""The record of every decision (rfc-notes/iid-01.md, "What is recorded"): appended, chained, never changed."""

from __future__ import annotations

from collections.abc import Iterator

from acme_iid.store import searches
from acme_iid.store.chain import HEAD, INSERT, START, Entry, Event, Link, values_after
from acme_iid.store.database import Transaction
from acme_iid.store.listing import Filter
from acme_iid.store.writes import Reader, Row

_PAGE = 1000


class BrokenChainError(Exception):
    """The record was tampered with; the text names the first event that shows it."""


def page(reader: Reader, criteria: Filter) -> list[tuple[int, Event]]:
    """Events with their numbers, newest first, as far as :func:`acme_iid.store.lookups.follow` has followed them."""
    return [(row["seq"], Event.of(row)) for row in searches.events(reader, criteria)]


def head(reader: Reader) -> Link:
    """The latest event's place in the chain; number 0 where there is no event."""
    rows = reader.rows(HEAD)
    return Link(rows[0]["seq"], rows[0]["hash"]) if rows else START


def append(transaction: Transaction, event: Event) -> None:
    """Chain an event in a store that nobody else uses; what others use chains its events by itself."""
    _, values = values_after(head(transaction), event.columns())
    transaction.run(INSERT, **values)


def check(reader: Reader, first: int = 1) -> Iterator[Link]:
    """Walk the chain from the event with the number ``first``, and give each event's place once it is proven.

    Reads page by page, so that a server that runs is never kept from writing. The event before ``first`` is
    believed; without one, all events are walked.

    :raises BrokenChainError: at the first event that does not follow.
    """
    last = _before(reader, first)
    # An event that stands before the first one was put in later, whatever its number is.
    rows = reader.rows(
        "SELECT * FROM events WHERE seq > :seq ORDER BY seq LIMIT :limit", seq=last.seq, limit=_PAGE
    ) if first > 1 else reader.rows("SELECT * FROM events ORDER BY seq LIMIT :limit", limit=_PAGE)  # fmt: skip
    while rows:
        for row in rows:
            last = _follow(last, row)
            yield last
        rows = reader.rows("SELECT * FROM events WHERE seq > :seq ORDER BY seq LIMIT :limit", seq=last.seq, limit=_PAGE)


def _before(reader: Reader, first: int) -> Link:
    """The place that the event with the number ``first`` follows."""
    if first <= 1:
        return START
    rows = reader.rows("SELECT seq, hash FROM events WHERE seq = :seq", seq=first - 1)
    if rows:
        return Link(rows[0]["seq"], rows[0]["hash"])
    latest = head(reader)
    if latest.seq < first:
        raise BrokenChainError(f"there is no event {first - 1} to begin after: the last event is {latest.seq}")
    raise BrokenChainError(f"event {first - 1} was removed")


def _follow(last: Link, row: Row) -> Link:
    """The place of the event in ``row``, which must be the one after ``last``."""
    number = row["seq"]
    if not isinstance(number, int) or number <= last.seq:
        raise BrokenChainError(f"an event with the number {number!a} was inserted")
    if number > last.seq + 1:
        several = number > last.seq + 2
        raise BrokenChainError(
            f"events {last.seq + 1} to {number - 1} were removed" if several else f"event {last.seq + 1} was removed"
        )
    try:
        expected = Entry.of(row).hash_after(last.hash)
    except TypeError:
        expected = None
    if row["hash"] != expected:
        raise BrokenChainError(
            f"event {number} was edited or inserted (or event {last.seq}, together with its own hash): "
            f"its content after event {last.seq} does not have the hash that is stored with it"
            if last.seq
            else f"event {number} was edited or inserted: its content does not have the hash that is stored with it"
        )
    return Link(number, row["hash"])
