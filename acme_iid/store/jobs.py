"""Jobs that one process at a time does now and then, whichever of all processes and replicas that is.

One moment is both the time of the next turn and the lease of the present one: whoever takes a job moves it on by one
compare-and-set, and moves it on again while the work lasts. A process that is killed leaves a moment that comes.
"""

from __future__ import annotations

from collections.abc import Sequence

from acme_iid.store.statements import NOW
from acme_iid.store.writes import Reader, Row, Statement, Write, again


def is_due(reader: Reader, name: str, now: int, interval: int) -> bool:
    """Whether a job is due; only :func:`take` says whose it is.

    :param now: seconds, by this machine's clock; where several machines share the store, its own clock counts.
    :param interval: seconds from one turn to the next. A moment that is more than two of them away was set by a clock
        that was wrong, and keeps nobody waiting.
    """
    rows = reader.rows(f"SELECT due_at, {NOW} AS now FROM jobs WHERE name = :name", name=name, now=now)  # noqa: S608
    return not rows or not rows[0]["now"] < rows[0]["due_at"] <= rows[0]["now"] + 2 * interval


def due_at(reader: Reader, name: str) -> int | None:
    """When a job's next turn is, or until when the present one has it; None if nobody ever had one."""
    rows = reader.rows("SELECT due_at FROM jobs WHERE name = :name", name=name)
    return rows[0]["due_at"] if rows else None


def take(reader: Reader, name: str, now: int, interval: int) -> Write[int | None] | None:
    """Take a job that is due: the moment until which it is the caller's, None if it is another's."""
    if not is_due(reader, name, now, interval):
        return None
    statement = Statement(
        f"""INSERT INTO jobs (name, due_at) VALUES (:name, {NOW} + :interval)
           ON CONFLICT (name) DO UPDATE SET due_at = excluded.due_at
           WHERE jobs.due_at <= {NOW} OR jobs.due_at > {NOW} + :late RETURNING due_at""",  # noqa: S608 - our own words
        {"name": name, "now": now, "interval": interval, "late": 2 * interval},
        again,
    )
    return Write([statement], _moment)


def keep(name: str, mine: int, now: int, interval: int) -> Write[int | None]:
    """Keep a job for as long again: until when, None if another process has taken it meanwhile.

    :param mine: the moment that :func:`take` or the last :func:`keep` set.
    """
    statement = Statement(
        f"UPDATE jobs SET due_at = {NOW} + :interval WHERE name = :name AND due_at = :mine RETURNING due_at",  # noqa: S608
        {"name": name, "now": now, "interval": interval, "mine": mine},
    )
    return Write([statement], _moment)


def _moment(rows: Sequence[Row]) -> int | None:
    return rows[0]["due_at"] if rows else None


def mark(name: str, now: int) -> Statement:
    """Write down that a job was done just now, whoever did it."""
    return Statement(
        """INSERT INTO jobs (name, due_at) VALUES (:name, :now)
           ON CONFLICT (name) DO UPDATE SET due_at = excluded.due_at""",
        {"name": name, "now": now},
    )
