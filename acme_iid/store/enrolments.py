"""Enrolments: what the account of an instance has handed on to delegates (rfc-notes/iid-01.md, "Enrolment")."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection

from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Enrolment, Proof
from acme_iid.store.database import Reader, Row, Transaction


def _enrolment(row: Row) -> Enrolment:
    return Enrolment(
        id=row["id"],
        account_id=row["account_id"],
        instance_id=row["instance_id"],
        names=tuple(Identifier(*pair) for pair in json.loads(row["names"])),
        proof=Proof(row["instance_id"], row["cloud"], row["provisioner"], row["credential_id"]),
        identity=row["identity"],
        created_at=row["created_at"],
        proven_at=row["proven_at"],
        expires_at=row["expires_at"],
        ended_at=row["ended_at"],
        reason=row["reason"],
    )


def get(reader: Reader, enrolment_id: str) -> Enrolment | None:
    """The enrolment with this id."""
    rows = reader.rows("SELECT * FROM enrolments WHERE id = :id", id=enrolment_id)
    return _enrolment(rows[0]) if rows else None


def of_instance(reader: Reader, instance_id: str) -> list[Enrolment]:
    """An instance's enrolments, the ended ones too; the newest first."""
    rows = reader.rows(
        "SELECT * FROM enrolments WHERE instance_id = :instance_id ORDER BY created_at DESC, id",
        instance_id=instance_id,
    )
    return [_enrolment(row) for row in rows]


def prove(transaction: Transaction, enrolment: Enrolment) -> Enrolment | None:
    """Make an enrolment, or let a new proof extend the one that is in force for the same names of the instance.

    One statement, so that of two that race one is made and the other extends it.

    :returns: the enrolment as it is then; None, and nothing changed, if its latest proof is newer than this one.
    """
    names = json.dumps(sorted(enrolment.names))
    rows = transaction.rows(
        """INSERT INTO enrolments (id, account_id, instance_id, names, names_digest, identity, cloud, provisioner,
                                   credential_id, created_at, proven_at, expires_at)
           VALUES (:id, :account_id, :instance_id, :names, :names_digest, :identity, :cloud, :provisioner,
                   :credential_id, :created_at, :proven_at, :expires_at)
           ON CONFLICT (account_id, instance_id, names_digest) WHERE ended_at IS NULL DO UPDATE
           SET identity = excluded.identity, cloud = excluded.cloud, provisioner = excluded.provisioner,
               credential_id = excluded.credential_id, proven_at = excluded.proven_at, expires_at = excluded.expires_at
           WHERE excluded.proven_at >= enrolments.proven_at
           RETURNING *""",
        id=enrolment.id,
        account_id=enrolment.account_id,
        instance_id=enrolment.instance_id,
        names=names,
        names_digest=hashlib.sha256(names.encode()).hexdigest(),
        identity=enrolment.identity,
        cloud=enrolment.proof.cloud,
        provisioner=enrolment.proof.provisioner,
        credential_id=enrolment.proof.credential_id,
        created_at=enrolment.created_at,
        proven_at=enrolment.proven_at,
        expires_at=enrolment.expires_at,
    )
    return _enrolment(rows[0]) if rows else None


def end_of_instance(
    transaction: Transaction, instance_id: str, names: Collection[Identifier] | None, reason: str, now: int
) -> list[Enrolment]:
    """End an instance's enrolments.

    :param names: only those that have one of these names; None for all.
    :returns: what was ended.
    """
    rows = transaction.rows(
        "SELECT * FROM enrolments WHERE instance_id = :instance_id AND ended_at IS NULL", instance_id=instance_id
    )
    return _end(transaction, rows, names, reason, now)


def end_of_account(transaction: Transaction, account_id: str, reason: str, now: int) -> list[Enrolment]:
    """End what an account has handed on; returns what was ended."""
    rows = transaction.rows(
        "SELECT * FROM enrolments WHERE account_id = :account_id AND ended_at IS NULL", account_id=account_id
    )
    return _end(transaction, rows, None, reason, now)


def _end(
    transaction: Transaction, rows: list[Row], names: Collection[Identifier] | None, reason: str, now: int
) -> list[Enrolment]:
    """End the enrolments in ``rows``, and with each the keys of it that nobody has used yet."""
    ended = []
    for found in map(_enrolment, rows):
        if names is not None and not set(names) & set(found.names):
            continue
        if transaction.run(
            "UPDATE enrolments SET ended_at = :now, reason = :reason WHERE id = :id AND ended_at IS NULL",
            id=found.id,
            now=now,
            reason=reason,
        ):
            transaction.run(
                """UPDATE external_keys SET revoked_at = :now
                   WHERE enrolment_id = :id AND account_id IS NULL AND revoked_at IS NULL""",
                id=found.id,
                now=now,
            )
            ended.append(found)
    return ended
