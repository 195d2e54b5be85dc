"""The roots that clients trust, which of them is in use, and those that were dropped (rfc-notes/decisions/0036)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from acme_iid.store.writes import Reader, Row, Statement, again


@dataclass(frozen=True, slots=True)
class StoredRoot:
    """A root and what has happened to it; times are seconds.

    :ivar id: the SHA-256 of its certificate, hex.
    :ivar certificate: in DER.
    :ivar link: its subject and key, signed with an earlier root's key, in DER; None for a root without a former one.
    :ivar added_at: when it was announced.
    :ivar used_at: when it became the one in use; None if it never did.
    :ivar dropped_at: when clients were told to trust it no more.
    """

    id: str
    certificate: bytes
    link: bytes | None
    added_at: int
    used_at: int | None
    dropped_at: int | None


def every(reader: Reader) -> list[StoredRoot]:
    """All roots: the one in use first, then those that are trusted, then those that were dropped."""
    return ordered(_root(row) for row in reader.rows("SELECT * FROM roots"))


def ordered(roots: Iterable[StoredRoot]) -> list[StoredRoot]:
    """Roots in the order of :func:`every`."""
    return sorted(roots, key=lambda root: (root.dropped_at is not None, -(root.used_at or 0), root.added_at, root.id))


def version(roots: Iterable[StoredRoot]) -> int:
    """The version of the list of roots: the second of the latest thing that happened to one; 0 without any."""
    return max(
        (moment for root in roots for moment in (root.added_at, root.used_at, root.dropped_at) if moment), default=0
    )


def next_moment(roots: Iterable[StoredRoot], now: int) -> int:
    """The second to write for what happens now: later than all before, so that no version falls or comes twice."""
    return max(now, version(roots) + 1)


def note(root: StoredRoot) -> Statement:
    """Add a root that is in no row yet."""
    return Statement(
        """INSERT INTO roots (id, certificate, link, added_at, used_at)
           VALUES (:id, :certificate, :link, :added_at, :used_at) ON CONFLICT DO NOTHING""",
        {
            "id": root.id,
            "certificate": root.certificate,
            "link": root.link,
            "added_at": root.added_at,
            "used_at": root.used_at,
        },
        again,
    )


def use(root: StoredRoot, at: int) -> Statement:
    """Have a root be the one in use, if it was not dropped meanwhile."""
    return Statement(
        "UPDATE roots SET used_at = :at WHERE id = :id AND dropped_at IS NULL AND coalesce(used_at, 0) = :before",
        {"id": root.id, "at": at, "before": root.used_at or 0},
        again,
    )


def drop(root: StoredRoot, at: int) -> Statement:
    """Drop a root that is not in use, if it did not come into use meanwhile."""
    return Statement(
        """UPDATE roots SET dropped_at = :at
           WHERE id = :id AND dropped_at IS NULL AND coalesce(used_at, 0) = :before""",
        {"id": root.id, "at": at, "before": root.used_at or 0},
        again,
    )


def _root(row: Row) -> StoredRoot:
    link = row["link"]
    return StoredRoot(
        row["id"],
        bytes(row["certificate"]),
        None if link is None else bytes(link),
        row["added_at"],
        row["used_at"],
        row["dropped_at"],
    )
