"""Answering an iid-01 challenge: the heart of it (rfc-notes/iid-01.md, "Response" and "Verification").

An answer is judged before anything is written, and then one write records the outcome, if nothing else has changed the
order, the instance or the account: of two answers that race one is recorded and the other's sender sees that outcome.
There is no claim that a crashed process could leave behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from acme_iid.attestation.identity import Claims, Evidence, InstanceIdentity
from acme_iid.attestation.registry import VERIFIERS
from acme_iid.authority import Authority, answers, entitlement, refusals, signers, validations
from acme_iid.authority.context import RequestContext
from acme_iid.authority.validations import Answered
from acme_iid.binding import CHALLENGE_TYPE, CLOCK_SKEW, binding
from acme_iid.errors import AcmeError, AttestationError, Fault, MalformedEvidenceError, Problem, Remedy, Step
from acme_iid.policy.clouds import instance_key
from acme_iid.policy.policy import Decision, Refusal
from acme_iid.protocol import jwk
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Account, Challenge, Instance, Order, Proof
from acme_iid.protocol.status import Status, of_authorization, of_challenge, of_order
from acme_iid.store import instances, orders
from acme_iid.store.chain import Event
from acme_iid.store.orders import LocatedChallenge
from acme_iid.store.writes import Reader, Write

OF_ANOTHER_KEY = "this instance belongs to another account key since its first use"
"""The beginning of the reason for which such a use is refused."""


def find(reader: Reader, account: Account, challenge_id: str) -> LocatedChallenge:
    """An account's own challenge, and what it stands in.

    :raises AcmeError: ``malformed`` with 404 if there is no such challenge, ``unauthorized`` if another account has it.
    """
    located = orders.of_challenge_id(reader, challenge_id)
    if located is None:
        raise AcmeError(Problem.MALFORMED, "there is no challenge at this URL", status=404)
    if located.order.account_id != account.id:
        raise AcmeError(Problem.UNAUTHORIZED, "this challenge belongs to another account")
    return located


def _has_ended(located: LocatedChallenge, now: int) -> bool:
    """Whether an answer can lead to nothing any more."""
    ended = not located.order.ahead and of_order(located.order, now) is Status.INVALID
    return ended or of_authorization(located.authorization, now) is not Status.PENDING


def answer(
    authority: Authority,
    context: RequestContext,
    reader: Reader,
    account: Account,
    challenge_id: str,
    payload: Mapping[str, object],
    raw: bytes,
) -> Answered | Write[Answered]:
    """Judge an answer; what is written is the outcome. The answer is the challenge as it then is.

    :param raw: the payload's bytes, for their size.
    :raises AcmeError: ``malformed`` if there is nothing to judge, or the challenge can no longer be answered.
    :raises TrustUnavailableError: if a key set cannot be had; the challenge stays pending.
    """
    located = find(reader, account, challenge_id)
    if of_challenge(located.challenge) is not Status.PENDING:
        return located.authorization, located.challenge
    if _has_ended(located, context.now):
        raise AcmeError(Problem.MALFORMED, "the challenge's order has ended or expired; make a new order")
    if located.challenge.type == CHALLENGE_TYPE:
        return _answer_iid01(authority, context, reader, account, located, answers.parse(payload, raw))
    return validations.ask(authority, context, account, located)


def _answer_iid01(
    authority: Authority,
    context: RequestContext,
    reader: Reader,
    account: Account,
    located: LocatedChallenge,
    answer: answers.Answer,
) -> Write[Answered]:
    now = context.now
    bound = binding(f"{located.challenge.token}.{account.thumbprint}", jwk.spki(jwk.load(account.jwk)))
    record: dict[str, object] = {
        "challenge": located.challenge.id,
        "format": answer.evidence.format,
        "evidence_sha256": answer.digest,
        "thumbprint": account.thumbprint,
        "remote": context.remote,
        "provisioner": _named_provisioner(authority, answer),
    }
    named: InstanceIdentity | None = None
    try:
        claims = _authenticate(authority, answer.evidence, now)
        record["key_id"] = claims.key_id
        verifier = VERIFIERS[answer.evidence.format]
        identity = named = verifier.identify(claims)
        # The evidence's claims are recorded even if it is stale or bound elsewhere, and then marked as unproven.
        record |= {
            "binding": named.binding, "times": dict(named.times), "owner": named.owner, "proven": False,
            "image": named.facts.get("image"), "region": named.region,
        }  # fmt: skip
        verifier.judge(identity, claims, bound, now)
        record["proven"] = True
        reader = _asking_ahead(reader, identity)
        instance = instances.get(reader, identity.id)
        decision, held = _admit(authority, reader, located, identity, instance, answer.provisioner)
        record |= {"provisioner": decision.provisioner.name, "rule": decision.rule}
        proof = Proof(identity.id, identity.cloud, decision.provisioner.name, identity.credential_id)
        _check_same_proof(located.order, proof)
        _check_first_use(reader, account, identity, instance, decision, now)
    except MalformedEvidenceError as error:
        raise AcmeError(Problem.MALFORMED, error.detail) from error
    except AttestationError as error:
        return _refused(reader, account, located, answer, named, error, record, now)
    met = replace(located.challenge, validated_at=now, proof=proof, names=held, identity=identity.to_json())
    return _valid(account, located, met, identity, instance, decision, record, now)


def _asking_ahead(reader: Reader, identity: InstanceIdentity) -> Reader:
    """A reader that asks all questions about an instance at once."""
    questions = [instances.question(identity.id), instances.question_of_closed(identity.id)]
    if (resource := identity.facts.get("resource_id")) is not None:
        questions.append(instances.question_of_resource(resource))
    return reader.ahead(*questions)


def _named_provisioner(authority: Authority, answer: answers.Answer) -> str | None:
    """The provisioner that the answer names, for the record of what is refused before one is found."""
    known = {provisioner.name for provisioner in authority.config.policy.instances}
    return answer.provisioner if answer.provisioner in known else None


def _authenticate(authority: Authority, evidence: Evidence, now: int) -> Claims:
    """Steps decoding and signature, for evidence that some provisioner accepts."""
    accepted = authority.config.policy.formats()
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
    authority: Authority,
    reader: Reader,
    located: LocatedChallenge,
    identity: InstanceIdentity,
    known: Instance | None,
    only: str | None,
) -> tuple[Decision, tuple[Identifier, ...]]:
    """Steps admission and names: the operator's block, the rules, and what revocation closed."""
    policy = authority.config.policy
    if known is not None and known.blocked_at is not None:
        raise entitlement.blocked_error()
    # Closing a name raises the generation.
    closed = instances.closed(reader, identity.id).names if known is not None and known.generation else frozenset()
    decision = policy.decide(
        identity,
        located.authorization.name,
        others=located.order.identifiers,
        only=only,
        profile=None if located.order.ahead else located.order.profile,
    )
    if isinstance(decision, Refusal):
        raise decision.error
    if located.authorization.name.value in closed:
        raise entitlement.closed_error(located.authorization.name, identity.id)
    held = policy.names(decision.provisioner, identity)
    return decision, tuple(name for name in held if name.value not in closed)


def _check_same_proof(order: Order, proof: Proof) -> None:
    """One order, one instance, one provisioner."""
    for authorization in order.authorizations:
        for challenge in authorization.challenges:
            if challenge.proof is not None and challenge.proof != proof:
                raise AttestationError(
                    Step.ADMISSION,
                    "another name of this order was proven by another instance or under another provisioner "
                    f"({challenge.proof.provisioner!r}); order the names apart, or name one provisioner for all",
                )


def _check_first_use(
    reader: Reader, account: Account, identity: InstanceIdentity, known: Instance | None, decision: Decision, now: int
) -> None:
    """Refuse a first use that comes too long after the instance's start, and any use by the wrong account.

    The statement that records the use has the latter in its condition again; here it gets its reason.
    """
    _check_resource(reader, account, identity, known)
    if known is not None and known.is_held:
        _check_owner(known, account, identity, now)
        return
    age = decision.provisioner.instance_age
    if age is None:
        return
    if identity.started_at is None or now - identity.started_at > age + CLOCK_SKEW:
        raise AttestationError(
            Step.FRESHNESS,
            f"the instance was started more than {age} seconds ago (instance_age of provisioner "
            f"{decision.provisioner.name!r}), and this would be its first use; stop and start it, or an operator "
            f"lets it in with: {_release_command(identity, account)}",
            Remedy.OPERATOR,
        )


def _check_owner(known: Instance, account: Account, identity: InstanceIdentity, now: int) -> None:
    released = known.account_id is None and known.release_to == account.thumbprint and (known.release_until or 0) > now
    if known.account_id != account.id and not released:
        raise AttestationError(
            Step.FIRST_USE,
            f"{OF_ANOTHER_KEY}. If it was rebuilt and lost that key, "
            f"an operator lets this one in with: {_release_command(identity, account)}",
            Remedy.OPERATOR,
        )
    if known.started_at is not None and identity.started_at is not None and identity.started_at < known.started_at:
        raise AttestationError(
            Step.FIRST_USE,
            "the document is older than one that this instance has shown before; fetch a new one",
        )


def _check_resource(reader: Reader, account: Account, identity: InstanceIdentity, known: Instance | None) -> None:
    """Refuse a VM resource that another vmId was first used as, or a vmId that was first used as another resource.

    Nothing that Azure signs names both, so a token that was stolen from one VM could speak for another.
    """
    resource = identity.facts.get("resource_id")
    if resource is None:
        return
    holder = instances.of_resource(reader, resource)
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


def _valid(
    account: Account,
    located: LocatedChallenge,
    met: Challenge,
    identity: InstanceIdentity,
    known: Instance | None,
    decision: Decision,
    record: Mapping[str, object],
    now: int,
) -> Write[Answered]:
    """Record a good answer: the challenge, the instance's use, the event; or nothing if something came first."""
    used = Instance(
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
        generation=0 if known is None else known.generation,
    )
    # disable_trust_on_first_use lets nobody hold an instance anew; an account that holds it already goes on to.
    held = decision.trust_on_first_use or (known is not None and known.is_held)
    order = orders.changed(located, met)
    order = replace(order, instance_id=identity.id, generation=used.generation)
    statements = [
        signers.guard(account, proven_at=now),
        instances.use(used) if held else instances.prove(used),
        orders.change(order, now),
    ]
    event = Event(
        "challenge.valid",
        now,
        account_id=account.id,
        instance=instance_key(identity.id),
        name=located.authorization.name.value,
        detail={"identifiers": [name.value for name in located.order.identifiers], **record},
    )
    return Write(statements, lambda _rows: _answered(order, met), [event])


def _answered(order: Order, challenge: Challenge) -> Answered:
    return next((entry, challenge) for entry in order.authorizations if challenge in entry.challenges)


def _refused(
    reader: Reader,
    account: Account,
    located: LocatedChallenge,
    answer: answers.Answer,
    named: InstanceIdentity | None,
    error: AttestationError,
    record: Mapping[str, object],
    now: int,
) -> Write[Answered]:
    """Record a refused answer: the challenge and its order end; or nothing if something came first.

    :param named: the instance that authentic evidence names, proven or not: the record's ``proven`` says which.
    """
    fault = Fault(Problem.UNAUTHORIZED, f"refused at step {error.step.value!r}: {error.detail}", remedy=error.remedy)
    order, failed = orders.failed(located, fault, now)
    recorded = refusals.record(
        reader,
        "challenge.refused",
        account.id,
        located.order.identifiers,
        now,
        {"step": error.step.value, **record},
        reason=error.detail,
        instance_id=None if named is None else named.id,
        cloud=VERIFIERS[answer.evidence.format].cloud,
        name=located.authorization.name.value,
    )
    statements = [signers.guard(account), orders.change(order, now), *recorded.statements]
    return Write(statements, lambda _rows: _answered(order, failed), recorded.events, recorded.repeated)
