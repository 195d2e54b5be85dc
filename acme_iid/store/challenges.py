"""Challenges, and the attempts to validate those that take a look at the network (RFC 8555 sections 7.1.5 and 8.2).

Every way on is one statement with its condition. An attempt belongs to the process that took it, until its lease runs
out: the attempt's number is in the condition of what it then records, so that one which was overtaken records nothing.
"""

from __future__ import annotations

import json
from functools import lru_cache

from acme_iid.errors import Fault, Problem, Remedy
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Challenge, Proof
from acme_iid.store.database import Row, Transaction

COLUMNS = """c.id AS challenge_id, c.type, c.token, c.answered_at, c.answered_from, c.attempts, c.due_at,
             c.validated_at, c.failed_at, c.error, c.instance_id, c.cloud, c.provisioner, c.credential_id, c.names,
             c.identity"""
"""What :func:`of_row` reads."""

_UNDECIDED = """validated_at IS NULL AND failed_at IS NULL
    AND NOT EXISTS (SELECT 1 FROM challenges other WHERE other.authorization_id = challenges.authorization_id
                      AND (other.validated_at IS NOT NULL OR other.failed_at IS NOT NULL))"""
"""Neither this challenge nor another one has decided the authorization."""

_WANTED = """EXISTS (SELECT 1 FROM authorizations a JOIN accounts ON accounts.id = a.account_id
                     LEFT JOIN orders o ON o.id = a.order_id
                     WHERE a.id = challenges.authorization_id AND a.expires_at > :now AND a.deactivated_at IS NULL
                       AND a.revoked_at IS NULL AND o.ended_at IS NULL AND accounts.deactivated_at IS NULL)"""
"""The authorization can still become valid, and serve somebody."""


_MAX_DETAIL = 700
"""Characters of a sentence that is stored."""
MOST_OF_ADDRESS, MOST_OF_ACCOUNT, MOST_AT_TARGET = 16, 8, 8
"""Attempts under way at a time, in all processes: of an address that asked for them, of an account, at a target."""


def _of(column: str) -> str:
    """How many attempts are under way that have the same in a column as a challenge has."""
    return f"""(SELECT count(*) FROM challenges busy WHERE busy.leased_until IS NOT NULL AND busy.leased_until > :now
                AND busy.{column} = challenges.{column})"""  # noqa: S608 - our own words


def fault_as_text(error: Fault) -> str:
    """A fault as its column holds it; a sentence that is too long ends with dots."""
    detail = error.detail if len(error.detail) <= _MAX_DETAIL else f"{error.detail[:_MAX_DETAIL]}..."
    remedy = () if error.remedy is None else (error.remedy.name,)
    return json.dumps([error.problem.name, detail, *remedy])


def fault_of_text(text: str | None) -> Fault | None:
    """The fault in a column."""
    if text is None:
        return None
    name, detail, *remedy = json.loads(text)
    return Fault(Problem[name], detail, remedy=Remedy[remedy[0]] if remedy else None)


@lru_cache(maxsize=1024)
def names_of_text(text: str) -> tuple[Identifier, ...]:
    """The names in a column; an order's are read with each of its requests."""
    return tuple(Identifier(*pair) for pair in json.loads(text))


def of_row(row: Row) -> Challenge:
    """The challenge in a row with :data:`COLUMNS`."""
    proof = None
    if row["provisioner"] is not None:
        proof = Proof(row["instance_id"], row["cloud"], row["provisioner"], row["credential_id"])
    return Challenge(
        id=row["challenge_id"],
        type=row["type"],
        token=row["token"],
        answered_at=row["answered_at"],
        answered_from=row["answered_from"],
        attempts=row["attempts"],
        due_at=row["due_at"],
        validated_at=row["validated_at"],
        failed_at=row["failed_at"],
        error=fault_of_text(row["error"]),
        proof=proof,
        names=() if row["names"] is None else names_of_text(row["names"]),
        identity=row["identity"],
    )


def add(transaction: Transaction, authorization_id: str, challenge: Challenge) -> None:
    """Add a challenge that nobody has answered, or one that an enrolment's proof answers already."""
    proof = challenge.proof
    transaction.run(
        """INSERT INTO challenges (id, authorization_id, type, token, validated_at, instance_id, cloud, provisioner,
                                   credential_id, names, identity)
           VALUES (:id, :authorization_id, :type, :token, :validated_at, :instance, :cloud, :provisioner,
                   :credential_id, :names, :identity)""",
        id=challenge.id,
        authorization_id=authorization_id,
        type=challenge.type,
        token=challenge.token,
        validated_at=challenge.validated_at,
        instance=None if proof is None else proof.instance,
        cloud=None if proof is None else proof.cloud,
        provisioner=None if proof is None else proof.provisioner,
        credential_id=None if proof is None else proof.credential_id,
        names=json.dumps(challenge.names) if challenge.names else None,
        identity=challenge.identity,
    )


def set_valid(
    transaction: Transaction,
    challenge: Challenge,
    proof: Proof,
    now: int,
    names: tuple[Identifier, ...] = (),
    identity: str | None = None,
) -> bool:
    """Record that a challenge was met; False if something came first: another outcome or attempt, or the end.

    :param challenge: as it was when it was judged.
    :param names: the names that an instance may hold.
    :param identity: what its evidence proved, as JSON.
    """
    return bool(
        transaction.run(
            f"""UPDATE challenges SET validated_at = :now, due_at = NULL, leased_until = NULL, error = NULL,
                      instance_id = :instance, cloud = :cloud, provisioner = :provisioner,
                      credential_id = :credential_id, names = :names, identity = :identity
                WHERE id = :id AND attempts = :attempts AND {_UNDECIDED} AND {_WANTED}""",  # noqa: S608 - constants only
            id=challenge.id,
            attempts=challenge.attempts,
            now=now,
            instance=proof.instance,
            cloud=proof.cloud,
            provisioner=proof.provisioner,
            credential_id=proof.credential_id,
            names=json.dumps(names),
            identity=identity,
        )
    )


def set_failed(transaction: Transaction, challenge: Challenge, error: Fault, now: int) -> bool:
    """Record that a challenge was not met, for good; False if another outcome or attempt came first."""
    return bool(
        transaction.run(
            f"""UPDATE challenges SET failed_at = :now, error = :error, due_at = NULL, leased_until = NULL
                WHERE id = :id AND attempts = :attempts AND {_UNDECIDED}""",  # noqa: S608 - constants only
            id=challenge.id,
            attempts=challenge.attempts,
            now=now,
            error=fault_as_text(error),
        )
    )


def set_answered(transaction: Transaction, challenge_id: str, remote: str, requester: str, now: int) -> bool:
    """Record that a client asked for validation, due at once; False if it has before, or it can lead to nothing.

    :param remote: the client's address, for the record.
    :param requester: what it counts as.
    """
    return bool(
        transaction.run(
            f"""UPDATE challenges SET answered_at = :now, answered_from = :remote, due_at = :now,
                    requester = :requester,
                    (account_id, target) = (SELECT a.account_id, a.identifier_value FROM authorizations a
                                            WHERE a.id = challenges.authorization_id)
                WHERE id = :id AND answered_at IS NULL AND {_UNDECIDED} AND {_WANTED}""",  # noqa: S608 - constants only
            id=challenge_id,
            remote=remote,
            requester=requester,
            now=now,
        )
    )


def take(transaction: Transaction, challenge_id: str, now: int, until: int) -> bool:
    """Take a challenge's next attempt, until the time ``until``.

    What has ended is not looked at again.

    :returns: False if another process has it, it has ended, or too many attempts are under way: of the address that
        asked for it, of its account, or at its target.
    """
    taken = transaction.run(
        f"""UPDATE challenges SET leased_until = :until, attempts = attempts + 1
            WHERE id = :id AND due_at <= :now AND (leased_until IS NULL OR leased_until <= :now)
              AND {_of("requester")} < :of_address AND {_of("account_id")} < :of_account
              AND {_of("target")} < :at_target
              AND {_UNDECIDED} AND {_WANTED}""",  # noqa: S608 - constants only
        id=challenge_id,
        now=now,
        until=until,
        of_address=MOST_OF_ADDRESS,
        of_account=MOST_OF_ACCOUNT,
        at_target=MOST_AT_TARGET,
    )
    if not taken:
        transaction.run(
            f"""UPDATE challenges SET due_at = NULL
                WHERE id = :id AND due_at IS NOT NULL AND NOT ({_UNDECIDED} AND {_WANTED})""",  # noqa: S608
            id=challenge_id,
            now=now,
        )
    return bool(taken)


def set_due(transaction: Transaction, challenge: Challenge, error: Fault, at: int) -> bool:
    """Record that an attempt failed and when the next one is due; False if another outcome or attempt came first."""
    return bool(
        transaction.run(
            f"""UPDATE challenges SET due_at = :at, leased_until = NULL, error = :error
                WHERE id = :id AND attempts = :attempts AND {_UNDECIDED}""",  # noqa: S608 - constants only
            id=challenge.id,
            attempts=challenge.attempts,
            at=at,
            error=fault_as_text(error),
        )
    )
