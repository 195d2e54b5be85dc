"""Which of the acts that waited in a home are in the record."""

from __future__ import annotations

from acme_iid.store.writes import Reader, Statement, again


def is_recorded(reader: Reader, act: str) -> bool:
    """Whether the act with an id is in the record."""
    return bool(reader.rows("SELECT 1 FROM acts_recorded WHERE id = :id", id=act))


def recorded(act: str) -> Statement:
    """Note that an act is in the record, unless somebody has recorded it meanwhile."""
    return Statement("INSERT INTO acts_recorded (id) VALUES (:id) ON CONFLICT DO NOTHING", {"id": act}, again)
