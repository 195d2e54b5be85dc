"""Answering an iid-01 challenge: the heart of it (rfc-notes/iid-01.md, "Response" and "Verification").

An answer is judged before anything is written, and then one transaction records the outcome with a
compare-and-set: of two answers that race one is recorded and the other's sender sees that outcome.
There is no claim that a crashed process could leave behind.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from acme_iid.admission import Grant, admit, formats, names
from acme_iid.attestation import VERIFIERS
from acme_iid.attestation.identity import Claims, Evidence, InstanceIdentity
from acme_iid.authority import Authority, answers, refusals, validations
from acme_iid.binding import CHALLENGE_TYPE, binding
from acme_iid.errors import AcmeError, AttestationError, Fault, MalformedEvidenceError, Problem, Remedy, Step
from acme_iid.protocol import jwk
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Account, Authorization, Challenge, Instance, Order, Proof
from acme_iid.protocol.status import Status, of_authorization, of_challenge, of_order
from acme_iid.store import accounts, challenges, events, instances, orders
from acme_iid.store.database import Reader, Transaction

_log = logging.getLogger(__name__)

CLOCK_SKEW = 60
"""Seconds a cloud's clock may be ahead of or behind ours."""


@dataclass(frozen=True, slots=True)
class Target:
    """The challenge that is answered, and what it stands in; an authorization that newAuthz made has no order yet."""

    order: Order | None
    authorization: Authorization
    challenge: Challenge

    @property
    def name(self) -> Identifier:
        """The name as it stands in the order."""
        return self.authorization.name

    @property
    def names(self) -> tuple[Identifier, ...]:
        """All names of the order."""
        return (self.name,) if self.order is None else self.order.identifiers

    @property
    def authorizations(self) -> tuple[Authorization, ...]:
        """All authorizations of the order."""
        return (self.authorization,) if self.order is None else self.order.authorizations

    def ended(self, now: int) -> bool:
        """Whether an answer can lead to nothing any more."""
        ended = self.order is not None and of_order(self.order, now) is Status.INVALID
        return ended or of_authorization(self.authorization, now) is not Status.PENDING


def find(authority: Authority, account: Account, challenge_id: str) -> tuple[Authorization, Challenge]:
    """An account's own challenge, with its authorization.

    :raises AcmeError: ``malformed`` with 404 if there is none, ``unauthorized`` if it is another account's.
    """
    return _own(authority.database, account, challenge_id)


def _own(reader: Reader, account: Account, challenge_id: str) -> tuple[Authorization, Challenge]:
    found = orders.authorization_of_challenge(reader, challenge_id)
    if found is None:
        raise _not_there()
    if found.account_id != account.id:
        raise AcmeError(Problem.UNAUTHORIZED, "this challenge belongs to another account")
    return found, next(entry for entry in found.challenges if entry.id == challenge_id)


def _not_there() -> AcmeError:
    return AcmeError(Problem.MALFORMED, "there is no challenge at this URL", status=404)


def _target(reader: Reader, account: Account, challenge_id: str) -> Target:
    order = orders.of_challenge(reader, challenge_id)
    if order is None or order.account_id != account.id:
        # None yet, for an authorization that newAuthz made; or not this account's, which is told so.
        return Target(None, *_own(reader, account, challenge_id))
    for authorization in order.authorizations:
        for challenge in authorization.challenges:
            if challenge.id == challenge_id:
                return Target(order, authorization, challenge)
    raise _not_there()  # a key change took it back a moment ago


def answer(
    authority: Authority,
    account: Account,
    challenge_id: str,
    payload: Mapping[str, object],
    raw: bytes,
    remote: str,
    now: int,
) -> tuple[Authorization, Challenge]:
    """Judge an answer and record the outcome; returns the challenge as it then is, with its authorization.

    :param raw: the payload's bytes, for their size.
    :param remote: the client's address, for the record.
    :raises AcmeError: ``malformed`` if there is nothing to judge, or the challenge can no longer be answered.
    :raises TrustUnavailableError: if a key set cannot be had; the challenge stays pending.
    """
    target = _target(authority.database, account, challenge_id)
    if of_challenge(target.challenge) is not Status.PENDING:
        return target.authorization, target.challenge
    if target.ended(now):
        raise AcmeError(Problem.MALFORMED, "the challenge's order has ended or expired; make a new order")
    if target.challenge.type == CHALLENGE_TYPE:
        _answer_iid01(authority, account, target, answers.parse(payload, raw), remote, now)
    else:
        validations.answer(authority, challenge_id, remote, now)
    return _own(authority.database, account, challenge_id)


def _answer_iid01(
    authority: Authority, account: Account, target: Target, given: answers.Answer, remote: str, now: int
) -> None:
    bound = binding(f"{target.challenge.token}.{account.thumbprint}", jwk.spki(jwk.load(account.jwk)))
    record: dict[str, object] = {
        "challenge": target.challenge.id,
        "format": given.evidence.format,
        "evidence_sha256": given.digest,
        "thumbprint": account.thumbprint,
        "remote": remote,
        "provisioner": _asked(authority, given),
    }
    named: InstanceIdentity | None = None
    try:
        claims = _authenticate(authority, given.evidence, now)
        record["key_id"] = claims.key_id
        named = VERIFIERS[given.evidence.format].identify(claims)
        # What the evidence says is recorded even if it is stale or bound elsewhere, and then marked as unproven.
        record |= {
            "binding": named.binding, "times": dict(named.times), "owner": named.owner, "proven": False,
        }  # fmt: skip
        identity = VERIFIERS[given.evidence.format].judge(claims, bound, now)
        record["proven"] = True
        grant, held = _admit(authority, target, identity, given.provisioner)
        record |= {"provisioner": grant.provisioner.name, "rule": grant.rule}
        proof = Proof(identity.id, identity.cloud, grant.provisioner.name, identity.credential_id)
        _check_same_proof(target, proof)
        _check_first_use(authority.database, account, identity, grant, now)
        with authority.database.transaction() as transaction:
            _record_valid(transaction, account, target, identity, grant, proof, held, record, now)
    except MalformedEvidenceError as error:
        raise AcmeError(Problem.MALFORMED, error.detail) from error
    except AttestationError as error:
        _log.info("challenge %s refused at step %s: %s", target.challenge.id, error.step.value, error.detail)
        with authority.database.transaction() as transaction:
            _record_refused(transaction, account, target, given, named, error, record, now)


def _asked(authority: Authority, given: answers.Answer) -> str | None:
    """The provisioner that the answer names, for the record of what is refused before one is found."""
    known = {provisioner.name for provisioner in authority.config.provisioners}
    return given.provisioner if given.provisioner in known else None


def _authenticate(authority: Authority, evidence: Evidence, now: int) -> Claims:
    """Steps decoding and signature, for evidence that some provisioner accepts."""
    accepted = formats(authority.config.provisioners)
    if evidence.format not in accepted:
        # Before any key is looked for: evidence that nobody wants must not make this CA fetch a key set.
        listed = ", ".join(accepted) or "none"
        raise AttestationError(
            Step.ADMISSION,
            f"no provisioner accepts evidence of format {evidence.format}; accepted: {listed}",
            Remedy.OPERATOR,
        )
    return VERIFIERS[evidence.format].authenticate(evidence, authority.trust, now)


def _admit(
    authority: Authority, target: Target, identity: InstanceIdentity, only: str | None
) -> tuple[Grant, tuple[Identifier, ...]]:
    """Steps admission and names: the operator's block, the rules, and what revocation closed."""
    config = authority.config
    closed = _not_blocked(authority.database, identity)
    grant = admit(
        config.provisioners,
        config.namespace,
        identity,
        target.name,
        others=target.names,
        only=only,
        profile=None if target.order is None else target.order.profile,
    )
    _check_open(closed, identity, target.name)
    held = names(grant.provisioner, config.namespace, identity)
    return grant, tuple(name for name in held if name.value not in closed)


def _not_blocked(reader: Reader, identity: InstanceIdentity) -> frozenset[str]:
    """The names that are closed to an instance; refuses one that is blocked, whatever any provisioner says of it."""
    closed = instances.closed(reader, identity.id)
    if closed.blocked:
        raise AttestationError(
            Step.ADMISSION, "an operator blocked this instance; whoever runs this CA can say why", Remedy.OPERATOR
        )
    return closed.names


def _check_open(closed: frozenset[str], identity: InstanceIdentity, name: Identifier) -> None:
    if name.value in closed:
        raise AttestationError(
            Step.NAMES,
            f"{name} was closed to this instance when its certificate was revoked; an operator opens it again with: "
            f"acme-iid-ca instance reopen {identity.id} {name}",
            Remedy.OPERATOR,
        )


def _check_same_proof(target: Target, proof: Proof) -> None:
    """One order, one instance, one provisioner."""
    for authorization in target.authorizations:
        for challenge in authorization.challenges:
            if challenge.proof is not None and challenge.proof != proof:
                raise AttestationError(
                    Step.ADMISSION,
                    "another name of this order was proven by another instance or under another provisioner "
                    f"({challenge.proof.provisioner!r}); order the names apart, or name one provisioner for all",
                )


def _check_first_use(reader: Reader, account: Account, identity: InstanceIdentity, grant: Grant, now: int) -> None:
    """Refuse a first use that comes too long after the instance's start, and any use by the wrong account.

    The statement that records the use has the latter in its condition again; here it gets its reason.
    """
    known = instances.get(reader, identity.id)
    _check_resource(reader, account, identity)
    if known is not None:
        _check_owner(known, account, identity, now)
        return
    age = grant.provisioner.instance_age
    if age is None:
        return
    if identity.started_at is None or now - identity.started_at > age + CLOCK_SKEW:
        raise AttestationError(
            Step.FRESHNESS,
            f"the instance was started more than {age} seconds ago (instance_age of provisioner "
            f"{grant.provisioner.name!r}), and this would be its first use; stop and start it, or an operator "
            f"lets it in with: {_release_command(identity, account)}",
            Remedy.OPERATOR,
        )


def _check_owner(known: Instance, account: Account, identity: InstanceIdentity, now: int) -> None:
    released = known.account_id is None and known.release_to == account.thumbprint and (known.release_until or 0) > now
    if known.account_id != account.id and not released:
        raise AttestationError(
            Step.FIRST_USE,
            "this instance belongs to another account key since its first use. If it was rebuilt and lost that key, "
            f"an operator lets this one in with: {_release_command(identity, account)}",
            Remedy.OPERATOR,
        )
    if known.started_at is not None and identity.started_at is not None and identity.started_at < known.started_at:
        raise AttestationError(
            Step.FIRST_USE,
            "the document is older than one that this instance has shown before; fetch a new one",
        )


def _check_resource(reader: Reader, account: Account, identity: InstanceIdentity) -> None:
    """Refuse a VM resource that another vmId was first used as, or a vmId that was first used as another resource.

    Nothing that Azure signs names both, so a token that was stolen from one VM could speak for another.
    """
    resource = identity.facts.get("resource_id")
    if resource is None:
        return
    holder, known = instances.of_resource(reader, resource), instances.get(reader, identity.id)
    if holder is not None and holder.id != identity.id:
        raise AttestationError(
            Step.FIRST_USE,
            f"the VM {resource} has been used with another vmId. If it was made anew under the same name, an operator "
            "releases the old one, which 'acme-iid-ca instance list' shows",
            Remedy.OPERATOR,
        )
    if known is not None and known.resource_id not in (None, resource):
        raise AttestationError(
            Step.FIRST_USE,
            "this vmId has been used as another VM than the managed identity's token names; if the VM was moved or "
            f"renamed, an operator releases it with: {_release_command(identity, account)}",
            Remedy.OPERATOR,
        )


def _release_command(identity: InstanceIdentity, account: Account) -> str:
    return f"acme-iid-ca instance release {identity.id} --to {account.thumbprint}"


def _record_valid(
    transaction: Transaction,
    account: Account,
    target: Target,
    identity: InstanceIdentity,
    grant: Grant,
    proof: Proof,
    held: tuple[Identifier, ...],
    record: Mapping[str, object],
    now: int,
) -> None:
    """Record a good answer: the challenge, the instance's use, the event; or nothing if another answer came first."""
    if not challenges.set_valid(transaction, target.challenge, proof, now, held, identity.to_json()):
        return
    if account.proven_at is None:
        accounts.set_proven(transaction, account.id, now)
    known = instances.get(transaction, identity.id)
    _check_resource(transaction, account, identity)
    # disable_trust_on_first_use makes no new record; one that exists always holds.
    if grant.trust_on_first_use or known is not None:
        used = instances.use(
            transaction,
            Instance(
                id=identity.id,
                cloud=identity.cloud,
                owner=identity.owner,
                instance_id=identity.instance_id,
                account_id=account.id,
                thumbprint=account.thumbprint,
                started_at=identity.started_at,
                first_used_at=now,
                last_used_at=now,
                resource_id=identity.facts.get("resource_id"),
            ),
        )
        if not used:
            assert known is not None  # only an existing record refuses
            _check_owner(known, account, identity, now)
            raise AssertionError("the statement and its explanation disagree")
    _check_open(_not_blocked(transaction, identity), identity, target.name)
    events.add(
        transaction,
        "challenge.valid",
        now,
        account_id=account.id,
        instance_id=identity.id,
        cloud=identity.cloud,
        name=target.name.value,
        identifiers=[name.value for name in target.names],
        **record,
    )


def _record_refused(
    transaction: Transaction,
    account: Account,
    target: Target,
    given: answers.Answer,
    named: InstanceIdentity | None,
    error: AttestationError,
    record: Mapping[str, object],
    now: int,
) -> None:
    """Record a refused answer: the challenge and its order end; or nothing if another answer came first.

    :param named: the instance that authentic evidence names, proven or not: the record's ``proven`` says which.
    """
    fault = Fault(Problem.UNAUTHORIZED, f"refused at step {error.step.value!r}: {error.detail}", remedy=error.remedy)
    if challenges.set_failed(transaction, target.challenge, fault, now):
        orders.end_of_authorization(transaction, target.authorization.id, fault, now)
        refusals.add(
            transaction,
            "challenge.refused",
            account.id,
            target.names,
            now,
            {"step": error.step.value, **record},
            reason=error.detail,
            instance_id=None if named is None else named.id,
            cloud=VERIFIERS[given.evidence.format].cloud,
            name=target.name.value,
        )
