"""One event as it stands in the chain: what is hashed, and how (rfc-notes/iid-01.md, "What is recorded").

The hash of an event is SHA-256 over the hash of the event before it, a newline, and the event's columns as a JSON
list without blanks, in the order of :class:`Entry`; hashes are lower-case hex. So whoever keeps one hash elsewhere
sees when anything up to that event was removed, edited, inserted or put in another order.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from acme_iid.store.database import Row, Transaction

GENESIS = "0" * 64
"""What the first event follows."""


def cloud_and_owner(instance_id: str | None) -> tuple[str, str] | tuple[None, None]:
    """The cloud and the owner that an instance's id begins with.

    ``aws:PARTITION:ACCOUNT:REGION:ID``, ``gcp:PROJECT NUMBER:ID``, ``azure:SUBSCRIPTION:VM ID``.
    """
    if instance_id is None:
        return None, None
    cloud, _, rest = instance_id.partition(":")
    parts = rest.split(":")
    return cloud, parts[1 if cloud == "aws" else 0]


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
    def of(cls, row: Row) -> Entry:
        """The entry in a row of the table."""
        return cls(*(row[field] for field in cls._fields))

    def hash_after(self, previous: str) -> str:
        """This event's hash, given that of the event before it.

        :raises TypeError: if a column holds what no event has (a BLOB).
        """
        text = json.dumps(self, separators=(",", ":"))
        return hashlib.sha256(f"{previous}\n{text}".encode()).hexdigest()

    def insert(self, transaction: Transaction, own_hash: str) -> None:
        """Store the event. ``seq`` is the primary key: of two that follow the same event one is stored."""
        transaction.run(
            """INSERT INTO events (seq, at, kind, account_id, instance_id, cloud, owner, name, detail, hash)
               VALUES (:seq, :at, :kind, :account_id, :instance_id, :cloud, :owner, :name, :detail, :hash)""",
            **self._asdict(),
            hash=own_hash,
        )
