"""The issuers, whose chains certificates are handed out with, and which of them signs (rfc-notes/decisions/0034)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from acme_iid.protocol.standing import Standing
from acme_iid.store.writes import Reader, Row, Statement, Verdict, again

_SIGNING = """SELECT id FROM issuers WHERE activated_at IS NOT NULL AND retired_at IS NULL
              ORDER BY activated_at DESC, id LIMIT 1"""


@dataclass(frozen=True, slots=True)
class StoredIssuer:
    """An issuer and what has happened to it; times are seconds.

    :ivar id: the SHA-256 of its SubjectPublicKeyInfo, hex.
    :ivar certificate: its own, in DER.
    :ivar chain: what follows a leaf, PEM.
    :ivar noted_at: when a server first had its key.
    :ivar activated_at: when it began to sign; None while it is prepared.
    :ivar retired_at: when it stopped for good.
    :ivar compromised_at: when its key was said to be stolen.
    """

    id: str
    certificate: bytes
    chain: str
    noted_at: int
    activated_at: int | None
    retired_at: int | None
    compromised_at: int | None


def note(issuer_id: str, certificate: bytes, chain: str, now: int) -> Statement:
    """Note an issuer, whose certificates need its part of their chains; once more renews its chain.

    :param certificate: its own, in DER.
    :param chain: what follows a leaf, PEM.
    """
    return Statement(
        """INSERT INTO issuers (id, certificate, chain, noted_at) VALUES (:id, :certificate, :chain, :now)
           ON CONFLICT (id) DO UPDATE SET certificate = excluded.certificate, chain = excluded.chain""",
        {"id": issuer_id, "certificate": certificate, "chain": chain, "now": now},
    )


def activate_first(issuer_id: str, now: int) -> Statement:
    """Have an issuer sign, if no other ever did."""
    return Statement(
        """UPDATE issuers SET activated_at = :now
           WHERE id = :id AND NOT EXISTS (SELECT 1 FROM issuers WHERE activated_at IS NOT NULL)""",
        {"id": issuer_id, "now": now},
    )


def activate(issuer_id: str, former_id: str, now: int) -> Statement:
    """Have a prepared issuer sign from now on, in the place of ``former_id``, if that one still signs.

    It is activated after every other one, even where a clock was set back or both are of one second: the latest signs.
    """
    return Statement(
        f"""UPDATE issuers SET activated_at = CASE
               WHEN (SELECT max(activated_at) FROM issuers) < :now THEN :now
               ELSE (SELECT max(activated_at) FROM issuers) + 1 END
           WHERE id = :id AND activated_at IS NULL AND retired_at IS NULL AND compromised_at IS NULL
             AND ({_SIGNING}) = :former""",  # noqa: S608 - our own words
        {"id": issuer_id, "former": former_id, "now": now},
        again,
    )


def compromise(issuer_id: str, activated_at: int | None, now: int) -> Statement:
    """Note that an issuer's key is not the CA's alone; the one that signs is not noted.

    :param activated_at: when it began to sign, None for a prepared one, as was read: one that is activated meanwhile
        is not noted either. PostgreSQL looks at this row as it is by then, and at others as they were.
    """
    return Statement(
        f"""UPDATE issuers SET compromised_at = :now
           WHERE id = :id AND compromised_at IS NULL AND coalesce(activated_at, -1) = :activated_at
             AND ({_SIGNING}) <> :id""",  # noqa: S608 - our own words
        {"id": issuer_id, "activated_at": -1 if activated_at is None else activated_at, "now": now},
        again,
    )


def retire(issuer_id: str, now: int) -> Statement:
    """Have a former issuer sign nothing any more; one that signs, or never did, is not retired."""
    return Statement(
        f"""UPDATE issuers SET retired_at = :now
           WHERE id = :id AND activated_at IS NOT NULL AND retired_at IS NULL AND ({_SIGNING}) <> :id""",  # noqa: S608
        {"id": issuer_id, "now": now},
        again,
    )


def in_service(issuer_id: str, verdict: Verdict) -> Statement:
    """Rely on it that an issuer is not retired, so that a list that it signs can still name a certificate."""
    return Statement(
        "SELECT id FROM issuers WHERE id = :id AND retired_at IS NULL", {"id": issuer_id}, verdict, shared=True
    )


def signing(reader: Reader) -> str | None:
    """The id of the issuer that signs; None before the first server has started."""
    rows = reader.rows(_SIGNING)
    return rows[0]["id"] if rows else None


def chain(reader: Reader, issuer_id: str) -> str | None:
    """What follows the leaves of an issuer, PEM; None for one that was never noted."""
    rows = reader.rows("SELECT chain FROM issuers WHERE id = :id", id=issuer_id)
    return rows[0]["chain"] if rows else None


def get(reader: Reader, issuer_id: str) -> StoredIssuer | None:
    """One issuer."""
    rows = reader.rows("SELECT * FROM issuers WHERE id = :id", id=issuer_id)
    return _issuer(rows[0]) if rows else None


def retired(reader: Reader) -> frozenset[str]:
    """The ids of the issuers that are retired."""
    return frozenset(row["id"] for row in reader.rows("SELECT id FROM issuers WHERE retired_at IS NOT NULL"))


def standings(entries: Sequence[StoredIssuer]) -> dict[str, Standing]:
    """Where issuers stand, by their ids.

    :param entries: all that there are.
    """
    moments = sorted(entry.activated_at for entry in entries if entry.activated_at is not None)

    def replaced_at(entry: StoredIssuer) -> int | None:
        if entry.activated_at is None:
            return None
        return next((moment for moment in moments if moment > entry.activated_at), None)

    return {
        entry.id: Standing(entry.activated_at, replaced_at(entry), entry.retired_at, entry.compromised_at)
        for entry in entries
    }


def every(reader: Reader) -> list[StoredIssuer]:
    """All issuers, in the order in which they were noted."""
    return [_issuer(row) for row in reader.rows("SELECT * FROM issuers ORDER BY noted_at, id")]


def _issuer(row: Row) -> StoredIssuer:
    return StoredIssuer(
        row["id"],
        bytes(row["certificate"]),
        row["chain"],
        row["noted_at"],
        row["activated_at"],
        row["retired_at"],
        row["compromised_at"],
    )
