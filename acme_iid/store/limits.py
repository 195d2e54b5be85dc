"""Rate limits that hold across processes: one row a subject, one statement an action.

The generic cell rate algorithm (ITU-T I.371): each action moves a moment ahead by one interval, and an action is
refused while that moment is further ahead than a whole period. So up to ``most`` actions can come at once, and
afterwards one an interval.
"""

from __future__ import annotations

from typing import NamedTuple

from acme_iid.store.statements import SKIP_LOCKED
from acme_iid.store.writes import Reader, Statement, Verdict


class Rate(NamedTuple):
    """At most ``most`` in ``seconds``."""

    most: int
    seconds: int


def spend(key: str, rate: Rate, now: int, verdict: Verdict) -> Statement:
    """Count one action of the subject ``key``, unless it comes too early.

    :param verdict: if it does.
    """
    interval = max(rate.seconds * 1000 // rate.most, 1)
    return Statement(
        """INSERT INTO limits (key, until) VALUES (:key, :now + :interval)
           ON CONFLICT (key) DO UPDATE
           SET until = CASE WHEN limits.until > :now THEN limits.until ELSE :now END + :interval
           WHERE limits.until <= :now + :slack""",
        {"key": key, "now": now * 1000, "interval": interval, "slack": interval * (rate.most - 1)},
        verdict,
    )


def wait(reader: Reader, key: str, rate: Rate, now: int) -> int:
    """Seconds until the subject ``key`` may act again; at least one."""
    interval = max(rate.seconds * 1000 // rate.most, 1)
    rows = reader.rows("SELECT until FROM limits WHERE key = :key", key=key)
    ahead = (rows[0]["until"] if rows else 0) - interval * (rate.most - 1) - now * 1000
    return max(1, -(-ahead // 1000))


def forget(now: int, most: int) -> Statement:
    """Forget up to ``most`` subjects whose actions count no longer."""
    return Statement(
        f"""DELETE FROM limits WHERE key IN
           (SELECT key FROM limits WHERE until <= :now ORDER BY until LIMIT :most {SKIP_LOCKED})""",  # noqa: S608
        {"now": now * 1000, "most": most},
    )


def count_past(reader: Reader, now: int) -> int:
    """The number of subjects that :func:`forget` would forget."""
    number: int = reader.rows("SELECT count(*) AS number FROM limits WHERE until <= :now", now=now * 1000)[0]["number"]
    return number
