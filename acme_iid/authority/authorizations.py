"""Authorizations: offered with an order or ahead of one, and deactivated (RFC 8555 sections 7.4.1 and 7.5)."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace

from acme_iid.authority import Authority, delegates, limits, refusals, signers
from acme_iid.authority.accounts import require_terms_agreed
from acme_iid.authority.context import RequestContext
from acme_iid.binding import CHALLENGE_TYPE
from acme_iid.config.settings import Config
from acme_iid.errors import AcmeError, Fault, Problem, Remedy
from acme_iid.policy.policy import Policy
from acme_iid.protocol import identifiers
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Account, Authorization, Challenge, Enrolment, Order
from acme_iid.store import orders
from acme_iid.store.documents import deactivated
from acme_iid.store.writes import Reader, Statement, Write

LIFETIME = 3600
"""Seconds in which names are proven and an order for them is finalized. Evidence is at hand, so an hour is long."""


def offer(
    policy: Policy, account: Account, identifier: Identifier, now: int, profile: str | None = None
) -> Authorization:
    """A new pending authorization, with one challenge for each way in which the name can be proven.

    :param profile: the certificate profile of its order; None for any.
    """
    challenges = tuple(_challenge(kind) for kind in policy.offers(identifier, profile).challenges)
    return _authorization(account, identifier, challenges, now)


def give(enrolment: Enrolment, account: Account, identifier: Identifier, now: int) -> Authorization:
    """A new authorization of a delegate, valid by the proof behind its enrolment: one iid-01 challenge that was met."""
    met = replace(
        _challenge(CHALLENGE_TYPE),
        validated_at=enrolment.proven_at,
        proof=enrolment.proof,
        names=enrolment.names,
        identity=enrolment.identity,
    )
    return _authorization(account, identifier, (met,), now)


def rely_on(proven: Challenge, proven_in: str, account: Account, identifier: Identifier, now: int) -> Authorization:
    """A new authorization, valid by a proof that an account has made in an earlier order.

    :param proven: the challenge that was met there.
    :param proven_in: the id of that order.
    """
    met = replace(
        _challenge(CHALLENGE_TYPE),
        validated_at=proven.validated_at,
        proof=proven.proof,
        names=proven.names,
        identity=proven.identity,
        proven_in=proven_in,
    )
    return _authorization(account, identifier, (met,), now)


def _challenge(kind: str) -> Challenge:
    # A token for each: with one for all, the answer to one could be found in the answer to another.
    return Challenge("", kind, secrets.token_urlsafe(32))


def _authorization(
    account: Account, identifier: Identifier, challenges: tuple[Challenge, ...], now: int
) -> Authorization:
    return Authorization(
        # It gets its id with its order.
        id="",
        account_id=account.id,
        identifier=identifier.base,
        wildcard=identifier.wildcard,
        created_at=now,
        expires_at=now + LIFETIME,
        challenges=challenges,
    )


def parse_new_authorization(payload: Mapping[str, object]) -> Identifier:
    """Read a newAuthz payload (RFC 8555 section 7.4.1).

    :raises AcmeError: as :func:`identifiers.from_wire`; ``malformed`` for a wildcard.
    """
    identifier = identifiers.from_wire(payload.get("identifier"))
    if identifier.wildcard:
        raise AcmeError(
            Problem.MALFORMED, "a wildcard has no authorization ahead of its order (RFC 8555 section 7.4.1)"
        )
    return identifier


def new_authorization(
    authority: Authority, context: RequestContext, reader: Reader, account: Account, identifier: Identifier
) -> Authorization | Write[Authorization]:
    """Make an authorization ahead of an order: once it is valid, the next order of the account for this name takes it.

    :raises AcmeError: ``rejectedIdentifier`` for names that nobody may hold, ``userActionRequired``, ``rateLimited``,
        and what :func:`delegates.require` raises.
    """
    require_terms_agreed(authority.config.ca, account)
    try:
        return _new_authorization(authority.config, reader, account, identifier, context.now)
    except AcmeError as refused:
        if refused.problem is Problem.RATE_LIMITED:
            raise
        return refusals.refused(authority, context, reader, "authorization.refused", account, (identifier,), refused)


def _new_authorization(
    config: Config, reader: Reader, account: Account, identifier: Identifier, now: int
) -> Write[Authorization]:
    if (reason := config.policy.offers(identifier).refusal) is not None:
        fault = Fault(Problem.REJECTED_IDENTIFIER, reason, identifier, Remedy.OPERATOR)
        raise AcmeError(fault.problem, reason, subproblems=[fault], remedy=fault.remedy)
    limits.require_room_to_wait(reader, account, now)
    limits.require_room_for_order(config.limits, reader, account, now)
    enrolment = delegates.enrolment_of(reader, account)
    statements = [signers.guard(account)]
    if enrolment is None:
        authorization = offer(config.policy, account, identifier, now)
    else:
        delegates.require(config, reader, enrolment, (identifier,), None, now)
        statements += delegates.guards(enrolment)
        authorization = give(enrolment, account, identifier, now)
    order = Order(
        id="",
        account_id=account.id,
        identifiers=(identifier,),
        created_at=now,
        expires_at=authorization.expires_at,
        key=account.thumbprint,
        ahead=True,
        instance_id=None if enrolment is None else enrolment.instance_id,
        generation=None if enrolment is None else enrolment.generation,
        authorizations=(authorization,),
    )
    tag = orders.new_id()
    statements += [orders.add(order, tag), *limits.order_asked(config.limits, account, now)]
    return Write(statements, lambda rows: orders.numbered(order, rows[0]["n"], tag).authorizations[0])


def deactivate(reader: Reader, authorization_id: str, now: int) -> Authorization | Write[Authorization]:
    """Deactivate an authorization, and with it its order (RFC 8555 section 7.5.2), and the proof that it relies on.

    :param authorization_id: of one that is the account's own.
    """
    located = orders.of_authorization_id(reader, authorization_id)
    assert located is not None  # it was read a moment ago
    order, authorization = located
    if authorization.deactivated_at is not None or authorization.revoked_at is not None:
        return authorization
    changed = replace(authorization, deactivated_at=now)
    statements = [_deactivate(order, changed)]
    earlier = next((one.proven_in for one in authorization.challenges if one.proven_in is not None), None)
    proven = None if earlier is None else orders.get(reader, earlier)
    for entry in () if proven is None else proven.authorizations:
        if proven is not None and entry.name == authorization.name and entry.deactivated_at is None:
            # The older order goes first, as in every write.
            statements.insert(0, _deactivate(proven, replace(entry, deactivated_at=now)))
    return Write(statements, lambda _rows: changed)


def _deactivate(order: Order, changed: Authorization) -> Statement:
    entries = tuple(changed if entry.id == changed.id else entry for entry in order.authorizations)
    order = replace(order, authorizations=entries)
    if order.ended_at is None:
        order = replace(order, ended_at=changed.deactivated_at, error=deactivated(changed))
    return orders.deactivate(order)
