"""What one process at a time does now and then, whichever of all processes and replicas that is.

One moment is both the time of the next turn and the lease of the present one: whoever takes a job moves it on by one
compare-and-set, and moves it on again while the work lasts. A process that is killed leaves a moment that comes.
"""

from __future__ import annotations

from acme_iid.store.writes import Reader, Statement, Write, again


def is_due(reader: Reader, name: str, now: int, interval: int) -> bool:
    """Whether a job is due; only :func:`take` says whose it is.

    :param interval: seconds from one turn to the next. A moment that is more than two of them away was set by a clock
        that was wrong, and keeps nobody waiting.
    """
    rows = reader.rows("SELECT due_at FROM jobs WHERE name = :name", name=name)
    return not rows or not now < rows[0]["due_at"] <= now + 2 * interval


def due_at(reader: Reader, name: str) -> int | None:
    """When a job's next turn is, or until when the present one has it; None if nobody ever had one."""
    rows = reader.rows("SELECT due_at FROM jobs WHERE name = :name", name=name)
    return rows[0]["due_at"] if rows else None


def take(reader: Reader, name: str, now: int, interval: int) -> Write[int | None] | None:
    """Take a job that is due: the moment until which it is the caller's, None if it is another's."""
    if not is_due(reader, name, now, interval):
        return None
    statement = Statement(
        """INSERT INTO jobs (name, due_at) VALUES (:name, :until)
           ON CONFLICT (name) DO UPDATE SET due_at = excluded.due_at
           WHERE jobs.due_at <= :now OR jobs.due_at > :late""",
        {"name": name, "now": now, "until": now + interval, "late": now + 2 * interval},
        again,
    )
    return Write([statement], lambda _rows: now + interval)


def keep(name: str, mine: int, until: int) -> Write[bool]:
    """Keep a job until the moment ``until``; False if another process has taken it meanwhile.

    :param mine: the moment that :func:`take` or the last :func:`keep` set.
    """
    statement = Statement(
        "UPDATE jobs SET due_at = :until WHERE name = :name AND due_at = :mine RETURNING due_at",
        {"name": name, "mine": mine, "until": until},
    )
    return Write([statement], bool)


def mark(name: str, now: int) -> Statement:
    """Write down that a job was done just now, whoever did it."""
    return Statement(
        """INSERT INTO jobs (name, due_at) VALUES (:name, :now)
           ON CONFLICT (name) DO UPDATE SET due_at = excluded.due_at""",
        {"name": name, "now": now},
    )
