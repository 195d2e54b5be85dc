"""Orders: what one asks for, and how it is made (RFC 8555 section 7.4)."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from acme_iid.authority import Authority, delegates, limits, refusals
from acme_iid.authority.accounts import require_terms_agreed
from acme_iid.authority.authorizations import LIFETIME, give, offer, refusal
from acme_iid.authority.renewal import check_replaces, require_not_replaced
from acme_iid.config import Config
from acme_iid.errors import AcmeError, Fault, Problem, Remedy
from acme_iid.issuance.profiles import Profile
from acme_iid.protocol import identifiers
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Account, Order
from acme_iid.store import orders, waiting
from acme_iid.store.database import Transaction

MAX_IDENTIFIERS = 100
CLOCK_SKEW = 60
"""Seconds that a client's clock, by which it reckons the validity that it asks for, may be ahead of or behind ours."""


@dataclass(frozen=True, slots=True)
class NewOrder:
    """What a newOrder payload asks for; times in seconds."""

    identifiers: tuple[Identifier, ...]
    not_before: int | None = None
    not_after: int | None = None
    replaces: str | None = None
    profile: str | None = None


def parse_new_order(payload: dict[str, object]) -> NewOrder:
    """Read a newOrder payload (RFC 8555 section 7.4).

    :raises AcmeError: ``malformed``, or what :func:`identifiers.from_wire` raises, with a subproblem for each
        identifier that is at fault.
    """
    profile = payload.get("profile")
    if profile is not None and not isinstance(profile, str):
        raise AcmeError(Problem.MALFORMED, "'profile' is the name of one of the directory's profiles, a string")
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
        replaces=_replaces(payload),
        profile=profile,
    )


def _several(faults: Sequence[Fault]) -> AcmeError:
    """One error for several faults: the first one's type, unless they differ."""
    kinds = {fault.problem for fault in faults}
    problem = faults[0].problem if len(kinds) == 1 else Problem.MALFORMED
    # One that an operator has to remedy is in the way, whatever the others are.
    remedy = next((fault.remedy for fault in faults if fault.remedy is not None), None)
    return AcmeError(problem, "; ".join(fault.detail for fault in faults[:5]), subproblems=faults, remedy=remedy)


def _replaces(payload: dict[str, object]) -> str | None:
    value = payload.get("replaces")
    if value is not None and not isinstance(value, str):
        raise AcmeError(Problem.MALFORMED, "'replaces' is not a string (RFC 9773 section 5)")
    return value


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


def new_order(authority: Authority, account: Account, wanted: NewOrder, remote: str, now: int) -> Order:
    """Make an order, with an authorization for each identifier: one made ahead of it, or a new pending one.

    :param remote: the client's address, for the record of a refusal.
    :raises AcmeError: ``rejectedIdentifier`` for names that nobody may hold, ``invalidProfile`` for a profile that
        there is not or that nobody gives for a name, ``malformed`` for a validity that this CA does not give,
        ``userActionRequired``, ``rateLimited``, what is wrong with ``replaces``, and to a delegate what
        :func:`delegates.require` raises.
    """
    require_terms_agreed(authority.config.ca, account)
    enrolment = delegates.enrolment_of(authority.database, account)
    ruling = authority.config if enrolment is None else delegates.narrowed(authority.config, enrolment)
    profile = _profile(ruling, wanted)
    if enrolment is None and (faults := _faults(ruling, profile, wanted)):
        refused = _several(faults)
        refusals.record(authority, "order.refused", account, wanted.identifiers, refused, remote, now)
        raise refused
    _check_validity(authority, profile, wanted.not_before, wanted.not_after, now)
    if wanted.replaces is not None:
        check_replaces(authority.database, account, wanted.replaces, wanted.identifiers)
    order = Order(
        id=secrets.token_urlsafe(16),
        account_id=account.id,
        identifiers=wanted.identifiers,
        created_at=now,
        expires_at=now + LIFETIME,
        not_before=wanted.not_before,
        not_after=wanted.not_after,
        profile=profile.name,
        replaces=wanted.replaces,
    )
    giving = authority.config.giving(profile.name)
    # A delegate's order stands on one proof; what newAuthz gave it may stand on an earlier one.
    names = order.identifiers if enrolment is None else ()
    ahead = waiting.for_names(authority.database, account.id, names, _names(giving), now)
    try:
        with authority.database.transaction() as transaction:
            made = _add(transaction, authority.config, giving, account, order, ahead, now)
    except AcmeError as refused:
        if enrolment is not None and refused.problem is not Problem.RATE_LIMITED:
            refusals.record(authority, "order.refused", account, wanted.identifiers, refused, remote, now)
        raise
    if made is not None:
        return made
    # As they are by now: an answer may have been judged since they were read.
    current = orders.get(authority.database, order.id)
    assert current is not None  # orders are kept for longer
    return current


def _names(config: Config) -> list[str]:
    return [entry.name for entry in config.all_provisioners]


def _add(
    transaction: Transaction,
    config: Config,
    giving: Config,
    account: Account,
    order: Order,
    ahead: Mapping[Identifier, str],
    now: int,
) -> Order | None:
    """Add an order with its authorizations: pending ones, or, to a delegate, valid ones, so that it is born ready.

    :param giving: ``config`` with those provisioners only that give the order's profile.
    :param ahead: by their names, the ids of authorizations that waited for an order when they were looked for.
    :returns: the order as it is; None if it took some of those, so that it has to be read.
    """
    limits.order_made(transaction, config.limits, account, now)
    if order.replaces is not None:
        require_not_replaced(transaction, order.replaces, now)
    enrolment = delegates.enrolment_of(transaction, account)
    if enrolment is None:
        authorizations = [offer(giving, account, order.id, identifier, now) for identifier in order.identifiers]
    else:
        delegates.require(transaction, config, enrolment, order.identifiers, order.profile, now)
        authorizations = [give(enrolment, account, order.id, identifier, now) for identifier in order.identifiers]
    orders.add(transaction, order)
    under, taken = _names(giving), False
    for position, offered in enumerate(authorizations):
        waits = ahead.get(offered.name)
        if waits is not None and waiting.take(transaction, waits, order.id, position, under, now):
            taken = True
        else:
            orders.add_authorization(transaction, offered, position)
    return None if taken else replace(order, authorizations=tuple(authorizations))


def _profile(config: Config, wanted: NewOrder) -> Profile:
    """The profile that an order asks for; if none, the first one that can be given for its names."""
    asked = wanted.profile
    if asked is None:
        able = (profile for profile in config.profiles if not _faults(config, profile, wanted))
        return next(able, config.default_profile)
    found = config.profile(asked)
    if found is None:
        listed = ", ".join(str(profile.name) for profile in config.profiles)
        raise AcmeError(
            Problem.INVALID_PROFILE,
            f"this CA has no certificate profile {asked[:48]!a}; its profiles are {listed}"
            if listed
            else "this CA has no certificate profiles; leave 'profile' out",
        )
    return found


def _faults(config: Config, profile: Profile, wanted: NewOrder) -> list[Fault]:
    """Why there can be no order for certain names with a profile."""
    giving = config.giving(profile.name)
    faults = (_fault(config, giving, profile, identifier) for identifier in wanted.identifiers)
    return [fault for fault in faults if fault is not None]


def _fault(config: Config, giving: Config, profile: Profile, identifier: Identifier) -> Fault | None:
    """Why there can be no order for a name, or None.

    :param giving: ``config`` with those provisioners only that give the profile.
    """
    if (reason := refusal(config, identifier)) is not None:
        return Fault(Problem.REJECTED_IDENTIFIER, reason, identifier, Remedy.OPERATOR)
    nobody = not giving.all_provisioners and config.all_provisioners
    if nobody or refusal(giving, identifier) is not None:
        return Fault(
            Problem.INVALID_PROFILE,
            f"no provisioner that may give {identifier} gives the profile {profile.name!r}",
            identifier,
            Remedy.OPERATOR,
        )
    return None


def _check_validity(
    authority: Authority, profile: Profile, not_before: int | None, not_after: int | None, now: int
) -> None:
    """Refuse an order whose wish for a validity cannot be honoured.

    :raises AcmeError: ``malformed``.
    """
    lifetimes = profile.lifetimes
    basis = now if not_before is None else max(not_before, now)
    ends = basis + lifetimes.usual if not_after is None else not_after
    if not_before is not None and not_before < now - LIFETIME:
        raise AcmeError(Problem.MALFORMED, "'notBefore' is in the past; leave it out for a certificate valid from now")
    if not_before is not None and not_before > now + lifetimes.maximum + CLOCK_SKEW:
        raise AcmeError(Problem.MALFORMED, "'notBefore' is further ahead than this CA's longest certificate lasts")
    # By the client's clock it may be the very longest or shortest; what is issued is neither longer nor shorter.
    if not lifetimes.minimum - CLOCK_SKEW <= ends - basis <= lifetimes.maximum + CLOCK_SKEW:
        raise AcmeError(
            Problem.MALFORMED,
            f"'notAfter' asks for a certificate of {max(ends - basis, 0)} seconds; "
            f"{'this CA' if profile.name is None else f'the profile {profile.name!r}'} gives "
            f"{lifetimes.minimum} to {lifetimes.maximum} seconds",
        )
    if not_after is not None and not_after > authority.ca.not_after + CLOCK_SKEW:
        raise AcmeError(Problem.MALFORMED, "'notAfter' is after the end of this CA's intermediate certificate")
