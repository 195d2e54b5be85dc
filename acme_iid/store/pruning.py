"""Rows that can go from the store: finding them, counting them, and removing a few at a time.

Whether something can go is said by facts and by moments that the caller gives, never by what else has gone: so what is
counted beforehand is what is removed then. All that refers to a row goes before it, in the same write.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from acme_iid.store import documents
from acme_iid.store.serials import number_of
from acme_iid.store.writes import Reader, Row, Statement


class Ends(NamedTuple):
    """The moments by which something must have ended, seconds.

    :ivar orders: for orders and authorizations that led to no certificate, and external keys.
    :ivar certificates: for certificates with their orders, and enrolments.
    :ivar revoked: for certificates that were revoked, besides.
    :ivar now: the present.
    """

    orders: int
    certificates: int
    revoked: int
    now: int


class Expired(NamedTuple):
    """A certificate that can go by its own end, with its order, whose number it has.

    :ivar replaces: the RFC 9773 identifier of the certificate that it replaced.
    """

    n: int
    serial: str
    not_after: int
    replaces: str | None


_OVER = "c.not_after <= :end AND (c.revoked_at IS NULL OR c.not_after <= :revoked)"
_KINDS: Mapping[str, tuple[str, str, str]] = {
    "orders": (
        "orders",
        "n",
        """SELECT o.n AS id FROM orders o WHERE o.ahead = 0 AND o.issued_at IS NULL AND o.expires_at <= :end
           AND (o.ended_at IS NULL OR o.ended_at <= :end)""",
    ),
    # One that an order took goes with it.
    "authorizations": (
        "orders",
        "n",
        """SELECT o.n AS id FROM orders o WHERE o.ahead = 1 AND o.issued_at IS NULL AND o.expires_at <= :end
           AND o.taken_at IS NULL""",
    ),
    # The accounts that were made with one keep its id and their binding.
    "external_keys": ("orders", "id", "SELECT o.id FROM external_keys o WHERE o.expires_at <= :end"),
    "enrolments": (
        "certificates",
        "id",
        """SELECT o.id FROM enrolments o WHERE o.ended_at <= :end
           AND NOT EXISTS (SELECT 1 FROM accounts a WHERE a.enrolment_id = o.id)
           AND NOT EXISTS (SELECT 1 FROM external_keys k WHERE k.enrolment_id = o.id
                           AND (k.expires_at IS NULL OR k.expires_at > :end))""",
    ),
}
"""Each kind whose rows alone say that they can go: the moment by which they must have ended, their key, their query."""
KINDS: Sequence[str] = tuple(_KINDS)
"""In the order in which they go: an enrolment after its keys."""


def count(reader: Reader, kind: str, ends: Ends) -> int:
    """The number of things of a kind that can go."""
    moment, _, query = _KINDS[kind]
    rows = reader.rows(f"SELECT count(*) AS number FROM ({query}) AS gone", end=getattr(ends, moment))  # noqa: S608
    number: int = rows[0]["number"]
    return number


def removed(reader: Reader, kind: str, ends: Ends, most: int) -> tuple[int, list[Statement]]:
    """The things of a kind that can go, ``most`` at most: their number, and the statements that remove them.

    Rows that refer to them go, too.
    """
    moment, key, query = _KINDS[kind]
    rows = reader.rows(f"{query} LIMIT :most", most=most, end=getattr(ends, moment))
    ids = [row["id"] for row in rows]
    return len(ids), _orders(reader, ids) if key == "n" else _delete(kind, key, ids)


def expired(reader: Reader, ends: Ends, after: tuple[int, int], most: int) -> list[Expired]:
    """Certificates that can go by their own end, those that ended first before the others.

    :param after: the end and the number of the one to go on behind.
    """
    rows = reader.rows(
        f"""SELECT c.n, c.serial, c.not_after, o.replaces FROM certificates c JOIN orders o ON o.n = c.n
            WHERE {_OVER} AND c.not_after >= :not_after AND (c.not_after > :not_after OR c.n > :n)
            ORDER BY c.not_after, c.n LIMIT :most""",  # noqa: S608 - constants only
        end=ends.certificates,
        revoked=ends.revoked,
        not_after=after[0],
        n=after[1],
        most=most,
    )
    return [Expired(row["n"], row["serial"], row["not_after"], row["replaces"]) for row in rows]


def open_replacements(reader: Reader, now: int) -> list[str]:
    """The RFC 9773 identifiers of the certificates that open orders are to replace."""
    rows = reader.rows(
        """SELECT replaces FROM orders WHERE issued_at IS NULL AND expires_at > :now
           AND ended_at IS NULL AND replaces IS NOT NULL""",
        now=now,
    )
    return [row["replaces"] for row in rows]


def staying(reader: Reader, serials: Sequence[str], ends: Ends) -> set[str]:
    """Those of some certificates, by serial numbers, that are here and cannot go by their own end."""
    numbers = [n for serial in serials if (n := number_of(serial)) is not None]
    if not numbers:
        return set()
    rows = _where_in(
        reader,
        f"SELECT c.serial FROM certificates c WHERE NOT ({_OVER}) AND c.n",  # noqa: S608 - a constant
        numbers,
        end=ends.certificates,
        revoked=ends.revoked,
    )
    return {row["serial"] for row in rows} & set(serials)


def remove_certificates(reader: Reader, gone: Sequence[Expired]) -> list[Statement]:
    """Remove certificates with their orders."""
    numbers = [certificate.n for certificate in gone]
    return _delete("certificates", "n", numbers) + _orders(reader, numbers)


def listed_until(reader: Reader) -> int | None:
    """Up to which end of theirs certificates were in a list after it; None if there was no list.

    A revoked certificate stands in one more list after its end (RFC 5280 section 3.3). Of several issuers the list that
    is the furthest behind counts; the last list of a retired one is followed by no other.
    """
    until: int | None = reader.rows(
        """SELECT min(since) AS until FROM revocation_lists
           WHERE key_id NOT IN (SELECT id FROM issuers WHERE retired_at IS NOT NULL)"""
    )[0]["until"]
    return until


def _orders(reader: Reader, numbers: Sequence[int]) -> list[Statement]:
    """Remove orders, with the authorizations that were made ahead of them and that nobody else refers to."""
    if not numbers:
        return []
    taken = [
        made.n
        for row in _where_in(reader, "SELECT n, doc FROM orders WHERE n", numbers)
        for made in documents.ahead_of(documents.parse(row))
    ]
    gone = [*numbers, *taken]
    return _delete("attempts", "n", gone) + _delete("orders", "n", gone)


def _delete(table: str, column: str, values: Sequence[str | int]) -> list[Statement]:
    if not values:
        return []
    names, numbered = _numbered(values)
    return [Statement(f"DELETE FROM {table} WHERE {column} IN ({names})", numbered)]  # noqa: S608 - our own words


def _where_in(reader: Reader, statement: str, values: Sequence[int], **parameters: object) -> list[Row]:
    names, numbered = _numbered(values)
    return reader.rows(f"{statement} IN ({names})", **numbered, **parameters)


def _numbered(values: Iterable[str | int]) -> tuple[str, dict[str, str | int]]:
    """Names for the values in a statement, and which is which."""
    numbered = {f"v{number}": value for number, value in enumerate(values)}
    return ", ".join(f":{name}" for name in numbered), numbered
