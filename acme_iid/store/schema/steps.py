"""What a schema file cannot say in the SQL that all engines share: the steps that follow some of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from acme_iid.store.chain import GENESIS, Entry, cloud_and_owner

if TYPE_CHECKING:
    from acme_iid.store.database import Transaction

_PAGE = 1000


def _chain_events(transaction: Transaction) -> None:
    """Copy the events of 0001 into the chain, in their order, and note certificates' names by event."""
    seq, previous, last = 0, GENESIS, ""
    while rows := transaction.rows(
        "SELECT * FROM unchained_events WHERE id > :last ORDER BY id LIMIT :limit", last=last, limit=_PAGE
    ):
        for row in rows:
            seq += 1
            last = row["id"]
            detail = json.loads(row["detail"])
            cloud, owner = cloud_and_owner(row["instance_id"])
            name = detail.pop("identifier", None) or detail.pop("name", None)
            entry = Entry(
                seq, row["at"], row["kind"], row["account_id"], row["instance_id"], cloud, owner, name,
                json.dumps(detail, sort_keys=True),
            )  # fmt: skip
            previous = entry.hash_after(previous)
            entry.insert(transaction, previous)
            _name(transaction, entry, detail)
    transaction.run("DROP TABLE unchained_events")


def _name(transaction: Transaction, entry: Entry, detail: Mapping[str, list[str]]) -> None:
    """Note the names of a certificate's event; its issue is known by the serial number."""
    for name in set(detail.get("names", ())):
        transaction.run(
            """INSERT INTO event_names (name, at, seq, certificate_id, instance_id) VALUES (:name, :at, :seq,
               (SELECT id FROM certificates WHERE serial = :serial AND :kind = 'certificate.issued'), :instance_id)""",
            name=name,
            at=entry.at,
            seq=entry.seq,
            serial=detail.get("serial"),
            kind=entry.kind,
            instance_id=entry.instance_id,
        )


STEPS: Mapping[str, Callable[[Transaction], None]] = {"0002_event_chain.sql": _chain_events}
"""By the name of the schema file that each follows, in the same transaction."""
