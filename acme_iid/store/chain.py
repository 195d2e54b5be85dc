"""One event as it stands in the chain: what is hashed, and how (rfc-notes/iid-01.md, "What is recorded").

The hash of an event is SHA-256 over the hash of the event before it, a newline, and the event's columns as a JSON
list without blanks, in the order of :class:`Entry`; hashes are lower-case hex. So whoever keeps one hash elsewhere
sees when anything up to that event was removed, edited, inserted or put in another order.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from acme_iid.protocol.resources import InstanceKey

GENESIS = "0" * 64
"""What the first event follows."""


class NewEvent(NamedTuple):
    """A decision to be recorded: an event's columns but for its number and hash, which it gets in the chain."""

    at: int
    kind: str
    account_id: str | None
    instance_id: str | None
    cloud: str | None
    owner: str | None
    name: str | None
    detail: str


def new_event(
    kind: str,
    now: int,
    *,
    account_id: str | None = None,
    instance: InstanceKey | None = None,
    cloud: str | None = None,
    name: str | None = None,
    **detail: object,
) -> NewEvent:
    """A decision, to be recorded together with what it changes.

    :param instance: which instance it is about.
    :param cloud: where no instance says it.
    :param name: the one name that the event is about; those of a certificate are ``names`` in its detail.
    :param detail: further facts by name; those that are None are left out.
    """
    facts = {field: value for field, value in detail.items() if value is not None}
    id_, of_instance, owner = (None, cloud, None) if instance is None else instance
    return NewEvent(now, kind, account_id, id_, of_instance, owner, name, json.dumps(facts, sort_keys=True))


class Link(NamedTuple):
    """An event's place in the chain."""

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"


START = Link(0, GENESIS)
"""What the first event follows."""


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
    def after(cls, link: Link, event: NewEvent) -> Entry:
        """The entry of a new event that follows the one at ``link``."""
        return cls(link.seq + 1, *event)

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


def values_after(link: Link, event: NewEvent) -> tuple[Link, dict[str, object]]:
    """The place of a new event that follows the one at ``link``, and its values for :data:`INSERT`."""
    entry = Entry.after(link, event)
    own = Link(entry.seq, entry.hash_after(link.hash))
    return own, {**entry._asdict(), "hash": own.hash}
