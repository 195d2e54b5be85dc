"""Issued certificates, and the names that revocation closed to an instance."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Literal, NamedTuple

from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.renewal import Window
from acme_iid.protocol.resources import Certificate, InstanceKey
from acme_iid.store import searches
from acme_iid.store.listing import Filter, Position
from acme_iid.store.serials import OrderId, number_of
from acme_iid.store.writes import Question, Reader, Row, Statement, Verdict, again, ask

Status = Literal["valid", "expired", "revoked"]

_SELECT = "SELECT c.*, o.tag FROM certificates c JOIN orders o ON o.n = c.n"
_CONDITIONS: Mapping[Status, str] = {
    "valid": "c.revoked_at IS NULL AND c.not_after > :now",
    "expired": "c.revoked_at IS NULL AND c.not_after <= :now",
    "revoked": "c.revoked_at IS NOT NULL",
}
_COLUMNS = (
    "account_id", "issuer_id", "issued_at", "not_before", "not_after", "image", "provisioner", "profile", "serial",
    "key_id", "renew_from", "renew_until", "revoked_at", "revocation_reason", "revoked_by",
)  # fmt: skip


def _certificate(row: Row) -> Certificate:
    return Certificate(
        id=f"{row['n']}.{row['tag']}",
        names=tuple(Identifier(*pair) for pair in json.loads(row["names"])),
        der=bytes(row["der"]),
        instance=row["instance_id"],
        **{name: row[name] for name in _COLUMNS},
    )


def get(reader: Reader, certificate_id: str) -> Certificate | None:
    """The certificate with this id, which is its order's."""
    order_id = OrderId.read(certificate_id)
    rows = [] if order_id is None else ask(reader, question(order_id.n))
    return _certificate(rows[0]) if rows and order_id is not None and rows[0]["tag"] == order_id.tag else None


def question(n: int) -> Question:
    """The question of :func:`get` and :func:`by_serial`."""
    return Question(f"{_SELECT} WHERE c.n = :n", {"n": n})


def by_serial(reader: Reader, serial: str) -> Certificate | None:
    """The certificate with this serial number (lower-case hex without leading zeros)."""
    n = number_of(serial)
    rows = [] if n is None else ask(reader, question(n))
    # The number alone is no secret: the whole serial number has to be the certificate's.
    return _certificate(rows[0]) if rows and rows[0]["serial"] == serial else None


def of_instance(reader: Reader, instance_id: str) -> list[Certificate]:
    """An instance's certificates, newest first, as far as events are followed (:mod:`acme_iid.store.lookups`)."""
    certificates: list[Certificate] = []
    before: Position | None = None
    while rows := searches.certificates(reader, Filter(instance=instance_id, before=before, limit=500), (), 0):
        certificates += map(_certificate, rows)
        before = Position(rows[-1]["issued_at"], rows[-1]["n"])
    return certificates


def page(
    reader: Reader, criteria: Filter, status: Status | None, now: int, *, ends_before: int | None = None
) -> list[Certificate]:
    """Issued certificates, newest first, as far as events are followed (:mod:`acme_iid.store.lookups`).

    :param ends_before: only those that end before this time, seconds.
    """
    where = [] if status is None else [_CONDITIONS[status]]
    if ends_before is not None:
        where.append("c.not_after < :ends_before")
    return [_certificate(row) for row in searches.certificates(reader, criteria, where, now, ends_before=ends_before)]


def position(certificate: Certificate) -> Position:
    """Where a certificate stands in the list."""
    return Position(certificate.issued_at, number(certificate))


def number(certificate: Certificate) -> int:
    """A certificate's number, which is its order's."""
    order_id = OrderId.read(certificate.id)
    assert order_id is not None  # it was read from a row
    return order_id.n


def add(certificate: Certificate, instance: InstanceKey | None, verdict: Verdict = again) -> Statement:
    """Add an issued certificate. Its order can have no other: they share a number, the primary key.

    No certificate is added under an issuer that is retired or compromised: the list that would have to name it is
    signed, or nobody believes it.

    :param instance: the instance that proved itself for it; None for a host.
    :param verdict: if it was not added.
    """
    return Statement(
        """INSERT INTO certificates (n, account_id, issuer_id, issued_at, not_before, not_after, instance_id, cloud,
                                     owner, image, provisioner, profile, serial, key_id, names, der)
           SELECT :n, :account_id, :issuer_id, :issued_at, :not_before, :not_after, :instance_id, :cloud, :owner,
                  :image, :provisioner, :profile, :serial, :key_id, :names, :der
           WHERE NOT EXISTS (SELECT 1 FROM issuers WHERE id = :issuer_id
                             AND (retired_at IS NOT NULL OR compromised_at IS NOT NULL))
           ON CONFLICT DO NOTHING""",
        {
            "n": number(certificate),
            "account_id": certificate.account_id,
            "issuer_id": certificate.issuer_id,
            "issued_at": certificate.issued_at,
            "not_before": certificate.not_before,
            "not_after": certificate.not_after,
            "instance_id": certificate.instance,
            "cloud": None if instance is None else instance.cloud,
            "owner": None if instance is None else instance.owner,
            "image": certificate.image,
            "provisioner": certificate.provisioner,
            "profile": certificate.profile,
            "serial": certificate.serial,
            "key_id": certificate.key_id,
            "names": json.dumps(certificate.names, separators=(",", ":")),
            "der": certificate.der,
        },
        verdict,
    )


def count_valid(reader: Reader, criteria: Filter, now: int) -> int:
    """The number of certificates that :func:`page` would give in all, of those that are valid."""
    count, before = 0, criteria.before
    while certificates := page(reader, replace(criteria, limit=1000, before=before), "valid", now):
        count += len(certificates)
        before = position(certificates[-1])
    return count


def last_end(reader: Reader, issuer_id: str, now: int) -> int | None:
    """When the last of an issuer's certificates ends, seconds; None if all have ended."""
    rows = reader.rows(
        """SELECT not_after FROM certificates WHERE issuer_id = :issuer_id AND not_after > :now
           ORDER BY not_after DESC LIMIT 1""",
        issuer_id=issuer_id,
        now=now,
    )
    return rows[0]["not_after"] if rows else None


class UnderIssuer(NamedTuple):
    """The certificates of one issuer.

    :ivar valid: the number of those that have not ended and were not revoked.
    :ivar longest: the longest life of those, in seconds.
    :ivar last_end: when the last of all ends, revoked or not, seconds; None if all have ended.
    """

    valid: int
    longest: int
    last_end: int | None


def under_issuer(reader: Reader, issuer_id: str, now: int) -> UnderIssuer:
    """The certificates that an issuer has signed and that are in the store."""
    rows = reader.rows(
        """SELECT count(*) AS valid, max(not_after - not_before) AS longest FROM certificates
           WHERE issuer_id = :id AND not_after > :now AND revoked_at IS NULL""",
        id=issuer_id,
        now=now,
    )
    return UnderIssuer(rows[0]["valid"], rows[0]["longest"] or 0, last_end(reader, issuer_id, now))


def set_window(certificate: Certificate, window: Window) -> Statement:
    """Say when a certificate that was not revoked should be renewed."""
    return Statement(
        "UPDATE certificates SET renew_from = :start, renew_until = :end WHERE n = :n AND revoked_at IS NULL",
        {"n": number(certificate), "start": window.start, "end": window.end},
    )


def revoke(certificate: Certificate, reason: int, revoked_by: str, now: int) -> Statement:
    """Revoke a certificate, once."""
    return Statement(
        """UPDATE certificates SET revoked_at = :now, revocation_reason = :reason, revoked_by = :revoked_by
           WHERE n = :n AND revoked_at IS NULL""",
        {"n": number(certificate), "reason": reason, "revoked_by": revoked_by, "now": now},
        again,
    )


def close_names(instance_id: str, names: Iterable[Identifier], now: int) -> list[Statement]:
    """Close names to an instance until an operator reopens them."""
    return [
        Statement(
            """INSERT INTO closed_names (instance_id, name, closed_at) VALUES (:instance_id, :name, :now)
               ON CONFLICT DO NOTHING""",
            {"instance_id": instance_id, "name": name.value, "now": now},
        )
        for name in names
    ]


def closed_names(reader: Reader, instance_id: str) -> set[str]:
    """The names that are closed to an instance."""
    rows = reader.rows("SELECT name FROM closed_names WHERE instance_id = :id", id=instance_id)
    return {row["name"] for row in rows}


def reopen_name(instance_id: str, name: str) -> Statement:
    """Open a closed name again."""
    return Statement(
        "DELETE FROM closed_names WHERE instance_id = :instance_id AND name = :name",
        {"instance_id": instance_id, "name": name},
        again,
    )
