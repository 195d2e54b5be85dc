"""An event: what a decision leaves in the record, its columns, and its place in the chain.

Here alone an event becomes what is stored and hashed (rfc-notes/iid-01.md, "What is recorded"). The hash of an event is
SHA-256 over the hash of the event before it, a newline, and the event's columns as a JSON list without blanks, in the
order of :class:`Entry`; hashes are lower-case hex. So whoever keeps one hash elsewhere sees when anything up to that
event was removed, edited, inserted or put in another order.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from acme_iid.protocol.resources import InstanceKey

_encode = json.JSONEncoder(sort_keys=True).encode

GENESIS = "0" * 64
"""The hash before the first event's."""


class Columns(NamedTuple):
    """An event's columns but for its number and hash; ``detail`` is the JSON text exactly as it is stored."""

    at: int
    kind: str
    account_id: str | None
    instance_id: str | None
    cloud: str | None
    owner: str | None
    name: str | None
    detail: str


@dataclass(frozen=True, slots=True)
class Event:
    """One entry in the record of decisions. It is committed with what it records, and chained then or soon after.

    :ivar kind: its name, such as ``challenge.refused``.
    :ivar at: when it was decided, in seconds.
    :ivar instance: the instance that it is about, with its cloud and owner.
    :ivar cloud: its cloud, where no instance says it.
    :ivar name: the one name that it is about; those of a certificate are ``names`` in its detail.
    :ivar detail: further facts by name; those that are None are left out of the record.
    """

    kind: str
    at: int
    account_id: str | None = None
    instance: InstanceKey | None = None
    cloud: str | None = None
    name: str | None = None
    detail: Mapping[str, object] = field(default_factory=dict)

    def columns(self) -> Columns:
        """The columns that are stored, and hashed."""
        instance_id, cloud, owner = (None, self.cloud, None) if self.instance is None else self.instance
        detail = _encode({name: fact for name, fact in self.detail.items() if fact is not None})
        return Columns(self.at, self.kind, self.account_id, instance_id, cloud, owner, self.name, detail)

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Event:
        """The event in a row that has :class:`Columns`."""
        id_, cloud = row["instance_id"], row["cloud"]
        return cls(
            kind=row["kind"],
            at=row["at"],
            account_id=row["account_id"],
            instance=None if id_ is None else InstanceKey(id_, cloud, row["owner"]),
            cloud=cloud if id_ is None else None,
            name=row["name"],
            detail=json.loads(row["detail"]),
        )


class Link(NamedTuple):
    """An event's place in the chain."""

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"


START = Link(0, GENESIS)
"""The place before the first event's."""


class Entry(NamedTuple):
    """An event's columns but for the hash; ``detail`` is the JSON text exactly as it is stored."""

    seq: int
    at: int
    kind: str
    account_id: str | None
    instance_id: str | None
    cloud: str | None
    owner: str | None
    name: str | None
    detail: str

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Entry:
        """The entry in a row of the table."""
        return cls(*(row[field] for field in cls._fields))

    @classmethod
    def after(cls, link: Link, columns: Columns) -> Entry:
        """The entry of a new event that follows the one at ``link``."""
        return cls(link.seq + 1, *columns)

    def hash_after(self, previous: str) -> str:
        """This event's hash, given that of the event before it.

        :raises TypeError: if a column holds what no event has (a BLOB).
        """
        text = json.dumps(self, separators=(",", ":"))
        return hashlib.sha256(f"{previous}\n{text}".encode()).hexdigest()


INSERT = """INSERT INTO events (seq, at, kind, account_id, instance_id, cloud, owner, name, detail, hash)
            VALUES (:seq, :at, :kind, :account_id, :instance_id, :cloud, :owner, :name, :detail, :hash)"""
"""Stores an event. ``seq`` is the primary key: of two that follow the same event one is stored."""
HEAD = "SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1"
"""Gives the place of the latest event."""


def values_after(link: Link, columns: Columns) -> tuple[Link, dict[str, object]]:
    """The place of a new event that follows the one at ``link``, and its values for :data:`INSERT`."""
    entry = Entry.after(link, columns)
    own = Link(entry.seq, entry.hash_after(link.hash))
    return own, {**entry._asdict(), "hash": own.hash}
