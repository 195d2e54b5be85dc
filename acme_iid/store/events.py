"""The record of every decision (rfc-notes/iid-01.md, "What is recorded"): appended, chained, never changed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from acme_iid.protocol.identifiers import Identifier
from acme_iid.store.chain import GENESIS, Entry, cloud_and_owner
from acme_iid.store.database import Reader, Row, Transaction
from acme_iid.store.listing import Filter

_COLUMNS = {name: f"e.{name}" for name in ("cloud", "owner")} | {
    "account": "e.account_id",
    "instance": "e.instance_id",
}
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Event:
    """One decision: ``kind`` is its name (``challenge.refused``), ``detail`` its further facts by name."""

    seq: int
    at: int
    kind: str
    account_id: str | None
    instance_id: str | None
    name: str | None
    detail: Mapping[str, object]


class Link(NamedTuple):
    """An event's place in the chain."""

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"


class BrokenChainError(Exception):
    """The record was tampered with; the text names the first event that shows it."""


def add(
    transaction: Transaction,
    kind: str,
    now: int,
    *,
    account_id: str | None = None,
    instance_id: str | None = None,
    cloud: str | None = None,
    name: str | None = None,
    **detail: object,
) -> int:
    """Record a decision together with what it changed; returns the event's number.

    The number is one more than the latest event's, and the primary key: in a transaction that writes no other
    process can come between, and where an engine lets both go on one of the two fails and is tried again.

    :param cloud: where no instance says it.
    :param name: the one name that the event is about; the names of a certificate's go to :func:`add_names`.
    """
    latest = head(transaction)
    of_instance, owner = cloud_and_owner(instance_id)
    known = {field: value for field, value in detail.items() if value is not None}
    entry = Entry(
        latest.seq + 1, now, kind, account_id, instance_id, of_instance or cloud, owner, name,
        json.dumps(known, sort_keys=True),
    )  # fmt: skip
    entry.insert(transaction, entry.hash_after(latest.hash))
    return entry.seq


def add_names(
    transaction: Transaction,
    seq: int,
    now: int,
    names: Iterable[Identifier],
    instance_id: str | None,
    certificate_id: str | None = None,
) -> None:
    """Note the names of a certificate's event, so that event and certificate are found by each of them.

    :param certificate_id: the certificate's, where the event is its issue.
    """
    distinct = sorted({name.value for name in names})
    rows = ", ".join(f"(:name{i}, :at, :seq, :certificate_id, :instance_id)" for i in range(len(distinct)))
    transaction.run(
        f"INSERT INTO event_names (name, at, seq, certificate_id, instance_id) VALUES {rows}",  # noqa: S608 - numbers only
        at=now,
        seq=seq,
        certificate_id=certificate_id,
        instance_id=instance_id,
        **{f"name{i}": name for i, name in enumerate(distinct)},
    )


def page(reader: Reader, wanted: Filter) -> list[Event]:
    """Events, newest first."""
    if wanted.name is None:
        rows = wanted.page(reader, "SELECT e.* FROM events e", _COLUMNS, time="e.at", key="e.seq")
    else:
        rows = _by_name(reader, wanted)
    return [
        Event(
            row["seq"], row["at"], row["kind"], row["account_id"], row["instance_id"], row["name"],
            json.loads(row["detail"]),
        )
        for row in rows
    ]  # fmt: skip


def _by_name(reader: Reader, wanted: Filter) -> list[Row]:
    """Events about one name, and those of certificates with it; each list is in order, so their heads are enough."""
    alone = wanted.page(reader, "SELECT e.* FROM events e", _COLUMNS | {"name": "e.name"}, time="e.at", key="e.seq")
    among = wanted.page(
        reader,
        "SELECT e.* FROM event_names n JOIN events e ON e.seq = n.seq",
        _COLUMNS | {"name": "n.name"},
        time="n.at",
        key="n.seq",
    )
    return sorted([*alone, *among], key=lambda row: (row["at"], row["seq"]), reverse=True)[: wanted.limit]


def head(reader: Reader) -> Link:
    """The latest event's place in the chain; number 0 where there is none."""
    rows = reader.rows("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1")
    return Link(rows[0]["seq"], rows[0]["hash"]) if rows else Link(0, GENESIS)


def check(reader: Reader, first: int = 1) -> Iterator[Link]:
    """Walk the chain from the event with the number ``first``, and give each event's place once it is proven.

    Reads page by page, so that a server that runs is never kept from writing. The event before ``first`` is
    believed; without one, all events are walked.

    :raises BrokenChainError: at the first event that does not follow.
    """
    last = _before(reader, first)
    # What stands before the first event was put in, whatever its number is.
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
        return Link(0, GENESIS)
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
