"""Revocations of certificates that the store has no row of, since it was restored from a backup of before."""

from __future__ import annotations

from dataclasses import dataclass

from acme_iid.store.writes import Reader, Statement, again


@dataclass(frozen=True, slots=True)
class UnrecordedRevocation:
    """Such a certificate, and its revocation; times are seconds.

    :ivar issuer_id: the SHA-256 of the issuer's SubjectPublicKeyInfo, hex.
    :ivar serial: lower-case hex without leading zeros.
    :ivar key_id: the SHA-256 of its SubjectPublicKeyInfo, hex.
    """

    issuer_id: str
    serial: str
    not_after: int
    key_id: str
    der: bytes
    revoked_at: int
    reason: int


def get(reader: Reader, issuer_id: str, serial: str) -> UnrecordedRevocation | None:
    """The revocation of the certificate with this serial number that an issuer has signed."""
    rows = reader.rows(
        "SELECT * FROM unrecorded_revocations WHERE issuer_id = :issuer_id AND serial = :serial",
        issuer_id=issuer_id,
        serial=serial,
    )
    for row in rows:
        return UnrecordedRevocation(
            row["issuer_id"],
            row["serial"],
            row["not_after"],
            row["key_id"],
            bytes(row["der"]),
            row["revoked_at"],
            row["revocation_reason"],
        )
    return None


def add(entry: UnrecordedRevocation) -> Statement:
    """Revoke such a certificate, once."""
    return Statement(
        """INSERT INTO unrecorded_revocations (issuer_id, serial, not_after, key_id, der, revoked_at, revocation_reason)
           VALUES (:issuer_id, :serial, :not_after, :key_id, :der, :revoked_at, :reason) ON CONFLICT DO NOTHING""",
        {
            "issuer_id": entry.issuer_id,
            "serial": entry.serial,
            "not_after": entry.not_after,
            "key_id": entry.key_id,
            "der": entry.der,
            "revoked_at": entry.revoked_at,
            "reason": entry.reason,
        },
        again,
    )
