"""Orders, their authorizations and challenges (RFC 8555 sections 7.1.3 to 7.1.5).

An order is read whole: its authorizations serve no other order. ``ended_at`` on the order
is what every way of ending one sets and what finalizing has in its condition, so that whichever
comes first wins.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from acme_iid.errors import Fault
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Authorization, Order
from acme_iid.store import challenges
from acme_iid.store.challenges import COLUMNS, fault_as_text, fault_of_text, names_of_text, of_row
from acme_iid.store.database import Reader, Row, Transaction

_AUTHORIZATIONS = f"""
    SELECT a.id, a.order_id, a.account_id, a.identifier_type, a.identifier_value, a.wildcard, a.created_at,
           a.expires_at, a.deactivated_at, a.revoked_at,
           {COLUMNS}
    FROM authorizations a JOIN challenges c ON c.authorization_id = a.id
"""  # noqa: S608 - constants only
_OF_CHALLENGE = "WHERE a.id = (SELECT authorization_id FROM challenges WHERE id = :id) ORDER BY c.id"


def _authorizations(rows: Iterable[Row]) -> tuple[Authorization, ...]:
    """The authorizations in ``rows``, a row a challenge, in the rows' order."""
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        grouped.setdefault(row["id"], []).append(row)
    return tuple(
        Authorization(
            id=first["id"],
            account_id=first["account_id"],
            order_id=first["order_id"],
            identifier=Identifier(first["identifier_type"], first["identifier_value"]),
            wildcard=bool(first["wildcard"]),
            created_at=first["created_at"],
            expires_at=first["expires_at"],
            challenges=tuple(of_row(row) for row in members),
            deactivated_at=first["deactivated_at"],
            revoked_at=first["revoked_at"],
        )
        for members in grouped.values()
        for first in members[:1]
    )


def get(reader: Reader, order_id: str) -> Order | None:
    """The order with its authorizations and their challenges."""
    return _order(reader, reader.rows("SELECT * FROM orders WHERE id = :id", id=order_id))


def of_challenge(reader: Reader, challenge_id: str) -> Order | None:
    """The order that a challenge's authorization serves, as :func:`get` gives it; None if it serves none."""
    rows = reader.rows(
        """SELECT o.* FROM challenges c JOIN authorizations a ON a.id = c.authorization_id
           JOIN orders o ON o.id = a.order_id WHERE c.id = :id""",
        id=challenge_id,
    )
    return _order(reader, rows)


def _order(reader: Reader, rows: Sequence[Row]) -> Order | None:
    """The order in the one row, if there is one, with its authorizations."""
    if not rows:
        return None
    row = rows[0]
    return Order(
        id=row["id"],
        account_id=row["account_id"],
        identifiers=names_of_text(row["identifiers"]),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        not_before=row["not_before"],
        not_after=row["not_after"],
        profile=row["profile"],
        replaces=row["replaces"],
        ended_at=row["ended_at"],
        error=fault_of_text(row["error"]),
        certificate_id=row["certificate_id"],
        authorizations=_authorizations(
            reader.rows(_AUTHORIZATIONS + "WHERE a.order_id = :id ORDER BY a.position, c.id", id=row["id"])
        ),
    )


def get_authorization(reader: Reader, authorization_id: str) -> Authorization | None:
    """The authorization with its challenges."""
    found = _authorizations(reader.rows(_AUTHORIZATIONS + "WHERE a.id = :id ORDER BY c.id", id=authorization_id))
    return found[0] if found else None


def authorization_of_challenge(reader: Reader, challenge_id: str) -> Authorization | None:
    """The authorization that a challenge belongs to."""
    found = _authorizations(
        reader.rows(
            _AUTHORIZATIONS + _OF_CHALLENGE,
            id=challenge_id,
        )
    )
    return found[0] if found else None


def count_open(reader: Reader, account_id: str, now: int, most: int) -> int:
    """How many orders of an account can still lead to a certificate, and authorizations to an order, up to ``most``."""
    rows = reader.rows(
        """SELECT count(*) AS open FROM (
               SELECT 1 FROM orders WHERE account_id = :account_id AND expires_at > :now
                  AND certificate_id IS NULL AND ended_at IS NULL
               UNION ALL
               SELECT 1 FROM authorizations WHERE account_id = :account_id AND expires_at > :now
                  AND order_id IS NULL AND deactivated_at IS NULL AND revoked_at IS NULL
                  AND NOT EXISTS (SELECT 1 FROM challenges c
                                  WHERE c.authorization_id = authorizations.id AND c.failed_at IS NOT NULL)
               LIMIT :most) AS found""",
        account_id=account_id,
        now=now,
        most=most,
    )
    found: int = rows[0]["open"]
    return found


def replaced(reader: Reader, certificate_id: str, now: int) -> bool:
    """Whether an order that has not failed replaces the certificate with this RFC 9773 identifier."""
    return bool(
        reader.rows(
            """SELECT 1 FROM orders WHERE replaces = :replaces AND ended_at IS NULL
               AND (certificate_id IS NOT NULL OR expires_at > :now) LIMIT 1""",
            replaces=certificate_id,
            now=now,
        )
    )


def of_account(reader: Reader, account_id: str, before: tuple[int, str] | None, limit: int) -> list[tuple[int, str]]:
    """An account's order ids with their times of creation, newest first, starting below ``before``."""
    created_at, order_id = before or (1 << 62, "")
    rows = reader.rows(
        """SELECT created_at, id FROM orders
           WHERE account_id = :account_id
             AND (created_at < :created_at OR (created_at = :created_at AND id < :id))
           ORDER BY created_at DESC, id DESC LIMIT :limit""",
        account_id=account_id,
        created_at=created_at,
        id=order_id,
        limit=limit,
    )
    return [(row["created_at"], row["id"]) for row in rows]


def controlled_names(reader: Reader, account_id: str, now: int) -> set[Identifier]:
    """The names that an account has valid authorizations for which it got by the standard challenges.

    iid-01 does not count: it proves which instance asks, and the rules may give a name to many.
    """
    rows = reader.rows(
        """SELECT a.identifier_type, a.identifier_value, a.wildcard
           FROM authorizations a JOIN challenges c ON c.authorization_id = a.id
           WHERE a.account_id = :account_id AND a.expires_at > :now AND c.validated_at IS NOT NULL
             AND c.instance_id IS NULL AND a.deactivated_at IS NULL AND a.revoked_at IS NULL""",
        account_id=account_id,
        now=now,
    )
    return {
        Identifier(row["identifier_type"], ("*." if row["wildcard"] else "") + row["identifier_value"]) for row in rows
    }


def add(transaction: Transaction, order: Order) -> None:
    """Add an order, without its authorizations."""
    transaction.run(
        """INSERT INTO orders (id, account_id, identifiers, not_before, not_after, profile, replaces, created_at,
                               expires_at)
           VALUES (:id, :account_id, :identifiers, :not_before, :not_after, :profile, :replaces, :created_at,
                   :expires_at)""",
        id=order.id,
        account_id=order.account_id,
        identifiers=json.dumps(order.identifiers),
        not_before=order.not_before,
        not_after=order.not_after,
        profile=order.profile,
        replaces=order.replaces,
        created_at=order.created_at,
        expires_at=order.expires_at,
    )


def add_authorization(transaction: Transaction, authorization: Authorization, position: int = 0) -> None:
    """Add an authorization with its challenges.

    :param position: its place in its order.
    """
    transaction.run(
        """INSERT INTO authorizations (id, order_id, account_id, position, identifier_type, identifier_value,
                                       wildcard, created_at, expires_at)
           VALUES (:id, :order_id, :account_id, :position, :type, :value, :wildcard, :created_at, :expires_at)""",
        id=authorization.id,
        order_id=authorization.order_id,
        account_id=authorization.account_id,
        position=position,
        type=authorization.identifier.type,
        value=authorization.identifier.value,
        wildcard=int(authorization.wildcard),
        created_at=authorization.created_at,
        expires_at=authorization.expires_at,
    )
    for challenge in authorization.challenges:
        challenges.add(transaction, authorization.id, challenge)


def limit_authorization(transaction: Transaction, authorization_id: str, until: int) -> None:
    """Let an authorization run out at the time ``until``, unless it does before."""
    transaction.run(
        "UPDATE authorizations SET expires_at = :until WHERE id = :id AND expires_at > :until",
        id=authorization_id,
        until=until,
    )


def end(transaction: Transaction, order_id: str, error: Fault, now: int) -> bool:
    """End an order that has led to no certificate; False if it had ended or been finalized."""
    return bool(
        transaction.run(
            """UPDATE orders SET ended_at = :now, error = :error
               WHERE id = :id AND ended_at IS NULL AND certificate_id IS NULL""",
            id=order_id,
            now=now,
            error=fault_as_text(error),
        )
    )


def end_of_authorization(transaction: Transaction, authorization_id: str, error: Fault, now: int) -> bool:
    """End the order that an authorization serves by now, if it has led to no certificate; False if there is none.

    One that waited for an order when it was read may have been given to one since.
    """
    return bool(
        transaction.run(
            """UPDATE orders SET ended_at = :now, error = :error
               WHERE id = (SELECT a.order_id FROM authorizations a WHERE a.id = :id)
                 AND ended_at IS NULL AND certificate_id IS NULL""",
            id=authorization_id,
            now=now,
            error=fault_as_text(error),
        )
    )


def end_of_account(transaction: Transaction, account_id: str, error: Fault, now: int) -> int:
    """End all of an account's orders that have led to no certificate; how many."""
    return transaction.run(
        """UPDATE orders SET ended_at = :now, error = :error
           WHERE account_id = :account_id AND ended_at IS NULL AND certificate_id IS NULL""",
        account_id=account_id,
        now=now,
        error=fault_as_text(error),
    )


def end_of_delegates(transaction: Transaction, enrolment_id: str, error: Fault, now: int) -> int:
    """End what an enrolment's delegates have: their valid authorizations, and orders that have led to no certificate.

    :returns: how many orders were ended.
    """
    transaction.run(
        """UPDATE authorizations SET revoked_at = :now
           WHERE account_id IN (SELECT id FROM accounts WHERE enrolment_id = :enrolment_id)
             AND expires_at > :now AND revoked_at IS NULL""",
        enrolment_id=enrolment_id,
        now=now,
    )
    return transaction.run(
        """UPDATE orders SET ended_at = :now, error = :error
           WHERE account_id IN (SELECT id FROM accounts WHERE enrolment_id = :enrolment_id)
             AND ended_at IS NULL AND certificate_id IS NULL""",
        enrolment_id=enrolment_id,
        now=now,
        error=fault_as_text(error),
    )


_ALONE = """NOT EXISTS (SELECT 1 FROM challenges other WHERE other.authorization_id = c.authorization_id
                         AND other.type <> :kind)"""
"""An authorization can be proven by challenges of one type only."""


def fail_pending(transaction: Transaction, account_id: str, kind: str, error: Fault, now: int) -> int:
    """Fail an account's pending challenges of one type, and end the open orders that wait for one.

    Where a name can be proven by another type as well, the challenge is taken back instead: a failed one would make the
    authorization invalid, which the other type has nothing to do with.

    :param kind: the type, as in ``Challenge.type``.
    :returns: how many orders were ended.
    """
    ended = transaction.run(
        f"""UPDATE orders SET ended_at = :now, error = :error
            WHERE account_id = :account_id AND ended_at IS NULL AND certificate_id IS NULL
              AND EXISTS (SELECT 1 FROM authorizations a JOIN challenges c ON c.authorization_id = a.id
                          WHERE a.order_id = orders.id AND c.type = :kind
                            AND c.validated_at IS NULL AND c.failed_at IS NULL AND {_ALONE})""",  # noqa: S608 - a constant
        account_id=account_id,
        kind=kind,
        now=now,
        error=fault_as_text(error),
    )
    pending = """SELECT c.id FROM challenges c JOIN authorizations a ON a.id = c.authorization_id
                 WHERE a.account_id = :account_id AND a.deactivated_at IS NULL AND a.revoked_at IS NULL
                   AND c.type = :kind AND c.validated_at IS NULL AND c.failed_at IS NULL"""
    transaction.run(
        f"DELETE FROM challenges WHERE id IN ({pending} AND NOT {_ALONE})",  # noqa: S608 - constants
        account_id=account_id,
        kind=kind,
    )
    transaction.run(
        f"UPDATE challenges SET failed_at = :now, error = :error WHERE id IN ({pending})",  # noqa: S608 - a constant
        account_id=account_id,
        kind=kind,
        now=now,
        error=fault_as_text(error),
    )
    return ended


def deactivate_authorization(transaction: Transaction, authorization_id: str, now: int) -> bool:
    """Deactivate an authorization on its owner's word, once."""
    return bool(
        transaction.run(
            """UPDATE authorizations SET deactivated_at = :now
               WHERE id = :id AND deactivated_at IS NULL AND revoked_at IS NULL""",
            id=authorization_id,
            now=now,
        )
    )


def revoke_proofs(
    transaction: Transaction,
    instance_id: str,
    names: Iterable[Identifier] | None,
    error: Fault,
    now: int,
) -> int:
    """End what an instance has proven: its valid authorizations and every open order that leans on one.

    :param names: only authorizations for these names; None for all of them.
    :returns: how many orders were ended.
    """
    rows = transaction.rows(
        """SELECT a.id, a.order_id, a.identifier_type, a.identifier_value, a.wildcard
           FROM challenges c JOIN authorizations a ON a.id = c.authorization_id
           WHERE c.instance_id = :instance_id AND c.validated_at IS NOT NULL
             AND a.revoked_at IS NULL AND a.expires_at > :now""",
        instance_id=instance_id,
        now=now,
    )
    wanted = None if names is None else set(names)
    ended = 0
    for row in rows:
        value = ("*." if row["wildcard"] else "") + row["identifier_value"]
        if wanted is None or Identifier(row["identifier_type"], value) in wanted:
            transaction.run("UPDATE authorizations SET revoked_at = :now WHERE id = :id", id=row["id"], now=now)
            if row["order_id"] is not None:
                ended += end(transaction, row["order_id"], error, now)
    return ended


def set_finalized(transaction: Transaction, order_id: str, certificate_id: str, now: int) -> bool:
    """Tie an order to its certificate; False if it has one, has ended or expired, or an authorization is not valid."""
    return bool(
        transaction.run(
            """UPDATE orders SET certificate_id = :certificate_id
               WHERE id = :id AND certificate_id IS NULL AND ended_at IS NULL AND expires_at > :now
                 AND NOT EXISTS (SELECT 1 FROM authorizations a
                                 WHERE a.order_id = orders.id
                                   AND (a.deactivated_at IS NOT NULL OR a.revoked_at IS NOT NULL
                                        OR a.expires_at <= :now
                                        OR NOT EXISTS (SELECT 1 FROM challenges c
                                                       WHERE c.authorization_id = a.id
                                                         AND c.validated_at IS NOT NULL)))""",
            id=order_id,
            certificate_id=certificate_id,
            now=now,
        )
    )
