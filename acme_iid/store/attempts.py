"""Attempts to validate challenges: those that are due, their requesters, and those under way.

Those who ask are addresses, as limits count them: an account costs nothing. Each question is answered from an index
that holds only what waits, and none reads all of it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from typing import NamedTuple

from acme_iid.errors import Fault
from acme_iid.store.documents import fault_as_list
from acme_iid.store.orders import LocatedChallenge, number
from acme_iid.store.statements import NOW, SKIP_LOCKED
from acme_iid.store.writes import Question, Reader, Row, Statement, again
from acme_iid.store.writes import ask as ask_store

MOST_OF_ADDRESS, MOST_OF_ACCOUNT, MOST_AT_TARGET = 16, 8, 8
"""Attempts under way at a time, in all processes: of an address that asked for them, of an account, at a target."""
_KEY = "n = :n AND i = :i AND k = :k"
_FIRST = "due_at IS NOT NULL AND attempts = 0"
_REPEATED = "due_at IS NOT NULL AND attempts > 0"


class Asked(NamedTuple):
    """A challenge that was answered, by the number of its order and its places in it.

    :ivar requester: the address that asked for its validation; of IPv6, its network (/64).
    :ivar target: the name or address that is to be proven.
    """

    n: int
    i: int
    k: int
    requester: str
    account_id: str
    target: str


def _asked(row: Row) -> Asked:
    return Asked(*(row[field] for field in Asked._fields))


def _key(located: LocatedChallenge) -> dict[str, object]:
    return {"n": number(located.order), "i": located.i, "k": located.k}


def ask(located: LocatedChallenge, remote: str, requester: str, now: int) -> Statement:
    """Record that a client asked for validation, due at once; once more changes nothing.

    :param remote: the client's address, for the record.
    :param requester: the address under which the attempt is counted; of IPv6, its network (/64).
    """
    return Statement(
        """INSERT INTO attempts (n, i, k, account_id, target, remote, requester, answered_at, attempts, due_at)
           VALUES (:n, :i, :k, :account_id, :target, :remote, :requester, :now, 0, :now) ON CONFLICT DO NOTHING""",
        {
            **_key(located),
            "account_id": located.order.account_id,
            "target": located.authorization.identifier.value,
            "remote": remote,
            "requester": requester,
            "now": now,
        },
    )


def _of(column: str) -> str:
    """The number of attempts under way that have the same value in a column as an attempt has."""
    return f"""(SELECT count(*) FROM attempts busy WHERE busy.leased_until IS NOT NULL AND busy.leased_until > {NOW}
                AND busy.{column} = attempts.{column})"""  # noqa: S608 - our own words


def take(asked: Asked, now: int, until: int) -> Statement:
    """Take a challenge's next attempt, until the time ``until``.

    It changes no row if another process has it, or takes it right now, or too many attempts are under way: of the
    address that asked for it, of its account, or at its target.
    """
    return Statement(
        f"""UPDATE attempts SET leased_until = {NOW} + :lease, attempts = attempts + 1
            WHERE (n, i, k) IN (SELECT n, i, k FROM attempts WHERE {_KEY} {SKIP_LOCKED})
              AND due_at <= {NOW} AND (leased_until IS NULL OR leased_until <= {NOW})
              AND {_of("requester")} < :of_address AND {_of("account_id")} < :of_account
              AND {_of("target")} < :at_target RETURNING attempts""",  # noqa: S608 - constants only
        {
            "n": asked.n,
            "i": asked.i,
            "k": asked.k,
            "now": now,
            "lease": until - now,
            "of_address": MOST_OF_ADDRESS,
            "of_account": MOST_OF_ACCOUNT,
            "at_target": MOST_AT_TARGET,
        },
    )


def drop(asked: Asked) -> Statement:
    """Forget an attempt at what has ended."""
    return Statement(f"DELETE FROM attempts WHERE {_KEY}", {"n": asked.n, "i": asked.i, "k": asked.k})  # noqa: S608


def postpone(located: LocatedChallenge, error: Fault, until: int) -> Statement:
    """Record that an attempt failed and when the next one is due, unless another attempt came first."""
    return Statement(
        f"""UPDATE attempts SET due_at = :until, leased_until = NULL, error = :error
            WHERE {_KEY} AND attempts = :attempts""",  # noqa: S608 - constants only
        {
            **_key(located),
            "attempts": located.challenge.attempts,
            "until": until,
            "error": json.dumps(fault_as_list(error)),
        },
        again,
    )


def decide(located: LocatedChallenge) -> list[Statement]:
    """Forget the attempts at an authorization that one of them decides, unless another attempt came first."""
    return [
        Statement(
            f"DELETE FROM attempts WHERE {_KEY} AND attempts = :attempts",  # noqa: S608 - constants only
            {**_key(located), "attempts": located.challenge.attempts},
            again,
        ),
        Statement("DELETE FROM attempts WHERE n = :n AND i = :i", {"n": number(located.order), "i": located.i}),
    ]


def questions(now: int) -> list[Question]:
    """The questions of :func:`under_way` and :func:`requesters`."""
    return [_under_way(now), *map(_requesters, (_FIRST, _REPEATED))]


def under_way(reader: Reader, now: int) -> list[Asked]:
    """The challenges that any process looks for now; no more than all processes together have threads."""
    return [_asked(row) for row in ask_store(reader, _under_way(now))]


def _under_way(now: int) -> Question:
    return Question(
        f"""SELECT n, i, k, requester, account_id, target FROM attempts
           WHERE leased_until IS NOT NULL AND leased_until > {NOW}""",  # noqa: S608 - our own words
        {"now": now},
    )


def requesters(reader: Reader) -> set[str]:
    """The addresses that wait for an attempt, be it due now or later."""
    return {row["requester"] for waiting in (_FIRST, _REPEATED) for row in ask_store(reader, _requesters(waiting))}


def _requesters(waiting: str) -> Question:
    """From one address to the next one in the index, however many rows each has there."""
    return Question(
        f"""WITH RECURSIVE waiting (requester) AS (
                SELECT min(requester) FROM attempts WHERE {waiting}
                UNION ALL
                SELECT (SELECT min(c.requester) FROM attempts c WHERE {waiting} AND c.requester > w.requester)
                FROM waiting w WHERE w.requester IS NOT NULL)
            SELECT requester FROM waiting WHERE requester IS NOT NULL""",  # noqa: S608 - constants only
        {},
    )


def next_of(
    reader: Reader,
    requester: str,
    now: int,
    after: str,
    accounts: Collection[str] = (),
    targets: Collection[str] = (),
) -> Asked | None:
    """The attempt of an address that is next: a first one before a repeated one, its targets in turn.

    :param after: the target whose turn was the last.
    :param accounts: those that have to wait, and so have ``targets``.
    :returns: None if no attempt is due and without a lease.
    """
    excluded, values = "", dict[str, str]()
    for column, names in (("account_id", accounts), ("target", targets)):
        if names:
            numbered = {f"{column}{number}": name for number, name in enumerate(names)}
            excluded += f" AND {column} NOT IN ({_placeholders(numbered)})"
            values |= numbered
    for waiting in (_FIRST, _REPEATED):
        for beyond in (after, "") if after else ("",):
            rows = reader.rows(
                f"""SELECT n, i, k, requester, account_id, target FROM attempts
                    WHERE requester = :requester AND {waiting} AND due_at <= {NOW} AND target > :after
                      AND (leased_until IS NULL OR leased_until <= {NOW}){excluded}
                    ORDER BY target, due_at, n, i, k LIMIT 1""",  # noqa: S608 - constants and numbers only
                requester=requester,
                now=now,
                after=beyond,
                **values,
            )
            if rows:
                return _asked(rows[0])
    return None


def _placeholders(names: Iterable[str]) -> str:
    return ", ".join(f":{name}" for name in names)
