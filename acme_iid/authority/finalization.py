"""Finalizing an order: the certificate (RFC 8555 section 7.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from acme_iid.attestation.identity import InstanceIdentity
from acme_iid.authority import (
    Authority,
    compromise,
    delegates,
    entitlement,
    limits,
    proofs,
    refusals,
    renewal,
    signers,
    succession,
)
from acme_iid.authority.context import MustWaitError, RequestContext
from acme_iid.config.settings import Config
from acme_iid.errors import AcmeError, Problem
from acme_iid.issuance.leaf import LeafRequest
from acme_iid.issuance.profiles import Profile
from acme_iid.issuance.provisioner_extension import HOST_NUMBER
from acme_iid.issuance.provisioner_extension import extension as provisioner_extension
from acme_iid.policy.clouds import instance_key, of_cloud
from acme_iid.protocol import csr
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Account, Certificate, Challenge, Order, Proof
from acme_iid.protocol.status import Status, of_order
from acme_iid.store import certificates, instances, orders
from acme_iid.store.chain import Event
from acme_iid.store.writes import Reader, Write


def finalize(
    authority: Authority, context: RequestContext, reader: Reader, account: Account, order: Order, csr_der: bytes
) -> Order | Write[Order]:
    """Issue the certificate of a ready order (RFC 8555 section 7.4), or record that what was proven no longer holds.

    :param account: the order's own.
    :raises AcmeError: ``orderNotReady``, ``badCSR`` (the order stays ready), ``unauthorized`` if what was proven
        no longer holds, ``rejectedIdentifier`` for a name that has become the CA's own, ``invalidProfile`` if the
        order's profile is no longer given, ``rateLimited``.
    :raises MustWaitError: if the issuer's key is elsewhere, and this may not wait for it.
    :raises SignerError: if a key that is elsewhere gives no signature; the order stays ready.
    """

    def refused(reader: Reader, error: AcmeError) -> Write[Any]:
        proofs = {challenge.proof for _, challenge in _proven(order)}
        proof = proofs.pop() if len(proofs) == 1 else None
        return refusals.refused(
            authority, context, reader, "finalize.refused", account, order.identifiers, error, proof
        )

    try:
        return _finalize(authority, context, reader, account, order, csr_der, refused)
    except AcmeError as error:
        # A bad CSR leaves no event, but one with a key that others may hold does.
        if error.problem in (Problem.UNAUTHORIZED, Problem.REJECTED_IDENTIFIER):
            return refused(reader, error)
        raise


def _finalize(
    authority: Authority,
    context: RequestContext,
    reader: Reader,
    account: Account,
    order: Order,
    csr_der: bytes,
    refused: Callable[[Reader, AcmeError], Write[Any]],
) -> Write[Order]:
    """Issue the certificate of a ready order.

    Signing comes first, and the guards of one write decide: of two requests that race, one certificate is recorded and
    the other was never seen by anybody.
    """
    now = context.now
    _require_ready(order, now)
    profile = _profile(authority, order)
    request = csr.check(csr_der, order.identifiers, authority.ca.own_keys, authority.config.ca.keys)
    proof = _proof(order)
    identity = _require_still_given(authority.config, order, profile)
    key_id = request.spki_sha256.hex()
    statements = [signers.guard(account)]
    if (enrolment := delegates.enrolment_of(reader, account)) is not None:
        delegates.require(authority.config, reader, enrolment, order.identifiers, profile.name, now)
        statements += delegates.guards(enrolment)
    elif proof.instance is not None:
        statements.append(instances.unchanged(proof.instance, order.generation or 0))
        statements += proofs.guards(authority, reader, account, order, now)
    not_before, not_after = validity(profile, order, now)
    issuer = authority.ca.current
    # Asked of the issuer that signs just now: it can have become another one since the request came.
    if issuer.signs_elsewhere and not context.waits:
        raise MustWaitError
    issued = issuer.issue(
        LeafRequest(
            public_key=request.public_key,
            identifiers=order.identifiers,
            not_before=not_before,
            not_after=not_after,
            provisioner=provisioner_extension(_number(proof), proof.provisioner, proof.credential_id),
            usages=profile.usages,
            key_usages=profile.key_usages,
            status=authority.config.status_urls(issuer.short_id),
            number=orders.number(order),
        ),
        authority.config.namespace,
        now,
    )
    certificate = Certificate(
        id=order.id,
        serial=f"{issued.serial:x}",
        account_id=order.account_id,
        names=order.identifiers,
        not_before=issued.not_before,
        not_after=issued.not_after,
        issued_at=now,
        der=issued.der,
        issuer_id=issuer.id,
        key_id=key_id,
        profile=profile.name,
        image=None if identity is None else identity.facts.get("image"),
        provisioner=proof.provisioner,
        instance=proof.instance,
    )
    subjects = _rate_limit_subjects(authority, reader, order, proof, now)
    statements += [
        *(orders.relied_on(made) for made in _ahead(reader, order)),
        orders.finalize(order, now),
        certificates.add(
            certificate, instance_key(proof.instance), lambda reader: succession.take_up(reader, authority.ca)
        ),
        *limits.certificate_issued(authority.config.limits, *subjects, now),
        compromise.certifiable(key_id, request.thumbprint, refused),
    ]
    detail: dict[str, object] = {
        "serial": certificate.serial,
        "names": [name.value for name in order.identifiers],
        "provisioner": proof.provisioner,
        "profile": profile.name,
        "image": certificate.image,
        "region": None if identity is None else identity.region,
        "not_after": certificate.not_after,
    }
    if certificate.not_after < not_after:
        detail |= {"cut_short_by": issuer.short_id, "seconds_short": not_after - certificate.not_after}
    event = Event(
        "certificate.issued",
        now,
        account_id=order.account_id,
        instance=instance_key(proof.instance),
        detail=detail,
    )
    return Write(statements, lambda _rows: replace(order, issued_at=now), [event])


def _ahead(reader: Reader, order: Order) -> list[Order]:
    """The rows of the authorizations of an order that were made ahead of it."""
    taken = [entry.id for entry in order.authorizations if not entry.id.startswith(f"{order.id}.")]
    located = (orders.of_authorization_id(reader, authorization_id) for authorization_id in taken)
    return sorted((made[0] for made in located if made is not None), key=orders.number)


def _rate_limit_subjects(
    authority: Authority, reader: Reader, order: Order, proof: Proof, now: int
) -> tuple[str | None, list[Identifier]]:
    """The instance and the names to whose limits a certificate counts.

    A renewal that is due, or that an operator asked for, does not count. Certificates one after another, each in the
    place of the one before, count, and so do a revoked one's successors.
    """
    # One that was pruned meanwhile had ended long before.
    replaced = None if order.replaces is None else renewal.replaced(reader, order.replaces)
    if replaced is None or replaced.revoked_at is not None or now < renewal.window_of(authority.ca, replaced).start:
        return proof.instance, list(order.identifiers)
    instance = None if proof.instance == replaced.instance else proof.instance
    return instance, [name for name in order.identifiers if name not in replaced.names]


def _require_ready(order: Order, now: int) -> None:
    status = of_order(order, now)
    if status is not Status.READY:
        why = f": {order.error.detail}" if order.error is not None else ""
        raise AcmeError(Problem.ORDER_NOT_READY, f"the order is {status}, not ready{why}")


def _profile(authority: Authority, order: Order) -> Profile:
    profile = authority.config.profile(order.profile)
    if profile is None:
        raise AcmeError(
            Problem.INVALID_PROFILE, f"the profile {order.profile!r} is no longer issued here; make a new order"
        )
    return profile


def _proof(order: Order) -> Proof:
    """The proof of the certificate's holder: the one instance behind an order's iid-01 authorizations, else a host.

    :raises AcmeError: ``unauthorized`` if several instances proved them, or one under several provisioners.
    """
    proofs = {challenge.proof for _, challenge in _proven(order) if challenge.proof is not None}
    by_instances = {proof for proof in proofs if proof.instance is not None}
    if len(by_instances) > 1:
        raise AcmeError(
            Problem.UNAUTHORIZED,
            "the order's names were not all proven by one instance under one provisioner; make a new order",
        )
    return min(by_instances or proofs, key=lambda proof: proof.provisioner)


def _proven(order: Order) -> Iterator[tuple[Identifier, Challenge]]:
    """The names of a ready order, each with the challenge that proved it."""
    for authorization in order.authorizations:
        for challenge in authorization.challenges:
            if challenge.proof is not None:
                yield authorization.name, challenge


def _require_still_given(config: Config, order: Order, profile: Profile) -> InstanceIdentity | None:
    """Refuse names that the rules in force give no more; the identity behind the proof.

    :raises AcmeError: as :func:`entitlement.require_given`; ``rejectedIdentifier`` for the CA's own.
    """
    config.namespace.require_issuable(order.identifiers)
    proven = [
        entitlement.Proven(
            name,
            challenge.proof.provisioner,
            challenge.type,
            None if challenge.identity is None else InstanceIdentity.from_json(challenge.identity),
        )
        for name, challenge in _proven(order)
        if challenge.proof is not None
    ]
    entitlement.require_given(config.policy, proven, profile.name, advice="; make a new order")
    return next((entry.identity for entry in reversed(proven) if entry.identity is not None), None)


def validity(profile: Profile, order: Order, now: int) -> tuple[int, int]:
    """The validity of a certificate issued now, in seconds: what the order asked for, which was checked then.

    An end that is beyond the profile's longest or shortest lifetime by no more than a clock may be off is brought back
    to it, reckoned from when the order was made.

    :raises AcmeError: ``malformed`` if it is over by now.
    """
    # Back-dated by a minute unless the order says otherwise, for relying parties whose clocks are behind.
    starts = now - 60 if order.not_before is None else order.not_before
    lifetimes = profile.lifetimes
    if order.not_after is None:
        ends = max(starts, now) + lifetimes.usual
    else:
        basis = max(order.not_before or 0, order.created_at)
        ends = min(max(order.not_after, basis + lifetimes.minimum), basis + lifetimes.maximum)
    if ends <= now:
        raise AcmeError(Problem.MALFORMED, "the order's 'notAfter' has passed; make a new order")
    return starts, ends


def _number(proof: Proof) -> int:
    """The number of the type of provisioner that a proof was made under, for the certificate."""
    return HOST_NUMBER if proof.instance is None else of_cloud(proof.cloud).extension_number
