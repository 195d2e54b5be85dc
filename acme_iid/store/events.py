"""The record of every decision (rfc-notes/iid-01.md, "What is recorded"): appended, chained, never changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from acme_iid.store import checkpoints, searches
from acme_iid.store.chain import HEAD, INSERT, START, Entry, Event, Link, values_after
from acme_iid.store.checkpoints import Checkpoint
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


def removed(reader: Reader) -> Link:
    """The place that the first event follows that is there: the chain's beginning, unless events were removed."""
    rows = reader.rows("SELECT seq, hash FROM events_removed WHERE id = 1")
    return Link(rows[0]["seq"], rows[0]["hash"]) if rows else START


def append(transaction: Transaction, event: Event) -> None:
    """Chain an event in a store that nobody else uses; what others use chains its events by itself."""
    _, values = values_after(head(transaction), event.columns())
    transaction.run(INSERT, **values)


Verify = Callable[[Checkpoint], None]
"""Verifies the signature of a checkpoint, and that its place is what was signed.

:raises BrokenChainError: if it is not.
"""


def check(reader: Reader, first: int = 1, verify: Verify = lambda _checkpoint: None) -> Iterator[Link]:
    """Walk the chain from the event with the number ``first``, and give each event's place once it is proven.

    Reads page by page, so that a server that runs is never kept from writing. The event before ``first`` is
    believed; without one, all events that are there are walked. Where events were removed, these begin behind a place
    that leads to a signed checkpoint, or is one.

    :param verify: verifies the latest checkpoint; without it that one is believed.
    :raises BrokenChainError: at the first event that does not follow.
    """
    checkpoint = _checkpoint(reader, verify)
    last = _before(reader, first)
    # An event that stands before the first one was put in later, whatever its number is.
    rows = _page(reader, last.seq) if first > 1 else reader.rows("SELECT * FROM events ORDER BY seq LIMIT :n", n=_PAGE)
    while rows:
        for row in rows:
            if row["seq"] != last.seq + 1 and (gone := removed(reader)).seq > last.seq:
                # Events went just now: what is left has to lead to a checkpoint once more.
                checkpoint, last = _checkpoint(reader, verify), gone
                break
            last = _follow(last, row)
            if checkpoint is not None and last.seq == checkpoint.place.seq and last != checkpoint.place:
                raise BrokenChainError(
                    f"event {last.seq} does not have the hash with which the checkpoint there was signed"
                )
            yield last
        rows = _page(reader, last.seq)


def _page(reader: Reader, seq: int) -> list[Row]:
    return reader.rows("SELECT * FROM events WHERE seq > :seq ORDER BY seq LIMIT :limit", seq=seq, limit=_PAGE)


def _checkpoint(reader: Reader, verify: Verify) -> Checkpoint | None:
    """The latest checkpoint, verified; events are missing up to it at most."""
    checkpoint, gone, end = checkpoints.latest(reader), removed(reader), head(reader)
    if checkpoint is None:
        if gone != START:
            raise BrokenChainError(f"events up to {gone.seq} were removed without a checkpoint")
        return None
    verify(checkpoint)
    place = checkpoint.place
    if gone.seq > place.seq or (gone.seq == place.seq and gone != place):
        raise BrokenChainError(f"events up to {gone.seq} were removed, and the checkpoint at {place.seq} was signed")
    if end.seq < place.seq:
        raise BrokenChainError(f"events {end.seq + 1} to {place.seq} were cut off: the checkpoint there was signed")
    return checkpoint


def _before(reader: Reader, first: int) -> Link:
    """The place that the event with the number ``first`` follows."""
    gone = removed(reader)
    if first <= 1 or first == gone.seq + 1:
        return gone
    if first <= gone.seq:
        raise BrokenChainError(
            f"events 1 to {gone.seq} are in exports and no longer here; begin at event {gone.seq + 1}"
        )
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
