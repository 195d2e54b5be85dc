"""Orders: made, read and finalized (RFC 8555 section 7.4)."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from acme_iid.admission import refusal_to_order
from acme_iid.authority import Authority
from acme_iid.errors import AcmeError, Fault, Problem
from acme_iid.iid01 import CHALLENGE_TYPE
from acme_iid.issuance.ca import LeafRequest
from acme_iid.issuance.provisioner_extension import extension as provisioner_extension
from acme_iid.protocol import csr, identifiers
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Account, Authorization, Certificate, Challenge, Order, Proof
from acme_iid.protocol.status import Status, of_order
from acme_iid.store import accounts, certificates, events, instances, orders
from acme_iid.store.database import Database

ORDER_LIFETIME = 3600
"""Seconds in which an order is proven and finalized. Evidence is at hand, so an hour is long."""
MAX_IDENTIFIERS = 100
PAGE = 100
"""Orders on one page of an account's list."""

Owned = TypeVar("Owned", Order, Authorization, Certificate)


@dataclass(frozen=True, slots=True)
class NewOrder:
    """What a newOrder payload asks for; times in seconds."""

    identifiers: tuple[Identifier, ...]
    not_before: int | None = None
    not_after: int | None = None


def parse_new_order(payload: dict[str, object]) -> NewOrder:
    """Read a newOrder payload (RFC 8555 section 7.4).

    :raises AcmeError: ``malformed``, or what :func:`identifiers.from_wire` raises, with a subproblem for each
        identifier that is at fault.
    """
    if payload.get("profile") is not None:
        raise AcmeError(Problem.INVALID_PROFILE, "this CA has no certificate profiles; leave 'profile' out")
    wanted = payload.get("identifiers")
    if not isinstance(wanted, list) or not wanted:
        raise AcmeError(Problem.MALFORMED, "'identifiers' is a list of at least one identifier")
    if len(wanted) > MAX_IDENTIFIERS:
        raise AcmeError(Problem.MALFORMED, f"there are {len(wanted)} identifiers; {MAX_IDENTIFIERS} is the limit")
    found: list[Identifier] = []
    faults: list[Fault] = []
    for entry in wanted:
        try:
            found.append(identifiers.from_wire(entry))
        except AcmeError as error:
            if error.problem is Problem.MALFORMED:
                raise
            faults.append(Fault(error.problem, error.detail, (entry["type"][:32], entry["value"][:256])))
    if faults:
        raise _several(faults)
    return NewOrder(
        identifiers=tuple(dict.fromkeys(found)),
        not_before=_timestamp(payload, "notBefore"),
        not_after=_timestamp(payload, "notAfter"),
    )


def _several(faults: Sequence[Fault]) -> AcmeError:
    """One error for several faults: the first one's type, unless they differ."""
    kinds = {fault.problem for fault in faults}
    problem = faults[0].problem if len(kinds) == 1 else Problem.MALFORMED
    return AcmeError(problem, "; ".join(fault.detail for fault in faults[:5]), subproblems=faults)


def _timestamp(payload: dict[str, object], name: str) -> int | None:
    value = payload.get(name)
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise AcmeError(Problem.MALFORMED, f"{name!r} is not a time such as 2030-01-02T03:04:05Z (RFC 3339)")
    return int(moment.timestamp())


def new_order(authority: Authority, account: Account, wanted: NewOrder, now: int) -> Order:
    """Make an order with one pending iid-01 challenge for each identifier.

    :raises AcmeError: ``rejectedIdentifier`` for names that no instance may hold, ``malformed`` for a validity
        that this CA does not give.
    """
    config = authority.config
    faults = [
        Fault(Problem.REJECTED_IDENTIFIER, refusal, identifier)
        for identifier in wanted.identifiers
        if (refusal := refusal_to_order(config.provisioners, config.ca.domains, identifier)) is not None
    ]
    if faults:
        raise _several(faults)
    _check_validity(authority, wanted.not_before, wanted.not_after, now)
    order_id = secrets.token_urlsafe(16)
    expires_at = now + ORDER_LIFETIME
    order = Order(
        id=order_id,
        account_id=account.id,
        identifiers=wanted.identifiers,
        created_at=now,
        expires_at=expires_at,
        not_before=wanted.not_before,
        not_after=wanted.not_after,
        authorizations=tuple(
            Authorization(
                id=secrets.token_urlsafe(16),
                account_id=account.id,
                order_id=order_id,
                identifier=identifier.base,
                wildcard=identifier.wildcard,
                expires_at=expires_at,
                challenges=(Challenge(secrets.token_urlsafe(16), CHALLENGE_TYPE, secrets.token_urlsafe(32)),),
            )
            for identifier in wanted.identifiers
        ),
    )
    with authority.database.transaction() as transaction:
        orders.add(transaction, order)
    return order


def _check_validity(authority: Authority, not_before: int | None, not_after: int | None, now: int) -> None:
    """Refuse an order whose wish for a validity cannot be honoured.

    :raises AcmeError: ``malformed``.
    """
    settings = authority.config.ca
    basis = now if not_before is None else max(not_before, now)
    ends = basis + settings.lifetime if not_after is None else not_after
    if not_before is not None and not_before < now - ORDER_LIFETIME:
        raise AcmeError(Problem.MALFORMED, "'notBefore' is in the past; leave it out for a certificate valid from now")
    if not_before is not None and not_before > now + settings.maximum_lifetime:
        raise AcmeError(Problem.MALFORMED, "'notBefore' is further ahead than this CA's longest certificate lasts")
    if not settings.minimum_lifetime <= ends - basis <= settings.maximum_lifetime:
        raise AcmeError(
            Problem.MALFORMED,
            f"'notAfter' asks for a certificate of {max(ends - basis, 0)} seconds; this CA gives "
            f"{settings.minimum_lifetime} to {settings.maximum_lifetime} seconds",
        )
    if not_after is not None and not_after > authority.ca.not_after:
        raise AcmeError(Problem.MALFORMED, "'notAfter' is after the end of this CA's intermediate certificate")


def validity(authority: Authority, order: Order, now: int) -> tuple[int, int]:
    """The validity of a certificate issued now, in seconds: what the order asked for, which was checked then.

    :raises AcmeError: ``malformed`` if it is over by now.
    """
    # Back-dated by a minute unless the order says otherwise, for relying parties whose clocks are behind.
    starts = now - 60 if order.not_before is None else order.not_before
    ends = max(starts, now) + authority.config.ca.lifetime if order.not_after is None else order.not_after
    if ends <= now:
        raise AcmeError(Problem.MALFORMED, "the order's 'notAfter' has passed; make a new order")
    return starts, ends


def get(database: Database, account: Account, order_id: str) -> Order:
    """An account's own order.

    :raises AcmeError: as :func:`own` does.
    """
    return own(orders.get(database, order_id), account)


def get_authorization(database: Database, account: Account, authorization_id: str) -> Authorization:
    """An account's own authorization.

    :raises AcmeError: as :func:`own` does.
    """
    return own(orders.get_authorization(database, authorization_id), account)


def get_certificate(database: Database, account: Account, certificate_id: str) -> Certificate:
    """A certificate that an account got.

    :raises AcmeError: as :func:`own` does.
    """
    return own(certificates.get(database, certificate_id), account)


def own(resource: Owned | None, account: Account) -> Owned:
    """``resource`` if it is ``account``'s own.

    :raises AcmeError: ``malformed`` with status 404 if there is none, ``unauthorized`` if it is another account's.
    """
    if resource is None:
        raise AcmeError(Problem.MALFORMED, "there is nothing at this URL", status=404)
    if resource.account_id != account.id:
        raise AcmeError(Problem.UNAUTHORIZED, "this resource belongs to another account")
    return resource


def of_account(database: Database, account: Account, before: tuple[int, str] | None) -> list[tuple[int, str]]:
    """One page of an account's orders, newest first, as (created_at, id)."""
    return orders.of_account(database, account.id, before, PAGE)


def deactivate_authorization(database: Database, authorization: Authorization, now: int) -> Authorization:
    """Deactivate an authorization, and with it its order (RFC 8555 section 7.5.2)."""
    error = Fault(Problem.UNAUTHORIZED, f"the authorization for {authorization.identifier} was deactivated")
    with database.transaction() as transaction:
        if orders.deactivate_authorization(transaction, authorization.id, now):
            orders.end(transaction, authorization.order_id, error, now)
    current = orders.get_authorization(database, authorization.id)
    assert current is not None  # authorizations are kept as long as their orders
    return current


def finalize(authority: Authority, order: Order, csr_der: bytes, now: int) -> Order:
    """Issue the certificate of a ready order (RFC 8555 section 7.4).

    Signing comes first and one compare-and-set decides: of two requests that race, one certificate is
    recorded and the other was never seen by anybody.

    :raises AcmeError: ``orderNotReady``, ``badCSR`` (the order stays ready), ``unauthorized`` if what was proven
        no longer holds.
    """
    _require_ready(order, now)
    request = csr.check(csr_der, order.identifiers, authority.ca.own_keys)
    if accounts.by_thumbprint(authority.database, request.thumbprint) is not None:
        raise AcmeError(Problem.BAD_CSR, "the CSR's key is an account's key; make a key pair for the certificate alone")
    proof = _proof(authority, order)
    _require_orderable(authority, order)
    not_before, not_after = validity(authority, order, now)
    issued = authority.ca.issue(
        LeafRequest(
            public_key=request.public_key,
            identifiers=order.identifiers,
            not_before=not_before,
            not_after=not_after,
            provisioner=provisioner_extension(proof.cloud, proof.provisioner, proof.credential_id),
        ),
        now,
    )
    certificate = Certificate(
        id=secrets.token_urlsafe(16),
        serial=f"{issued.serial:x}",
        order_id=order.id,
        account_id=order.account_id,
        names=order.identifiers,
        not_before=issued.not_before,
        not_after=issued.not_after,
        issued_at=now,
        chain=issued.chain_pem,
        key_id=request.spki_sha256.hex(),
        provisioner=proof.provisioner,
        instance=proof.instance,
    )
    with authority.database.transaction() as transaction:
        _require_open(instances.closed(transaction, proof.instance), order)
        if not orders.set_finalized(transaction, order.id, certificate.id, now):
            raise AcmeError(Problem.ORDER_NOT_READY, "the order was finalized or ended meanwhile; look at the order")
        certificates.add(transaction, certificate)
        event = events.add(
            transaction,
            "certificate.issued",
            now,
            account_id=order.account_id,
            instance_id=proof.instance,
            serial=certificate.serial,
            names=[name.value for name in order.identifiers],
            provisioner=proof.provisioner,
            not_after=certificate.not_after,
        )
        events.add_names(transaction, event, now, order.identifiers, proof.instance, certificate.id)
    return replace(order, certificate_id=certificate.id)


def _require_ready(order: Order, now: int) -> None:
    status = of_order(order, now)
    if status is not Status.READY:
        why = f": {order.error.detail}" if order.error is not None else ""
        raise AcmeError(Problem.ORDER_NOT_READY, f"the order is {status}, not ready{why}")


def _proof(authority: Authority, order: Order) -> Proof:
    """The one proof behind all of an order's authorizations.

    :raises AcmeError: ``unauthorized`` if they were proven by several instances or under several provisioners,
        or if the provisioner is no longer configured.
    """
    proofs = {
        challenge.proof
        for authorization in order.authorizations
        for challenge in authorization.challenges
        if challenge.proof is not None
    }
    if len(proofs) != 1:
        raise AcmeError(
            Problem.UNAUTHORIZED,
            "the order's names were not all proven by one instance under one provisioner; make a new order",
        )
    (proof,) = proofs
    if proof.provisioner not in {provisioner.name for provisioner in authority.config.provisioners}:
        raise AcmeError(
            Problem.UNAUTHORIZED,
            f"provisioner {proof.provisioner!r} was removed since the names were proven; make a new order",
        )
    return proof


def _require_orderable(authority: Authority, order: Order) -> None:
    """Refuse names that the rules have been narrowed to exclude since they were proven."""
    config = authority.config
    for name in order.identifiers:
        if (refusal := refusal_to_order(config.provisioners, config.ca.domains, name)) is not None:
            raise AcmeError(Problem.UNAUTHORIZED, f"the rules have changed since the name was proven: {refusal}")


def _require_open(closed: instances.Closed, order: Order) -> None:
    if closed.blocked:
        raise AcmeError(Problem.UNAUTHORIZED, "an operator blocked this instance meanwhile")
    for name in order.identifiers:
        if name.value in closed.names:
            raise AcmeError(Problem.UNAUTHORIZED, f"{name} was revoked for this instance meanwhile")
