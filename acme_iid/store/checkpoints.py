"""Signed places of the chain of events, and removing the events before one.

A checkpoint is there before anything goes. Events then go from the first one on, some at a time; how far that has come
stands beside it, with the hash there, and what is left up to the checkpoint still leads to the checkpoint's hash.
"""

from __future__ import annotations

from dataclasses import dataclass

from acme_iid.store import lookups
from acme_iid.store.chain import Link
from acme_iid.store.writes import Reader, Row, Statement, again

_COLUMNS = "seq, hash, issuer_id, statement, signature"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A place of the chain.

    :ivar issuer_id: the issuer whose key has signed it.
    :ivar statement: the text that is signed.
    """

    place: Link
    issuer_id: str
    statement: str
    signature: bytes


def latest(reader: Reader) -> Checkpoint | None:
    """The last one; None if there is none."""
    rows = reader.rows(f"SELECT {_COLUMNS} FROM event_checkpoints ORDER BY seq DESC LIMIT 1")  # noqa: S608 - our words
    return _of(rows[0]) if rows else None


def at(reader: Reader, seq: int) -> Checkpoint | None:
    """The first one at the event with a number or behind it; None if there is none."""
    rows = reader.rows(
        f"SELECT {_COLUMNS} FROM event_checkpoints WHERE seq >= :seq ORDER BY seq LIMIT 1",  # noqa: S608 - as above
        seq=seq,
    )
    return _of(rows[0]) if rows else None


def _of(row: Row) -> Checkpoint:
    return Checkpoint(Link(row["seq"], row["hash"]), row["issuer_id"], row["statement"], bytes(row["signature"]))


def add(checkpoint: Checkpoint) -> Statement:
    """Store one; another process's at the same place goes before."""
    return Statement(
        """INSERT INTO event_checkpoints (seq, hash, issuer_id, statement, signature)
           VALUES (:seq, :hash, :issuer_id, :statement, :signature) ON CONFLICT DO NOTHING""",
        {
            "seq": checkpoint.place.seq,
            "hash": checkpoint.place.hash,
            "issuer_id": checkpoint.issuer_id,
            "statement": checkpoint.statement,
            "signature": checkpoint.signature,
        },
        again,
    )


def remove(reader: Reader, before: Link, until: int, most: int) -> tuple[Link, list[Statement]]:
    """Remove some events, with what they are found by; the place up to which they are gone then.

    :param before: the place up to which they are gone now.
    :param until: the number of a checkpoint.
    """
    rows = reader.rows(
        "SELECT * FROM events WHERE seq > :seq AND seq <= :until ORDER BY seq LIMIT :most",
        seq=before.seq,
        until=until,
        most=most,
    )
    if not rows:
        return before, []
    place = Link(rows[-1]["seq"], rows[-1]["hash"])
    moved = Statement(
        """INSERT INTO events_removed (id, seq, hash) VALUES (1, :seq, :hash)
           ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, hash = excluded.hash
           WHERE events_removed.seq = :before""",
        {**place._asdict(), "before": before.seq},
        again,
    )
    gone = Statement("DELETE FROM events WHERE seq <= :seq", {"seq": place.seq})
    return place, [moved, gone, *lookups.forget(rows, place.seq)]
