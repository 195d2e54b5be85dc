"""The fleet in numbers as it was once an hour: who has certificates in force, and when those end."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from acme_iid.store.fleet import Ending, Owned
from acme_iid.store.writes import Reader, Row, Statement

DAY = 86400
KEPT_SECONDS = 90 * DAY
"""The seconds for which samples are kept, and until the day is over."""


class Sample(NamedTuple):
    """The fleet at one time.

    :ivar at: seconds.
    :ivar owners: those with the most certificates first, and all others as one.
    :ivar hours: in their order, the present one first.
    """

    at: int
    owners: tuple[Owned, ...]
    hours: tuple[Ending, ...]


def add(sample: Sample) -> Statement:
    """Store one; another process's of the same time stays."""
    return Statement(
        "INSERT INTO fleet_samples (at, owners, hours) VALUES (:at, :owners, :hours) ON CONFLICT DO NOTHING",
        {"at": sample.at, "owners": _json(sample.owners), "hours": _json(sample.hours)},
    )


def _json(entries: Iterable[NamedTuple]) -> str:
    return json.dumps([list(entry) for entry in entries], separators=(",", ":"))


def times(reader: Reader, since: int, until: int, most: int) -> list[int]:
    """When samples were taken, the earliest first.

    :param most: the largest number of them; of more, the latest ones.
    """
    rows = reader.rows(
        "SELECT at FROM fleet_samples WHERE at >= :since AND at < :until ORDER BY at DESC LIMIT :most",
        since=since,
        until=until,
        most=most,
    )
    return [row["at"] for row in reversed(rows)]


def taken_at(reader: Reader, moments: Sequence[int]) -> list[Sample]:
    """The samples that were taken at some moments, the earliest first."""
    if not moments:
        return []
    values = {f"at{place}": at for place, at in enumerate(moments)}
    rows = reader.rows(
        f"""SELECT at, owners, hours FROM fleet_samples WHERE at IN ({", ".join(f":{name}" for name in values)})
            ORDER BY at LIMIT :most""",  # noqa: S608 - our own words
        most=len(moments),
        **values,
    )
    return [_sample(row) for row in rows]


def latest(reader: Reader, now: int) -> Sample | None:
    """The last one before a time; None if there is none."""
    moments = times(reader, 0, now + 1, 1)
    return next(iter(taken_at(reader, moments)), None)


def _sample(row: Row) -> Sample:
    owners = tuple(Owned(*entry) for entry in json.loads(row["owners"]))
    return Sample(row["at"], owners, tuple(Ending(*entry) for entry in json.loads(row["hours"])))


def forget(now: int, most: int) -> Statement:
    """Forget up to ``most`` samples that are older than they are kept."""
    return Statement(
        "DELETE FROM fleet_samples WHERE at IN (SELECT at FROM fleet_samples WHERE at < :end ORDER BY at LIMIT :most)",
        {"end": kept_since(now), "most": most},
    )


def count_past(reader: Reader, now: int) -> int:
    """The number of samples that :func:`forget` would forget."""
    rows = reader.rows("SELECT count(*) AS number FROM fleet_samples WHERE at < :end", end=kept_since(now))
    number: int = rows[0]["number"]
    return number


def kept_since(now: int) -> int:
    """The beginning of the first day of which something is kept: whole days go, and not something each hour."""
    return (now - KEPT_SECONDS) // DAY * DAY
