"""The revocation lists of roots: signed elsewhere with the root's key, kept and handed out here."""

from __future__ import annotations

from dataclasses import dataclass

from acme_iid.store.writes import Reader, Row, Statement, again


@dataclass(frozen=True, slots=True)
class RootList:
    """The latest list of a root; times are seconds.

    :ivar root_id: the SHA-256 of the root's certificate, hex.
    :ivar number: its CRL number; lists with a lower one came before.
    :ivar der: the list itself.
    :ivar next_update: until then it can be relied on.
    """

    root_id: str
    number: int
    der: bytes
    this_update: int
    next_update: int
    imported_at: int


def newest(reader: Reader, root_id: str) -> RootList | None:
    """The latest list of a root; None before one was imported."""
    rows = reader.rows("SELECT * FROM root_lists WHERE root_id = :root_id", root_id=root_id)
    return _root_list(rows[0]) if rows else None


def every(reader: Reader) -> list[RootList]:
    """The latest list of each root that has one."""
    return [_root_list(row) for row in reader.rows("SELECT * FROM root_lists ORDER BY root_id")]


def put(entry: RootList) -> Statement:
    """Put a list in the place of the one before, whose number has to be lower."""
    return Statement(
        """INSERT INTO root_lists (root_id, number, this_update, next_update, imported_at, der)
           VALUES (:root_id, :number, :this_update, :next_update, :imported_at, :der)
           ON CONFLICT (root_id) DO UPDATE SET number = excluded.number, this_update = excluded.this_update,
               next_update = excluded.next_update, imported_at = excluded.imported_at, der = excluded.der
           WHERE root_lists.number < excluded.number""",
        {
            "root_id": entry.root_id,
            "number": entry.number,
            "this_update": entry.this_update,
            "next_update": entry.next_update,
            "imported_at": entry.imported_at,
            "der": entry.der,
        },
        again,
    )


def _root_list(row: Row) -> RootList:
    return RootList(
        root_id=row["root_id"],
        number=row["number"],
        der=bytes(row["der"]),
        this_update=row["this_update"],
        next_update=row["next_update"],
        imported_at=row["imported_at"],
    )
