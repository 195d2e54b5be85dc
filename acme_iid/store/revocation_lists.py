"""Revocation lists as they were signed, and what stands in one."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from acme_iid.store.writes import Reader, Row, Statement, Verdict

_REVOKED = """((SELECT COUNT(*) FROM certificates
                WHERE revoked_at IS NOT NULL AND issuer_id = :issuer_id AND not_after > :since)
             + (SELECT COUNT(*) FROM unrecorded_revocations WHERE issuer_id = :issuer_id AND not_after > :since))"""


@dataclass(frozen=True, slots=True)
class SignedList:
    """The latest list of an issuing key.

    :ivar key_id: the SHA-256 of the issuer's SubjectPublicKeyInfo, hex.
    :ivar number: its CRL number; strictly growing for a key.
    :ivar since: certificates that end after this are in it, if they were revoked; seconds.
    :ivar revoked: the number of those certificates.
    :ivar signed_at: seconds.
    :ivar next_update: seconds; until then it can be relied on.
    :ivar der: the list itself.
    """

    key_id: str
    number: int
    since: int
    revoked: int
    signed_at: int
    next_update: int
    der: bytes


def latest(reader: Reader, key_id: str) -> SignedList | None:
    """The latest list of an issuing key."""
    rows = reader.rows("SELECT * FROM revocation_lists WHERE key_id = :key_id", key_id=key_id)
    return _signed_list(rows[0]) if rows else None


def _signed_list(row: Row) -> SignedList:
    return SignedList(
        key_id=row["key_id"],
        number=row["number"],
        since=row["since"],
        revoked=row["revoked"],
        signed_at=row["signed_at"],
        next_update=row["next_update"],
        der=base64.b64decode(row["der"]),
    )


def put(signed: SignedList, previous: int | None, verdict: Verdict) -> Statement:
    """Put a list in the place of the one with the number ``previous`` (None for none).

    :param verdict: if that is gone.
    """
    fields: dict[str, object] = {
        "key_id": signed.key_id,
        "number": signed.number,
        "since": signed.since,
        "revoked": signed.revoked,
        "signed_at": signed.signed_at,
        "next_update": signed.next_update,
        "der": base64.b64encode(signed.der).decode(),
    }
    if previous is None:
        statement = """INSERT INTO revocation_lists (key_id, number, since, revoked, signed_at, next_update, der)
                       VALUES (:key_id, :number, :since, :revoked, :signed_at, :next_update, :der)
                       ON CONFLICT DO NOTHING"""
        return Statement(statement, fields, verdict)
    return Statement(
        """UPDATE revocation_lists SET number = :number, since = :since, revoked = :revoked,
                  signed_at = :signed_at, next_update = :next_update, der = :der
           WHERE key_id = :key_id AND number = :previous""",
        {**fields, "previous": previous},
        verdict,
    )


def whole(signed: SignedList, verdict: Verdict) -> Statement:
    """Rely on it that a list names every certificate that it has to.

    :param verdict: if one was revoked after it was signed.
    """
    return Statement(
        f"""SELECT 1 FROM revocation_lists
            WHERE key_id = :issuer_id AND number = :number AND :revoked = {_REVOKED}""",  # noqa: S608 - our own words
        {"issuer_id": signed.key_id, "number": signed.number, "since": signed.since, "revoked": signed.revoked},
        verdict,
    )


def revoked(reader: Reader, issuer_id: str, since: int) -> list[tuple[str, int, int]]:
    """An issuer's revoked certificates that end after ``since``: serial number in hex, when it was revoked, reason."""
    recorded = reader.rows(
        """SELECT serial, revoked_at, revocation_reason FROM certificates
           WHERE revoked_at IS NOT NULL AND issuer_id = :issuer_id AND not_after > :since ORDER BY not_after""",
        issuer_id=issuer_id,
        since=since,
    )
    # By itself: of both together PostgreSQL would sort the whole.
    unrecorded = reader.rows(
        """SELECT serial, revoked_at, revocation_reason FROM unrecorded_revocations
           WHERE issuer_id = :issuer_id AND not_after > :since ORDER BY not_after""",
        issuer_id=issuer_id,
        since=since,
    )
    rows = [*recorded, *unrecorded]
    return [(row["serial"], row["revoked_at"], row["revocation_reason"]) for row in rows]


def count(reader: Reader, issuer_id: str, since: int) -> int:
    """The number of an issuer's revoked certificates that end after ``since``: it only grows, whatever clocks say."""
    rows = reader.rows(
        """SELECT COUNT(*) AS number FROM certificates
           WHERE revoked_at IS NOT NULL AND issuer_id = :issuer_id AND not_after > :since
           UNION ALL SELECT COUNT(*) FROM unrecorded_revocations WHERE issuer_id = :issuer_id AND not_after > :since""",
        issuer_id=issuer_id,
        since=since,
    )
    return sum(row["number"] for row in rows)
