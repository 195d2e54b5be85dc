"""Authorizations: offered with an order or ahead of one, and deactivated (RFC 8555 sections 7.4.1 and 7.5)."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace

from acme_iid import hosts
from acme_iid.admission import refusal_to_order
from acme_iid.authority import Authority, delegates, limits, refusals
from acme_iid.authority.accounts import require_terms_agreed
from acme_iid.binding import CHALLENGE_TYPE
from acme_iid.config import Config
from acme_iid.errors import AcmeError, Fault, Problem, Remedy
from acme_iid.protocol import identifiers
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Account, Authorization, Challenge, Enrolment
from acme_iid.store import orders
from acme_iid.store.database import Database

LIFETIME = 3600
"""Seconds in which names are proven and an order for them is finalized. Evidence is at hand, so an hour is long."""


def refusal(config: Config, identifier: Identifier) -> str | None:
    """Why nobody whatever may hold this name, or None: such an order is refused before any proof is asked for."""
    if hosts.offered(config.hosts, config.namespace, identifier):
        return None
    return refusal_to_order(config.provisioners, config.namespace, identifier)


def _challenge_types(config: Config, identifier: Identifier) -> tuple[str, ...]:
    """The types of challenges by which a name can be proven, iid-01 first."""
    standard = hosts.offered(config.hosts, config.namespace, identifier)
    # With no provisioner at all iid-01 is what says so.
    by_instances = refusal_to_order(config.provisioners, config.namespace, identifier) is None and (
        bool(config.provisioners) or not standard
    )
    return (CHALLENGE_TYPE, *standard) if by_instances else standard


def offer(config: Config, account: Account, order_id: str | None, identifier: Identifier, now: int) -> Authorization:
    """A new pending authorization, with one challenge for each way in which the name can be proven."""
    challenges = tuple(_challenge(kind) for kind in _challenge_types(config, identifier))
    return _authorization(account, order_id, identifier, challenges, now)


def give(
    enrolment: Enrolment, account: Account, order_id: str | None, identifier: Identifier, now: int
) -> Authorization:
    """A new authorization of a delegate, valid by the proof behind its enrolment: one iid-01 challenge that was met."""
    met = replace(
        _challenge(CHALLENGE_TYPE),
        validated_at=enrolment.proven_at,
        proof=enrolment.proof,
        names=enrolment.names,
        identity=enrolment.identity,
    )
    return _authorization(account, order_id, identifier, (met,), now)


def _challenge(kind: str) -> Challenge:
    # A token for each: with one for all, the answer to one could be found in the answer to another.
    return Challenge(secrets.token_urlsafe(16), kind, secrets.token_urlsafe(32))


def _authorization(
    account: Account, order_id: str | None, identifier: Identifier, challenges: tuple[Challenge, ...], now: int
) -> Authorization:
    return Authorization(
        id=secrets.token_urlsafe(16),
        account_id=account.id,
        order_id=order_id,
        identifier=identifier.base,
        wildcard=identifier.wildcard,
        created_at=now,
        expires_at=now + LIFETIME,
        challenges=challenges,
    )


def parse_new_authorization(payload: Mapping[str, object]) -> Identifier:
    """Read a newAuthz payload (RFC 8555 section 7.4.1).

    :raises AcmeError: what :func:`identifiers.from_wire` raises, ``malformed`` for a wildcard.
    """
    identifier = identifiers.from_wire(payload.get("identifier"))
    if identifier.wildcard:
        raise AcmeError(
            Problem.MALFORMED, "a wildcard has no authorization ahead of its order (RFC 8555 section 7.4.1)"
        )
    return identifier


def new_authorization(
    authority: Authority, account: Account, identifier: Identifier, remote: str, now: int
) -> Authorization:
    """Make an authorization ahead of an order: the next order of the account for this name takes it.

    :param remote: the client's address, for the record of a refusal.
    :raises AcmeError: ``rejectedIdentifier`` for names that nobody may hold, ``userActionRequired``, ``rateLimited``,
        and what :func:`delegates.require` raises.
    """
    require_terms_agreed(authority.config.ca, account)
    try:
        return _new_authorization(authority, account, identifier, now)
    except AcmeError as refused:
        if refused.problem is not Problem.RATE_LIMITED:
            refusals.record(authority, "authorization.refused", account, (identifier,), refused, remote, now)
        raise


def _new_authorization(authority: Authority, account: Account, identifier: Identifier, now: int) -> Authorization:
    if (reason := refusal(authority.config, identifier)) is not None:
        fault = Fault(Problem.REJECTED_IDENTIFIER, reason, identifier, Remedy.OPERATOR)
        raise AcmeError(fault.problem, reason, subproblems=[fault], remedy=fault.remedy)
    # Refused without the store's one lock where that is possible; what is under way meanwhile counts under it.
    limits.require_room_to_wait(authority.database, account, now)
    with authority.database.transaction() as transaction:
        limits.require_room_to_wait(transaction, account, now)
        limits.order_made(transaction, authority.config.limits, account, now)
        enrolment = delegates.enrolment_of(transaction, account)
        if enrolment is None:
            authorization = offer(authority.config, account, None, identifier, now)
        else:
            delegates.require(transaction, authority.config, enrolment, (identifier,), None, now)
            authorization = give(enrolment, account, None, identifier, now)
        orders.add_authorization(transaction, authorization)
    return authorization


def deactivate(database: Database, authorization: Authorization, now: int) -> Authorization:
    """Deactivate an authorization, and with it its order (RFC 8555 section 7.5.2)."""
    error = Fault(Problem.UNAUTHORIZED, f"the authorization for {authorization.identifier} was deactivated")
    with database.transaction() as transaction:
        if orders.deactivate_authorization(transaction, authorization.id, now):
            orders.end_of_authorization(transaction, authorization.id, error, now)
    current = orders.get_authorization(database, authorization.id)
    assert current is not None  # authorizations are kept as long as their orders
    return current
