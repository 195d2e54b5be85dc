"""The names that an account has proven by the standard challenges, in whichever of its orders."""

from __future__ import annotations

from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.status import Status, of_authorization
from acme_iid.store import orders
from acme_iid.store.writes import Reader, Row

_MOST = 1000
"""Orders that are looked at."""


def controlled_names(reader: Reader, account_id: str, now: int) -> set[Identifier]:
    """The names that an account has valid authorizations for which it got by the standard challenges.

    iid-01 does not count: it proves which instance asks, and the rules may give a name to many.
    """
    rows: list[Row] = []
    # The newest orders, down to one that has expired: all that were made before it have, too, but for a moment's.
    while len(rows) < _MOST and (not rows or rows[-1]["expires_at"] > now):
        page = reader.rows(
            f"""{orders.SELECT} WHERE o.account_id = :account_id AND o.ahead = 0 AND o.n < :before
                ORDER BY o.n DESC LIMIT 100""",
            account_id=account_id,
            before=rows[-1]["n"] if rows else orders.ALL,
        )
        if not page:
            break
        rows += page
    rows += reader.rows(
        f"""{orders.SELECT} WHERE o.account_id = :account_id AND o.ahead = 1 AND o.taken_at IS NULL
              AND o.ended_at IS NULL AND o.expires_at > :now""",
        account_id=account_id,
        now=now,
    )
    return {
        entry.name
        for row in rows
        for entry in orders.of_row(reader, row).authorizations
        if of_authorization(entry, now) is Status.VALID
        and not any(challenge.proof is not None and challenge.proof.instance for challenge in entry.challenges)
    }
