"""What is due to be looked for in the network, by whom it was asked for, and what is under way.

Those who ask are addresses, as limits count them: an account costs nothing. Each question is answered from an index
that holds only what waits, and none reads all of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from acme_iid.store.database import Reader, Row


class Asked(NamedTuple):
    """A challenge that was answered.

    :ivar requester: the address that asked for its validation; of IPv6, its network (/64).
    :ivar target: the name or address that is to be proven.
    """

    id: str
    requester: str
    account_id: str
    target: str


_FIRST = "due_at IS NOT NULL AND attempts = 0"
_REPEATED = "due_at IS NOT NULL AND attempts > 0"


def _asked(row: Row) -> Asked:
    return Asked(row["id"], row["requester"], row["account_id"], row["target"])


def under_way(reader: Reader, now: int) -> list[Asked]:
    """The challenges that any process looks for now; no more than all processes together have threads."""
    rows = reader.rows(
        """SELECT id, requester, account_id, target FROM challenges
           WHERE leased_until IS NOT NULL AND leased_until > :now""",
        now=now,
    )
    return [_asked(row) for row in rows]


def requesters(reader: Reader) -> set[str]:
    """The addresses that wait for an attempt, be it due now or later."""
    found: set[str] = set()
    for waiting in (_FIRST, _REPEATED):
        # From one address to the next one in the index, however many rows each has there.
        rows = reader.rows(
            f"""WITH RECURSIVE waiting (requester) AS (
                    SELECT min(requester) FROM challenges WHERE {waiting}
                    UNION ALL
                    SELECT (SELECT min(c.requester) FROM challenges c WHERE {waiting} AND c.requester > w.requester)
                    FROM waiting w WHERE w.requester IS NOT NULL)
                SELECT requester FROM waiting WHERE requester IS NOT NULL"""  # noqa: S608 - constants only
        )
        found.update(row["requester"] for row in rows)
    return found


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
    :returns: None if there is none that is due and nobody's.
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
                f"""SELECT id, requester, account_id, target FROM challenges
                    WHERE requester = :requester AND {waiting} AND due_at <= :now AND target > :after
                      AND (leased_until IS NULL OR leased_until <= :now){excluded}
                    ORDER BY target, due_at, id LIMIT 1""",  # noqa: S608 - constants and numbers only
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
