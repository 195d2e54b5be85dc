"""Authorizations that newAuthz made and no order has taken yet (RFC 8555 section 7.4.1).

An account may have thousands that ended long ago, and hundreds that wait: an order reads those for its own names only,
and before its transaction. Whatever must hold is a condition of the statement that takes one.
"""

from __future__ import annotations

from collections.abc import Collection

from acme_iid.protocol.identifiers import Identifier
from acme_iid.store.database import Reader, Transaction

_WAITING = "order_id IS NULL AND expires_at > :now AND deactivated_at IS NULL AND revoked_at IS NULL"
"""No order has taken it, and it has not ended; it may have failed."""
_LIVE = f"""{_WAITING}
    AND NOT EXISTS (SELECT 1 FROM challenges failed
                    WHERE failed.authorization_id = authorizations.id AND failed.failed_at IS NOT NULL)"""  # noqa: S608 - a constant
"""It is pending or valid, and no order's."""


def _of_use(provisioners: Collection[str]) -> tuple[str, dict[str, str]]:
    """The condition that an authorization is live, and not proven under any provisioner but these; its parameters."""
    # No provisioner has an empty name; an empty list would be no SQL.
    values = {f"p{number}": name for number, name in enumerate(("", *sorted(provisioners)))}
    condition = f"""{_LIVE}
        AND NOT EXISTS (SELECT 1 FROM challenges proven
                        WHERE proven.authorization_id = authorizations.id AND proven.provisioner IS NOT NULL
                          AND proven.provisioner NOT IN ({", ".join(f":{name}" for name in values)}))"""  # noqa: S608 - our own words and numbers
    return condition, values


def count(reader: Reader, account_id: str, now: int, most: int) -> int:
    """How many authorizations of an account no order has taken, up to ``most``.

    One that failed counts until it runs out or is deactivated: how many there are is then bounded, and this with it.
    """
    rows = reader.rows(
        f"""SELECT count(*) AS waiting FROM (SELECT 1 FROM authorizations
                WHERE account_id = :account_id AND {_WAITING} LIMIT :most) AS found""",  # noqa: S608 - a constant
        account_id=account_id,
        now=now,
        most=most,
    )
    found: int = rows[0]["waiting"]
    return found


def for_names(
    reader: Reader, account_id: str, names: Collection[Identifier], provisioners: Collection[str], now: int
) -> dict[Identifier, str]:
    """By its name, the id of the newest authorization of an account that an order for the names can take.

    :param names: of the order; a wildcard takes none, since none is made ahead for one.
    :param provisioners: those under which a proof is of use to the order.
    """
    if not names or not count(reader, account_id, now, 1):
        return {}
    condition, values = _of_use(provisioners)
    wanted = {f"n{number}": name.value for number, name in enumerate(names)}
    rows = reader.rows(
        f"""SELECT id, identifier_type, identifier_value FROM authorizations
            WHERE account_id = :account_id AND identifier_value IN ({", ".join(f":{name}" for name in wanted)})
              AND {condition}
            ORDER BY expires_at, id DESC""",  # noqa: S608 - our own words and numbers
        account_id=account_id,
        now=now,
        **wanted,
        **values,
    )
    return {Identifier(row["identifier_type"], row["identifier_value"]): row["id"] for row in rows}


def take(
    transaction: Transaction,
    authorization_id: str,
    order_id: str,
    position: int,
    provisioners: Collection[str],
    now: int,
) -> bool:
    """Give an authorization to an order; False if another order has it, it has ended, or it is of no use to this one.

    :param provisioners: as for :func:`for_names`.
    """
    condition, values = _of_use(provisioners)
    return bool(
        transaction.run(
            f"UPDATE authorizations SET order_id = :order_id, position = :position WHERE id = :id AND {condition}",  # noqa: S608
            id=authorization_id,
            order_id=order_id,
            position=position,
            now=now,
            **values,
        )
    )
