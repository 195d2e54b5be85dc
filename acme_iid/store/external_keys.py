"""External account keys: what an operator hands out so that its holder may make an account (RFC 8555 section 7.3.4)."""

from __future__ import annotations

from acme_iid.protocol.resources import ExternalKey
from acme_iid.store.listing import Filter
from acme_iid.store.writes import Reader, Row, Statement, Verdict, again


def _key(row: Row) -> ExternalKey:
    return ExternalKey(
        id=row["id"],
        secret=row["secret"],
        label=row["label"],
        reusable=bool(row["reusable"]),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        used_at=row["used_at"],
        account_id=row["account_id"],
        revoked_at=row["revoked_at"],
        enrolment_id=row["enrolment_id"],
    )


def get(reader: Reader, key_id: str) -> ExternalKey | None:
    """The key with this id."""
    rows = reader.rows("SELECT * FROM external_keys WHERE id = :id", id=key_id)
    return _key(rows[0]) if rows else None


def page(reader: Reader, criteria: Filter) -> list[ExternalKey]:
    """External keys, newest first."""
    rows = criteria.page(reader, "SELECT * FROM external_keys", {}, time="created_at", key="id")
    return [_key(row) for row in rows]


def add(key: ExternalKey) -> Statement:
    """Add a key."""
    return Statement(
        """INSERT INTO external_keys (id, secret, label, reusable, created_at, expires_at, enrolment_id)
           VALUES (:id, :secret, :label, :reusable, :created_at, :expires_at, :enrolment_id)""",
        {
            "id": key.id,
            "secret": key.secret,
            "label": key.label,
            "reusable": int(key.reusable),
            "created_at": key.created_at,
            "expires_at": key.expires_at,
            "enrolment_id": key.enrolment_id,
        },
    )


def use(key_id: str, account_id: str, now: int, verdict: Verdict) -> Statement:
    """Bind a key to the account that it makes, unless it is used up, revoked or has run out.

    One statement, so that of two accounts that race for a key one gets it. The keys of an enrolment that has ended, or
    whose instance has lost what it had proven, make no account.
    """
    return Statement(
        """UPDATE external_keys SET account_id = :account_id, used_at = :now
           WHERE id = :id AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > :now)
             AND (reusable = 1 OR account_id IS NULL)
             AND (enrolment_id IS NULL OR EXISTS (
                  SELECT 1 FROM enrolments e LEFT JOIN instances i ON i.id = e.instance_id
                  WHERE e.id = external_keys.enrolment_id AND e.ended_at IS NULL
                    AND e.generation = COALESCE(i.generation, 0)))""",
        {"id": key_id, "account_id": account_id, "now": now},
        verdict,
    )


def revoke(key_id: str, now: int) -> Statement:
    """Let a key make no further account, unless it was revoked before."""
    return Statement(
        "UPDATE external_keys SET revoked_at = :now WHERE id = :id AND revoked_at IS NULL",
        {"id": key_id, "now": now},
        again,
    )


def revoke_of_enrolment(enrolment_id: str, now: int) -> Statement:
    """Let the keys of an enrolment that made no account make none."""
    return Statement(
        """UPDATE external_keys SET revoked_at = :now
           WHERE enrolment_id = :id AND account_id IS NULL AND revoked_at IS NULL""",
        {"id": enrolment_id, "now": now},
    )
