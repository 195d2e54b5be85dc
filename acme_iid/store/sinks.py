"""How far each sink has taken the events, and which process sends to it now.

One row for each sink has both: the number of the last event that it has taken, and the moment until which one process
alone sends to it. Whoever sends moves both on by compare-and-set, so that of two that believe to be the sender one
comes no further. The sealed events themselves are the queue.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from acme_iid.store.statements import NOW
from acme_iid.store.writes import Reader, Row, Statement, Write, again

_LATE = 600
"""Seconds: a lease that ends later than that was taken by a clock that was wrong, and keeps nobody waiting."""


class Turn(NamedTuple):
    """The right to send to a sink.

    :ivar last: the number of the last event that it has taken.
    :ivar until: the moment until which it is the caller's, in seconds by the store's clock.
    """

    last: int
    until: int


class Cursor(NamedTuple):
    """How far a sink is.

    :ivar used_at: when a server last had it in its ca.toml, about, in seconds.
    """

    name: str
    last: int
    used_at: int


def may_be_free(reader: Reader, name: str, now: int) -> bool:
    """Whether nobody sends to a sink now; only :func:`take` gives the right to."""
    rows = reader.rows(f"SELECT lease, {NOW} AS now FROM sinks WHERE name = :name", name=name, now=now)  # noqa: S608
    return not rows or not rows[0]["now"] < rows[0]["lease"] <= rows[0]["now"] + _LATE


def take(name: str, now: int, seconds: int) -> Write[Turn | None]:
    """Take the right to send to a sink; None if it is another's.

    A sink begins with the first event that stays: those up to the latest checkpoint go, if they have not gone yet.

    :param now: seconds, by this machine's clock; where several machines share the store, its own clock counts.
    """
    statement = Statement(
        f"""INSERT INTO sinks (name, last_seq, lease)
            VALUES (:name, coalesce((SELECT max(seq) FROM event_checkpoints), 0), {NOW} + :seconds)
            ON CONFLICT (name) DO UPDATE SET lease = excluded.lease
            WHERE sinks.lease <= {NOW} OR sinks.lease > {NOW} + :late
            RETURNING last_seq, lease""",  # noqa: S608 - our own words
        {"name": name, "now": now, "seconds": seconds, "late": _LATE},
    )
    return Write([statement], _turn)


def move_on(name: str, turn: Turn, last: int, now: int, seconds: int) -> Write[Turn | None]:
    """Note the last event that a sink has taken by now, and keep it for as long again; None if another has it by now.

    :param last: the same number as before, to keep it only.
    """
    statement = Statement(
        f"""UPDATE sinks SET last_seq = :last, lease = {NOW} + :seconds
            WHERE name = :name AND last_seq = :before AND lease = :until RETURNING last_seq, lease""",  # noqa: S608
        {"name": name, "last": last, "before": turn.last, "until": turn.until, "now": now, "seconds": seconds},
    )
    return Write([statement], _turn)


def give_back(name: str, turn: Turn, now: int) -> Write[None]:
    """Let others send to a sink."""
    statement = Statement(
        f"UPDATE sinks SET lease = {NOW} WHERE name = :name AND lease = :until",  # noqa: S608 - our own words
        {"name": name, "until": turn.until, "now": now},
    )
    return Write([statement], lambda _rows: None)


def _turn(rows: Sequence[Row]) -> Turn | None:
    return Turn(rows[0]["last_seq"], rows[0]["lease"]) if rows else None


def cursors(reader: Reader) -> list[Cursor]:
    """How far each sink is, by name."""
    rows = reader.rows("SELECT name, last_seq, lease FROM sinks ORDER BY name")
    return [Cursor(row["name"], row["last_seq"], row["lease"]) for row in rows]


def waiting_since(reader: Reader, names: Collection[str]) -> dict[str, int | None]:
    """When the oldest chained event was decided that each of these sinks has not taken, in seconds.

    :returns: None for a sink that has all of them.
    """
    begun = {cursor.name: cursor.last for cursor in cursors(reader)}
    # As take() has one begin.
    first = reader.rows("SELECT coalesce(max(seq), 0) AS seq FROM event_checkpoints")[0]["seq"]
    found: dict[str, int | None] = {}
    for name in names:
        last = begun.get(name, first)
        rows = reader.rows("SELECT at FROM events WHERE seq > :last ORDER BY seq LIMIT 1", last=last)
        found[name] = rows[0]["at"] if rows else None
    return found


def no_other(known: Collection[str], seq: int, since: int) -> Statement:
    """A guard: no sink but those that are known still has to get events up to one that is about to go.

    :param since: seconds: a sink that no server has had since then does not count.
    """
    names = {f"known{number}": name for number, name in enumerate(sorted(known))}
    others = f"AND name NOT IN ({', '.join(f':{key}' for key in names)})" if names else ""
    return Statement(
        f"SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM sinks WHERE last_seq < :seq AND lease > :since {others})",  # noqa: S608
        {"seq": seq, "since": since, **names},
        again,
    )


def skip(name: str, last: int) -> Statement:
    """Have a sink go on behind an event that it never gets."""
    return Statement(
        "UPDATE sinks SET last_seq = :last WHERE name = :name AND last_seq < :last", {"name": name, "last": last}
    )
