"""Enrolments: what the account of an instance has handed on to delegates (rfc-notes/iid-01.md, "Enrolment")."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from typing import Literal

from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Enrolment, Proof
from acme_iid.store.writes import Reader, Row, Statement, Verdict, again


def _enrolment(row: Row) -> Enrolment:
    return Enrolment(
        id=row["id"],
        account_id=row["account_id"],
        instance_id=row["instance_id"],
        generation=row["generation"],
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


def in_force_of_instance(reader: Reader, instance_id: str) -> list[Enrolment]:
    """An instance's enrolments that were not ended."""
    rows = reader.rows(
        "SELECT * FROM enrolments WHERE instance_id = :instance_id AND ended_at IS NULL", instance_id=instance_id
    )
    return [_enrolment(row) for row in rows]


def in_force_of_account(reader: Reader, account_id: str) -> list[Enrolment]:
    """The enrolments of an account that were not ended."""
    rows = reader.rows(
        "SELECT * FROM enrolments WHERE account_id = :account_id AND ended_at IS NULL", account_id=account_id
    )
    return [_enrolment(row) for row in rows]


def in_force_for(reader: Reader, enrolment: Enrolment) -> Enrolment | None:
    """The enrolment that is in force for the same names of the same instance, by the same account."""
    rows = reader.rows(
        """SELECT * FROM enrolments WHERE account_id = :account_id AND instance_id = :instance_id
           AND names_digest = :names_digest AND ended_at IS NULL""",
        account_id=enrolment.account_id,
        instance_id=enrolment.instance_id,
        names_digest=_digest(_names(enrolment)),
    )
    return _enrolment(rows[0]) if rows else None


def _names(enrolment: Enrolment) -> str:
    return json.dumps(sorted(enrolment.names))


def _digest(names: str) -> str:
    return hashlib.sha256(names.encode()).hexdigest()


def prove(enrolment: Enrolment, verdict: Verdict) -> Statement:
    """Make an enrolment, or let a new proof extend the one that is in force for the same names of the instance.

    One statement, so that of two that race one is made and the other extends it.

    :param verdict: if that one's latest proof is newer than this one.
    """
    names = _names(enrolment)
    return Statement(
        """INSERT INTO enrolments (id, account_id, instance_id, generation, names, names_digest, identity, cloud,
                                   provisioner, credential_id, created_at, proven_at, expires_at)
           VALUES (:id, :account_id, :instance_id, :generation, :names, :names_digest, :identity, :cloud, :provisioner,
                   :credential_id, :created_at, :proven_at, :expires_at)
           ON CONFLICT (account_id, instance_id, names_digest) WHERE ended_at IS NULL DO UPDATE
           SET generation = excluded.generation, identity = excluded.identity, cloud = excluded.cloud,
               provisioner = excluded.provisioner, credential_id = excluded.credential_id,
               proven_at = excluded.proven_at, expires_at = excluded.expires_at
           WHERE excluded.proven_at >= enrolments.proven_at""",
        {
            "id": enrolment.id,
            "account_id": enrolment.account_id,
            "instance_id": enrolment.instance_id,
            "generation": enrolment.generation,
            "names": names,
            "names_digest": _digest(names),
            "identity": enrolment.identity,
            "cloud": enrolment.proof.cloud,
            "provisioner": enrolment.proof.provisioner,
            "credential_id": enrolment.proof.credential_id,
            "created_at": enrolment.created_at,
            "proven_at": enrolment.proven_at,
            "expires_at": enrolment.expires_at,
        },
        verdict,
    )


def unchanged(enrolment: Enrolment) -> Statement:
    """Rely on it that an enrolment is in force, by the proof that it had."""
    return Statement(
        "SELECT 1 FROM enrolments WHERE id = :id AND ended_at IS NULL AND proven_at = :proven_at",
        {"id": enrolment.id, "proven_at": enrolment.proven_at},
        again,
        shared=True,
    )


def no_others(column: Literal["account_id", "instance_id"], value: str, ending: Collection[str]) -> Statement:
    """Rely on it that an account, or an instance, has no enrolments in force but those with the ids in ``ending``."""
    ids = {f"v{number}": enrolment_id for number, enrolment_id in enumerate(sorted(ending))}
    others = f"AND id NOT IN ({', '.join(f':{name}' for name in ids)})" if ids else ""
    return Statement(
        f"""SELECT 1 WHERE NOT EXISTS
            (SELECT 1 FROM enrolments WHERE {column} = :value AND ended_at IS NULL {others})""",  # noqa: S608 - our own words
        {"value": value, **ids},
        again,
    )


def end(enrolment: Enrolment, reason: str, now: int) -> Statement:
    """End an enrolment that was not ended."""
    return Statement(
        "UPDATE enrolments SET ended_at = :now, reason = :reason WHERE id = :id AND ended_at IS NULL",
        {"id": enrolment.id, "reason": reason, "now": now},
        again,
    )
