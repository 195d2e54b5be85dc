"""Recent refusals of each account, and their number since there was an event of them."""

from __future__ import annotations

from typing import NamedTuple

from acme_iid.binding import CLOCK_SKEW
from acme_iid.store.writes import Reader, Row, Statement, again

KINDS = ("challenge.refused", "order.refused", "finalize.refused", "authorization.refused", "enrolment.refused")
"""The kinds of events that say that something was refused."""
HOUR = 3600
"""Seconds from one event of a refusal to the next of the same."""
MOST = 10
"""Different refusals of one account that become events in an hour; all others are counted together."""
_KEPT = 24 * HOUR
_OTHERS = ""


class Counted(NamedTuple):
    """The statement that counts a refusal, and whether an event is due for it.

    :ivar event: whether one is: there was none of the same within the last hour.
    :ivar refused: for how many refusals it would be: this one, and those since the event before.
    :ivar various: whether they may be of different kinds and for different names.
    """

    statement: Statement
    event: bool
    refused: int
    various: bool


def count(reader: Reader, account_id: str, what: str, now: int) -> Counted:
    """Count a refusal.

    :param what: the same for refusals that are the same.
    """
    rows = {
        row["what"]: row
        for row in reader.rows(
            """SELECT what, recorded_at, further FROM refusals
               WHERE account_id = :account_id AND what IN (:what, :others)""",
            account_id=account_id,
            what=what,
            others=_OTHERS,
        )
    }
    if not _is_recent(rows.get(what), now) and _events(reader, account_id, now) >= MOST:
        what = _OTHERS
    row = rows.get(what)
    if row is not None and _is_recent(row, now):
        return Counted(_count_under(account_id, what, now), event=False, refused=0, various=False)
    # The new event has the refusals that were counted under one that is no longer recent.
    further = 0 if row is None else row["further"]
    statement = Statement(
        """INSERT INTO refusals (account_id, what, recorded_at, further) VALUES (:account_id, :what, :now, 0)
           ON CONFLICT (account_id, what) DO UPDATE SET recorded_at = excluded.recorded_at, further = 0
           WHERE refusals.recorded_at = :before AND refusals.further = :further""",
        {
            "account_id": account_id,
            "what": what,
            "now": now,
            "before": -1 if row is None else row["recorded_at"],
            "further": further,
        },
        again,
    )
    return Counted(statement, event=True, refused=1 + further, various=what == _OTHERS)


def _is_recent(row: Row | None, now: int) -> bool:
    """Whether the event of a row was within the last hour; one of the future is of a wrong clock."""
    return row is not None and now - HOUR < row["recorded_at"] <= now + CLOCK_SKEW


def _count_under(account_id: str, what: str, now: int) -> Statement:
    """Count a refusal under the event of the last hour."""
    return Statement(
        """UPDATE refusals SET further = further + 1
           WHERE account_id = :account_id AND what = :what AND recorded_at > :since AND recorded_at <= :until""",
        {"account_id": account_id, "what": what, "since": now - HOUR, "until": now + CLOCK_SKEW},
        again,
    )


def _events(reader: Reader, account_id: str, now: int) -> int:
    """The number of events of an account's refusals in the last hour."""
    rows = reader.rows(
        """SELECT count(*) AS number FROM refusals
           WHERE account_id = :account_id AND what <> :others AND recorded_at > :since AND recorded_at <= :until""",
        account_id=account_id,
        others=_OTHERS,
        since=now - HOUR,
        until=now + CLOCK_SKEW,
    )
    number: int = rows[0]["number"]
    return number


def forget(now: int, most: int) -> Statement:
    """Forget up to ``most`` refusals that had no event for a day."""
    return Statement(
        """DELETE FROM refusals WHERE (account_id, what) IN
           (SELECT account_id, what FROM refusals WHERE recorded_at <= :end ORDER BY recorded_at LIMIT :most)""",
        {"end": now - _KEPT, "most": most},
    )


def count_past(reader: Reader, now: int) -> int:
    """The number of refusals that :func:`forget` would forget."""
    rows = reader.rows("SELECT count(*) AS number FROM refusals WHERE recorded_at <= :end", end=now - _KEPT)
    number: int = rows[0]["number"]
    return number
