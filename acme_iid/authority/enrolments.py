"""Enrolling: the account of an instance hands on what it has proven, and what ends that (rfc-notes/iid-01.md)."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import NamedTuple

from acme_iid.authority import Authority, delegates, limits, refusals, signers
from acme_iid.authority.context import RequestContext
from acme_iid.authority.external_keys import new_key
from acme_iid.binding import CHALLENGE_TYPE
from acme_iid.errors import AcmeError, Problem
from acme_iid.policy.clouds import instance_key
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Account, Challenge, Enrolment, ExternalKey, Order
from acme_iid.protocol.status import Status, of_authorization
from acme_iid.store import accounts, enrolments, external_keys, instances, order_counts, orders
from acme_iid.store.chain import Event
from acme_iid.store.writes import Reader, Statement, Write, again

KEY_LIFETIME = 600
"""Seconds in which the one account must be made that an enrolment's external key is for."""


class Enrolled(NamedTuple):
    """An enrolment as it is now, and the external key for one more delegate if one was asked for."""

    enrolment: Enrolment
    key: ExternalKey | None
    made: bool


def enrol(
    authority: Authority, context: RequestContext, reader: Reader, account: Account, order: Order, renew: str | None
) -> Enrolled | Write[Enrolled]:
    """Hand the names of an order, which iid-01 has proven, on to a delegate, or prove an enrolment anew.

    :param order: the account's own; it is not used up.
    :param renew: the id of the enrolment to extend, for which no key is made.
    :raises AcmeError: ``unauthorized``, with the reason; ``rejectedIdentifier`` for the CA's own names; ``malformed``
        if there is no such enrolment; ``rateLimited``.
    """
    try:
        return _enrol(authority, context, reader, account, order, renew)
    except AcmeError as error:
        if error.problem in (Problem.UNAUTHORIZED, Problem.REJECTED_IDENTIFIER):
            return refusals.refused(authority, context, reader, "enrolment.refused", account, order.identifiers, error)
        raise


def _enrol(
    authority: Authority, context: RequestContext, reader: Reader, account: Account, order: Order, renew: str | None
) -> Write[Enrolled]:
    if account.enrolment_id is not None:
        raise AcmeError(
            Problem.UNAUTHORIZED, "this account was enrolled itself; the account of the instance enrols others"
        )
    now = context.now
    proven = _proven(authority, account, order, now)
    delegates.require(authority.config, reader, proven, proven.names, None, now)
    if renew is not None:
        _require_extends(reader, proven, renew)
    in_force = enrolments.in_force_for(reader, proven)
    if in_force is not None and in_force.proven_at > proven.proven_at:
        raise AcmeError(Problem.UNAUTHORIZED, "the names were enrolled with a newer proof; make a new order")
    enrolment = proven if in_force is None else replace(proven, id=in_force.id, created_at=in_force.created_at)
    key = None
    statements = [
        signers.guard(account),
        instances.unchanged(proven.instance_id, proven.generation),
        enrolments.prove(proven, again),
        # It is this one that was made or extended, and not one that came in between.
        enrolments.unchanged(enrolment),
        orders.version_unchanged(order),
    ]
    if renew is None:
        key = new_key("enrolment", KEY_LIFETIME, now, reusable=False, enrolment_id=enrolment.id)
        statements += [external_keys.add(key), *limits.key_made(authority.config.limits, account, now)]
    event = Event(
        "enrolment.made" if in_force is None else "enrolment.extended",
        now,
        account_id=account.id,
        instance=instance_key(enrolment.instance_id),
        detail={
            "enrolment": enrolment.id,
            "names": [name.value for name in enrolment.names],
            "provisioner": enrolment.proof.provisioner,
            "until": enrolment.expires_at,
            "external_key": None if key is None else key.id,
            "thumbprint": account.thumbprint,
            "remote": context.remote,
        },
    )
    enrolled = Enrolled(enrolment, key, in_force is None)
    return Write(statements, lambda _rows: enrolled, [event])


def _proven(authority: Authority, account: Account, order: Order, now: int) -> Enrolment:
    """The enrolment that an order's proofs are good for.

    :raises AcmeError: ``unauthorized`` if a name is not proven by iid-01 now, or not all are by one instance.
    """
    proven: list[Challenge] = []
    for authorization in order.authorizations:
        answered = [
            challenge
            for challenge in authorization.challenges
            if challenge.type == CHALLENGE_TYPE and challenge.identity is not None
        ]
        if any(challenge.proven_in is not None for challenge in answered):
            # Else whoever has the account's key, and not the machine, could make a delegate that outlives the proof.
            raise AcmeError(
                Problem.UNAUTHORIZED,
                f"{authorization.name} was proven in an earlier order, which enrols nobody; deactivate the "
                "authorization, make an order and answer its iid-01 challenges",
            )
        if of_authorization(authorization, now) is not Status.VALID or not answered:
            raise AcmeError(
                Problem.UNAUTHORIZED,
                f"{authorization.name} is not proven by iid-01 in this order now; make an order, answer its iid-01 "
                "challenges, and enrol within the hour",
            )
        proven += answered
    proofs = {challenge.proof for challenge in proven}
    proof = proofs.pop()
    if proofs or proof is None or proof.instance is None:
        raise AcmeError(
            Problem.UNAUTHORIZED,
            "the order's names were not all proven by one instance under one provisioner; make a new order",
        )
    first = min(proven, key=lambda challenge: challenge.validated_at or 0)
    assert first.validated_at is not None
    assert first.identity is not None
    lifetimes = {entry.name: entry.enrolment_lifetime for entry in authority.config.provisioners}
    return Enrolment(
        id=secrets.token_urlsafe(16),
        account_id=account.id,
        instance_id=proof.instance,
        generation=order.generation or 0,
        names=tuple(sorted(order.identifiers)),
        proof=proof,
        identity=first.identity,
        created_at=now,
        proven_at=first.validated_at,
        # A provisioner that was removed meanwhile gives nothing, which delegates.require() says.
        expires_at=first.validated_at + lifetimes.get(proof.provisioner, 0),
    )


def _require_extends(reader: Reader, proven: Enrolment, renew: str) -> None:
    """Refuse to extend an enrolment with a proof that is not for the same names of the same instance.

    :raises AcmeError: ``malformed`` with 404 if the account has no such enrolment, ``unauthorized``.
    """
    enrolment = enrolments.get(reader, renew)
    if enrolment is None or enrolment.account_id != proven.account_id:
        raise AcmeError(Problem.MALFORMED, "this account has no such enrolment", status=404)
    if enrolment.ended_at is not None:
        raise AcmeError(
            Problem.UNAUTHORIZED, f"the enrolment has ended: {enrolment.reason}; enrol anew for another external key"
        )
    if (enrolment.instance_id, enrolment.names) != (proven.instance_id, proven.names):
        raise AcmeError(
            Problem.UNAUTHORIZED,
            "the order does not prove the names of the enrolment, which are "
            f"{', '.join(name.value for name in enrolment.names)}, by its instance",
        )


class Ended(NamedTuple):
    """The end of enrolments, of their keys that nobody has used yet and of the orders that their delegates have open.

    :ivar orders: the number of the delegates' orders that end.
    :ivar ids: the ids of the enrolments.
    """

    statements: list[Statement]
    events: list[Event]
    orders: int
    ids: frozenset[str]


def end_of_instance(
    reader: Reader, instance_id: str, names: Collection[Identifier] | None, reason: str, now: int
) -> Ended:
    """End an instance's enrolments.

    :param names: only enrolments for any of these names; None for all.
    :param reason: the reason that the delegates are told.
    """
    in_force = enrolments.in_force_of_instance(reader, instance_id)
    ending = [enrolment for enrolment in in_force if names is None or set(names) & set(enrolment.names)]
    alone = enrolments.no_others("instance_id", instance_id, {enrolment.id for enrolment in in_force})
    return _ended(reader, alone, ending, reason, now)


def end_of_account(
    reader: Reader, account_id: str, reason: str, now: int, besides: Collection[str] = frozenset()
) -> Ended:
    """End what an account has handed on.

    :param besides: the ids of enrolments that end in the same write for another reason.
    """
    in_force = enrolments.in_force_of_account(reader, account_id)
    ending = [enrolment for enrolment in in_force if enrolment.id not in besides]
    alone = enrolments.no_others("account_id", account_id, {enrolment.id for enrolment in in_force})
    return _ended(reader, alone, ending, reason, now)


def _ended(reader: Reader, alone: Statement, ending: Sequence[Enrolment], reason: str, now: int) -> Ended:
    """End enrolments.

    :param alone: relies on it that no other was made meanwhile.
    """
    ended = Ended([alone], [], 0, frozenset(enrolment.id for enrolment in ending))
    for enrolment in ending:
        others = accounts.delegates(reader, enrolment.id)
        count = sum(order_counts.count_open_of(reader, delegate.id, now) for delegate in others)
        event = Event(
            "enrolment.ended",
            now,
            account_id=enrolment.account_id,
            instance=instance_key(enrolment.instance_id),
            detail={
                "enrolment": enrolment.id,
                "names": [name.value for name in enrolment.names],
                "reason": reason,
                "orders_ended": count,
            },
        )
        statements = [
            enrolments.end(enrolment, reason, now),
            external_keys.revoke_of_enrolment(enrolment.id, now),
        ]
        ended = Ended(ended.statements + statements, [*ended.events, event], ended.orders + count, ended.ids)
    return ended
