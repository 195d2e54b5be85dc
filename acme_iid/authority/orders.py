"""Orders: what one asks for, and how it is made (RFC 8555 section 7.4)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from acme_iid.authority import Authority, delegates, limits, proofs, refusals, signers
from acme_iid.authority.accounts import require_terms_agreed
from acme_iid.authority.authorizations import LIFETIME, give, offer, rely_on
from acme_iid.authority.context import RequestContext
from acme_iid.authority.renewal import check_replaces, questions, replaces
from acme_iid.binding import CLOCK_SKEW
from acme_iid.config.settings import Config
from acme_iid.errors import AcmeError, Fault, Problem, Remedy
from acme_iid.issuance.profiles import Profile
from acme_iid.policy.policy import Policy
from acme_iid.protocol import identifiers
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Account, Challenge, Enrolment, Order
from acme_iid.store import orders
from acme_iid.store.chain import Event
from acme_iid.store.writes import Reader, Statement, Write, again

MAX_IDENTIFIERS = 100


@dataclass(frozen=True, slots=True)
class NewOrder:
    """The content of a newOrder payload; times in seconds."""

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
    entries = payload.get("identifiers")
    if not isinstance(entries, list) or not entries:
        raise AcmeError(Problem.MALFORMED, "'identifiers' is a list of at least one identifier")
    if len(entries) > MAX_IDENTIFIERS:
        raise AcmeError(Problem.MALFORMED, f"there are {len(entries)} identifiers; {MAX_IDENTIFIERS} is the limit")
    names: list[Identifier] = []
    faults: list[Fault] = []
    for entry in entries:
        try:
            names.append(identifiers.from_wire(entry))
        except AcmeError as error:
            if error.problem is Problem.MALFORMED:
                raise
            faults.append(Fault(error.problem, error.detail, (entry["type"][:32], entry["value"][:256])))
    if faults:
        raise _joint_error(faults)
    return NewOrder(
        identifiers=tuple(dict.fromkeys(names)),
        not_before=_timestamp(payload, "notBefore"),
        not_after=_timestamp(payload, "notAfter"),
        replaces=_replaces(payload),
        profile=profile,
    )


def _joint_error(faults: Sequence[Fault]) -> AcmeError:
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


def new_order(
    authority: Authority, context: RequestContext, reader: Reader, account: Account, request: NewOrder
) -> Write[Order]:
    """Make an order, with an authorization for each identifier: one made ahead of it, or a new pending one.

    :raises AcmeError: ``rejectedIdentifier`` for names that nobody may hold, ``invalidProfile`` for a profile that
        there is not or that nobody gives for a name, ``malformed`` for a validity that this CA does not give,
        ``userActionRequired``, ``rateLimited``, what is wrong with ``replaces``, and to a delegate what
        :func:`delegates.require` raises.
    """
    config, now = authority.config, context.now
    require_terms_agreed(config.ca, account)
    enrolment = delegates.enrolment_of(reader, account)
    # A delegate is given nothing by other rules than those that its enrolment was proven under.
    profile = _profile(config, request, None if enrolment is None else enrolment.proof.provisioner)
    if enrolment is None and (faults := _faults(config.policy, profile, request)):
        return _refused(authority, context, reader, account, request, _joint_error(faults))
    _check_validity(authority, profile, request.not_before, request.not_after, now)
    if request.replaces is not None:
        reader = reader.ahead(*questions(request.replaces), orders.question_of_replacing(request.replaces))
        check_replaces(reader, account, request.replaces, request.identifiers)
    order = Order(
        id="",
        account_id=account.id,
        identifiers=request.identifiers,
        created_at=now,
        expires_at=now + LIFETIME,
        key=account.thumbprint,
        not_before=request.not_before,
        not_after=request.not_after,
        profile=profile.name,
        replaces=request.replaces,
    )
    limits.require_room_for_order(config.limits, reader, account, now)
    try:
        if enrolment is None:
            return _add(authority, context, reader, account, order)
        return _add_of_delegate(config, reader, enrolment, account, order, now)
    except AcmeError as refused:
        if enrolment is None or refused.problem is Problem.RATE_LIMITED:
            raise
        return _refused(authority, context, reader, account, request, refused)


def _refused(
    authority: Authority,
    context: RequestContext,
    reader: Reader,
    account: Account,
    request: NewOrder,
    error: AcmeError,
) -> Write[Order]:
    return refusals.refused(authority, context, reader, "order.refused", account, request.identifiers, error)


def _add(authority: Authority, context: RequestContext, reader: Reader, account: Account, order: Order) -> Write[Order]:
    """Add an order with its authorizations: pending ones, and valid ones that were made ahead or proven earlier."""
    config, now = authority.config, context.now
    under = {entry.name for entry in config.policy.provisioners if entry.gives_profile(order.profile)}
    ahead = {
        name: made
        for name, made in orders.waiting(reader, account.id, order.identifiers, now).items()
        if all(challenge.proof is None or challenge.proof.provisioner in under for challenge in _challenges(made))
    }
    if not ahead and (earlier := proofs.reliance(authority, reader, account, order.identifiers, order.profile, now)):
        return _add_proven(config, context, reader, account, order, earlier)
    entries = tuple(
        ahead[name].authorizations[0] if name in ahead else offer(config.policy, account, name, now, order.profile)
        for name in order.identifiers
    )
    proven = sorted({(made.instance_id, made.generation) for made in ahead.values() if made.instance_id is not None})
    if len(proven) == 1:
        # Names that are proven elsewhere, or later, have to be by the same one.
        order = replace(order, instance_id=proven[0][0], generation=proven[0][1])
    taking = [orders.take(made, now) for made in sorted(ahead.values(), key=orders.number)]
    return _write(config, reader, account, replace(order, authorizations=entries), taking, now)


def _add_proven(
    config: Config, context: RequestContext, reader: Reader, account: Account, order: Order, earlier: proofs.Reliance
) -> Write[Order]:
    """Add an order that relies on earlier proofs of the account: it is born ready, and lasts no longer than they."""
    order = replace(
        order,
        expires_at=min(order.expires_at, earlier.ends_at),
        instance_id=earlier.instance.id,
        generation=earlier.instance.generation,
        authorizations=tuple(
            replace(
                rely_on(proof.challenge, proof.order.id, account, name, context.now),
                expires_at=min(order.expires_at, earlier.ends_at),
            )
            for name, proof in earlier.proofs.items()
        ),
    )
    write = _write(config, reader, account, order, earlier.guards(), context.now)
    return replace(write, events=[earlier.event(context, account)])


def _challenges(order: Order) -> Iterator[Challenge]:
    return (challenge for entry in order.authorizations for challenge in entry.challenges)


def _add_of_delegate(
    config: Config, reader: Reader, enrolment: Enrolment, account: Account, order: Order, now: int
) -> Write[Order]:
    """Add a delegate's order with its authorizations: valid ones, so that it is born ready."""
    delegates.require(config, reader, enrolment, order.identifiers, order.profile, now)
    order = replace(
        order,
        instance_id=enrolment.instance_id,
        generation=enrolment.generation,
        authorizations=tuple(give(enrolment, account, name, now) for name in order.identifiers),
    )
    return _write(config, reader, account, order, delegates.guards(enrolment), now)


def _write(
    config: Config, reader: Reader, account: Account, order: Order, before: Sequence[Statement], now: int
) -> Write[Order]:
    """The write of a new order.

    :param before: the statements of what it relies on, besides its account.
    """
    tag = orders.new_id()
    replacing = [] if order.replaces is None else replaces(reader, order.replaces, now)
    statements = [
        signers.guard(account),
        *before,
        *replacing,
        orders.add(order, tag, None if order.replaces is None else again),
        *limits.order_asked(config.limits, account, now),
    ]
    created = Event("order.created", now, account_id=account.id, detail={"profile": order.profile})
    return Write(statements, lambda rows: orders.numbered(order, rows[0]["n"], tag), repeated=[created])


def _profile(config: Config, request: NewOrder, under: str | None) -> Profile:
    """The profile that an order asks for; if none, the first one that can be given for its names.

    :param under: the one provisioner that counts; None for all.
    """
    name = request.profile
    if name is None:
        able = (profile for profile in config.profiles if not _faults(config.policy, profile, request, under))
        return next(able, config.default_profile)
    profile = config.profile(name)
    if profile is None:
        listed = ", ".join(str(profile.name) for profile in config.profiles)
        raise AcmeError(
            Problem.INVALID_PROFILE,
            f"this CA has no certificate profile {name[:48]!a}; its profiles are {listed}"
            if listed
            else "this CA has no certificate profiles; leave 'profile' out",
        )
    return profile


def _faults(policy: Policy, profile: Profile, request: NewOrder, under: str | None = None) -> list[Fault]:
    """The reasons why there can be no order for certain names with a profile."""
    faults = (_fault(policy, profile, identifier, under) for identifier in request.identifiers)
    return [fault for fault in faults if fault is not None]


def _fault(policy: Policy, profile: Profile, identifier: Identifier, under: str | None) -> Fault | None:
    if (reason := policy.offers(identifier, under=under).refusal) is not None:
        return Fault(Problem.REJECTED_IDENTIFIER, reason, identifier, Remedy.OPERATOR)
    is_given = policy.gives_profile(profile.name, under=under)
    if not is_given or policy.offers(identifier, profile.name, under=under).refusal is not None:
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
    # By the client's clock it may be the very longest or shortest; the certificate is neither longer nor shorter.
    if not lifetimes.minimum - CLOCK_SKEW <= ends - basis <= lifetimes.maximum + CLOCK_SKEW:
        raise AcmeError(
            Problem.MALFORMED,
            f"'notAfter' asks for a certificate of {max(ends - basis, 0)} seconds; "
            f"{'this CA' if profile.name is None else f'the profile {profile.name!r}'} gives "
            f"{lifetimes.minimum} to {lifetimes.maximum} seconds",
        )
    if not_after is not None and not_after > authority.ca.current.not_after + CLOCK_SKEW:
        raise AcmeError(Problem.MALFORMED, "'notAfter' is after the end of this CA's intermediate certificate")
