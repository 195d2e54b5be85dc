"""What each account was refused lately, and how often since there was an event of it."""

from __future__ import annotations

from typing import NamedTuple

from acme_iid.store.database import Reader, Transaction

HOUR = 3600
"""Seconds from one event of a refusal to the next of the same."""
MOST = 10
"""Different refusals of one account that become events in an hour; all others are counted together."""
_KEPT = 24 * HOUR
_SKEW = 60
_OTHERS = ""


class Due(NamedTuple):
    """An event is due, for so many refusals: this one, and those since the event before.

    :ivar various: whether they may be of different kinds and for different names.
    """

    refused: int
    various: bool


def count(transaction: Transaction, account_id: str, what: str, now: int) -> Due | None:
    """Count a refusal; None if there was an event of the same within the last hour.

    :param what: the same for refusals that are the same.
    """
    if _counted(transaction, account_id, what, now):
        return None
    if _events(transaction, account_id, now) >= MOST:
        what = _OTHERS
        if _counted(transaction, account_id, what, now):
            return None
    # What was counted under an event that is no longer recent is told by the new one.
    rows = transaction.rows(
        "SELECT further FROM refusals WHERE account_id = :account_id AND what = :what", account_id=account_id, what=what
    )
    transaction.run(
        """INSERT INTO refusals (account_id, what, recorded_at, further) VALUES (:account_id, :what, :now, 0)
           ON CONFLICT (account_id, what) DO UPDATE SET recorded_at = excluded.recorded_at, further = 0""",
        account_id=account_id,
        what=what,
        now=now,
    )
    return Due(1 + (rows[0]["further"] if rows else 0), what == _OTHERS)


def _counted(transaction: Transaction, account_id: str, what: str, now: int) -> bool:
    """Count a refusal under the event of the last hour, if there is one; one of the future is of a wrong clock."""
    return bool(
        transaction.run(
            """UPDATE refusals SET further = further + 1
               WHERE account_id = :account_id AND what = :what AND recorded_at > :since AND recorded_at <= :until""",
            account_id=account_id,
            what=what,
            since=now - HOUR,
            until=now + _SKEW,
        )
    )


def _events(reader: Reader, account_id: str, now: int) -> int:
    """How many events of an account's refusals there were in the last hour."""
    rows = reader.rows(
        """SELECT count(*) AS found FROM refusals
           WHERE account_id = :account_id AND what <> :others AND recorded_at > :since AND recorded_at <= :until""",
        account_id=account_id,
        others=_OTHERS,
        since=now - HOUR,
        until=now + _SKEW,
    )
    found: int = rows[0]["found"]
    return found


def forget(transaction: Transaction, now: int, most: int) -> int:
    """Forget up to ``most`` refusals that had no event for a day; how many."""
    return transaction.run(
        """DELETE FROM refusals WHERE (account_id, what) IN
           (SELECT account_id, what FROM refusals WHERE recorded_at <= :end ORDER BY recorded_at LIMIT :most)""",
        end=now - _KEPT,
        most=most,
    )


def count_past(reader: Reader, now: int) -> int:
    """How many refusals :func:`forget` would forget."""
    rows = reader.rows("SELECT count(*) AS found FROM refusals WHERE recorded_at <= :end", end=now - _KEPT)
    found: int = rows[0]["found"]
    return found
