"""Authorizations that newAuthz made and no order has taken yet (RFC 8555 section 7.4.1).

An account may have thousands that ended long ago, and hundreds that wait: an order reads those for its own names only,
and before its transaction. Whatever must hold is a condition of the statement that takes one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Authorization
from acme_iid.store import orders
from acme_iid.store.database import Reader, Transaction

_LIVE = """order_id IS NULL AND expires_at > :now AND deactivated_at IS NULL AND revoked_at IS NULL
    AND NOT EXISTS (SELECT 1 FROM challenges failed
                    WHERE failed.authorization_id = authorizations.id AND failed.failed_at IS NOT NULL)"""
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
    """How many authorizations of an account wait for an order, up to ``most``."""
    rows = reader.rows(
        f"""SELECT count(*) AS waiting FROM (SELECT 1 FROM authorizations
                WHERE account_id = :account_id AND {_LIVE} LIMIT :most) AS found""",  # noqa: S608 - a constant
        account_id=account_id,
        now=now,
        most=most,
    )
    found: int = rows[0]["waiting"]
    return found


def for_names(
    reader: Reader, account_id: str, names: Iterable[Identifier], provisioners: Collection[str], now: int
) -> dict[Identifier, Authorization]:
    """By its name, the newest authorization of an account that an order for the names can take.

    :param names: of the order; a wildcard takes none, since none is made ahead for one.
    :param provisioners: those under which a proof is of use to the order.
    """
    if not count(reader, account_id, now, 1):
        return {}
    condition, values = _of_use(provisioners)
    found: dict[Identifier, Authorization] = {}
    for name in names:
        authorization = orders.read_authorization(
            reader,
            f"""WHERE a.id = (SELECT id FROM authorizations
                              WHERE account_id = :account_id AND identifier_type = :type
                                AND identifier_value = :value AND {condition}
                              ORDER BY expires_at DESC, id LIMIT 1)
                ORDER BY c.id""",  # noqa: S608 - as above
            account_id=account_id,
            type=name.type,
            value=name.value,
            now=now,
            **values,
        )
        if authorization is not None:
            found[name] = authorization
    return found


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
