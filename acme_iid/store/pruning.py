"""What can go from the store: finding it, counting it, and removing it a few rows at a time.

Whether something can go is said by facts and by moments that the caller gives, never by what else has gone: so what is
counted beforehand is what is removed then. Whatever refers to a row goes before it, in the same transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from acme_iid.store.database import Reader, Row, Transaction


class Ends(NamedTuple):
    """The moments by which something must have ended, seconds.

    :ivar orders: what led to no certificate, and external keys.
    :ivar certificates: certificates with their orders, and enrolments.
    :ivar revoked: certificates that were revoked, besides.
    :ivar now: the present.
    """

    orders: int
    certificates: int
    revoked: int
    now: int


class Expired(NamedTuple):
    """A certificate that can go by its own end, and its order.

    :ivar replaces: the RFC 9773 identifier of the certificate that it replaced.
    """

    id: str
    serial: str
    not_after: int
    order_id: str
    replaces: str | None


_UNUSED = "NOT EXISTS (SELECT 1 FROM authorizations a WHERE a.order_id = o.id AND a.expires_at > :end)"
"""An authorization can outlive its order: it still says which names its account may revoke."""
_OVER = "c.not_after <= :end AND (c.revoked_at IS NULL OR c.not_after <= :revoked)"
_KINDS: Mapping[str, tuple[str, str]] = {
    "orders": (
        "orders",
        f"""SELECT o.id FROM orders o WHERE o.certificate_id IS NULL AND o.expires_at <= :end
            AND (o.ended_at IS NULL OR o.ended_at <= :end) AND {_UNUSED}""",  # noqa: S608 - constants only
    ),
    "authorizations": ("orders", "SELECT o.id FROM authorizations o WHERE o.order_id IS NULL AND o.expires_at <= :end"),
    # The accounts that were made with one keep its id and their binding.
    "external_keys": ("orders", "SELECT o.id FROM external_keys o WHERE o.expires_at <= :end"),
    "enrolments": (
        "certificates",
        """SELECT o.id FROM enrolments o WHERE o.ended_at <= :end
           AND NOT EXISTS (SELECT 1 FROM accounts a WHERE a.enrolment_id = o.id)
           AND NOT EXISTS (SELECT 1 FROM external_keys k WHERE k.enrolment_id = o.id
                           AND (k.expires_at IS NULL OR k.expires_at > :end))""",
    ),
}
"""What needs no look at anything but rows: by which of the moments it must have ended, and which it is."""
KINDS: Sequence[str] = tuple(_KINDS)
"""In the order in which they go: an enrolment after its keys."""


def count(reader: Reader, kind: str, ends: Ends) -> int:
    """How many of a kind can go."""
    moment, wanted = _KINDS[kind]
    rows = reader.rows(f"SELECT count(*) AS found FROM ({wanted}) AS gone", end=getattr(ends, moment))  # noqa: S608
    found: int = rows[0]["found"]
    return found


def remove(transaction: Transaction, kind: str, ends: Ends, most: int) -> int:
    """Remove up to ``most`` of a kind, with what refers to them; how many."""
    moment, wanted = _KINDS[kind]
    rows = transaction.rows(f"{wanted} LIMIT :most", end=getattr(ends, moment), most=most)
    ids = [row["id"] for row in rows]
    if kind == "orders":
        _remove_orders(transaction, ids)
    elif kind == "authorizations":
        _delete(transaction, "challenges", "authorization_id", ids)
        _delete(transaction, "authorizations", "id", ids)
    else:
        _delete(transaction, kind, "id", ids)
    return len(ids)


def expired(reader: Reader, ends: Ends, after: tuple[int, str], most: int) -> list[Expired]:
    """Certificates that can go by their own end, those that ended first before the others.

    :param after: the end and the id of the one to go on behind.
    """
    rows = reader.rows(
        f"""SELECT c.id, c.serial, c.not_after, c.order_id, o.replaces
            FROM certificates c JOIN orders o ON o.id = c.order_id
            WHERE {_OVER} AND {_UNUSED}
              AND c.not_after >= :not_after AND (c.not_after > :not_after OR c.id > :id)
            ORDER BY c.not_after, c.id LIMIT :most""",  # noqa: S608 - constants only
        end=ends.certificates,
        revoked=ends.revoked,
        not_after=after[0],
        id=after[1],
        most=most,
    )
    return [Expired(row["id"], row["serial"], row["not_after"], row["order_id"], row["replaces"]) for row in rows]


def open_replacements(reader: Reader, now: int) -> list[str]:
    """The RFC 9773 identifiers of the certificates that open orders are to replace."""
    rows = reader.rows(
        """SELECT replaces FROM orders WHERE certificate_id IS NULL AND expires_at > :now
           AND ended_at IS NULL AND replaces IS NOT NULL""",
        now=now,
    )
    return [row["replaces"] for row in rows]


def staying(reader: Reader, serials: Sequence[str], ends: Ends) -> set[str]:
    """Those of some certificates, by serial numbers, that are here and cannot go by their own end."""
    if not serials:
        return set()
    rows = _where_in(
        reader,
        f"SELECT c.serial FROM certificates c WHERE NOT ({_OVER}) AND c.serial",  # noqa: S608 - a constant
        serials,
        end=ends.certificates,
        revoked=ends.revoked,
    )
    return {row["serial"] for row in rows}


def remove_certificates(transaction: Transaction, gone: Sequence[Expired]) -> None:
    """Remove certificates with their orders."""
    _delete(transaction, "certificates", "id", [certificate.id for certificate in gone])
    _remove_orders(transaction, [certificate.order_id for certificate in gone])


def listed_until(reader: Reader) -> int | None:
    """Up to which end of theirs certificates were in a revocation list after it; None if there was no list.

    A revoked certificate stands in one more list after its end (RFC 5280 section 3.3).
    """
    found: int | None = reader.rows("SELECT max(since) AS until FROM revocation_lists")[0]["until"]
    return found


def _remove_orders(transaction: Transaction, ids: Sequence[str]) -> None:
    if ids:
        names, values = _numbered(ids)
        transaction.run(
            f"""DELETE FROM challenges WHERE authorization_id IN
                (SELECT id FROM authorizations WHERE order_id IN ({names}))""",  # noqa: S608 - numbers only
            **values,
        )
        _delete(transaction, "authorizations", "order_id", ids)
        _delete(transaction, "orders", "id", ids)


def _delete(transaction: Transaction, table: str, column: str, values: Sequence[str]) -> None:
    if values:
        names, numbered = _numbered(values)
        transaction.run(f"DELETE FROM {table} WHERE {column} IN ({names})", **numbered)  # noqa: S608 - our own words


def _where_in(reader: Reader, statement: str, values: Sequence[str], **parameters: object) -> list[Row]:
    names, numbered = _numbered(values)
    return reader.rows(f"{statement} IN ({names})", **numbered, **parameters)


def _numbered(values: Iterable[str]) -> tuple[str, dict[str, str]]:
    """Names for the values in a statement, and which is which."""
    numbered = {f"v{number}": value for number, value in enumerate(values)}
    return ", ".join(f":{name}" for name in numbered), numbered
