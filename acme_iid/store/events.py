"""The record of every decision (rfc-notes/iid-01.md, "What is recorded"). Events are never changed."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass

from acme_iid.store.database import Reader, Transaction


@dataclass(frozen=True, slots=True)
class Event:
    """One decision: ``kind`` is its name (``challenge.refused``), ``detail`` its facts by name."""

    at: int
    kind: str
    account_id: str | None
    instance_id: str | None
    detail: Mapping[str, object]


def add(
    transaction: Transaction,
    kind: str,
    now: int,
    *,
    account_id: str | None = None,
    instance_id: str | None = None,
    **detail: object,
) -> None:
    """Record a decision together with what it changed."""
    transaction.run(
        """INSERT INTO events (id, at, kind, account_id, instance_id, detail)
           VALUES (:id, :at, :kind, :account_id, :instance_id, :detail)""",
        # Sorts by the time of writing; the random part keeps two processes apart.
        id=f"{time.time_ns():016x}{secrets.token_hex(4)}",
        at=now,
        kind=kind,
        account_id=account_id,
        instance_id=instance_id,
        detail=json.dumps({name: value for name, value in detail.items() if value is not None}, sort_keys=True),
    )


def newest(reader: Reader, limit: int, instance_id: str | None = None) -> list[Event]:
    """The latest events, newest first; of one instance, or of all."""
    condition = "" if instance_id is None else "WHERE instance_id = :instance_id"
    parameters: dict[str, object] = {"limit": limit}
    if instance_id is not None:
        parameters["instance_id"] = instance_id
    rows = reader.rows(
        f"SELECT * FROM events {condition} ORDER BY id DESC LIMIT :limit",  # noqa: S608 - two fixed texts
        **parameters,
    )
    return [
        Event(row["at"], row["kind"], row["account_id"], row["instance_id"], json.loads(row["detail"])) for row in rows
    ]
