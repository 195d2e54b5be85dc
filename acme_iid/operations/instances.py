"""Operators' work on instances: release, block, open closed names again."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import partial
from typing import NamedTuple

from acme_iid.authority import enrolments, revocation
from acme_iid.authority.authorizations import LIFETIME
from acme_iid.errors import ConflictError, NotFoundError, RequestError
from acme_iid.policy import clouds
from acme_iid.policy.clouds import CLOUD_TYPES, instance_key, one_of
from acme_iid.protocol.resources import Instance
from acme_iid.store import certificates, events, instances, lookups, order_counts, searches
from acme_iid.store.chain import Event
from acme_iid.store.database import Database
from acme_iid.store.listing import Filter
from acme_iid.store.writes import Decision, Reader, Statement, Write, perform

_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}\Z")
MAX_REASON_LENGTH = 200
_MOST_LOOKED_AT = 1000


class Ended(NamedTuple):
    """The number of orders that an operator's word ended, and of certificates that it revoked."""

    orders: int
    certificates: int


def find(reader: Reader, word: str) -> Instance:
    """The one instance an operator means: by its whole id, or the cloud's own instance id if that is unique.

    :raises RequestError: if no such instance was used or blocked, or more than one was.
    """
    matches = instances.find(reader, word)
    if not matches:
        raise NotFoundError(f"no instance {word!r} has been used here; 'acme-iid-ca instance list' shows all")
    if len(matches) > 1:
        listed = ", ".join(instance.id for instance in matches)
        raise RequestError(f"{word!r} fits several instances: {listed}; give one of these ids")
    return matches[0]


def called(reader: Reader, word: str) -> list[str]:
    """The whole ids of the instances that an operator may mean, also of those that were only ever refused.

    :param word: the whole id, or the cloud's own.
    """
    used = {instance.id for instance in instances.find(reader, word)}
    return sorted(used | set(searches.instances_called(reader, word)))


def one_called(reader: Reader, word: str) -> str:
    """The one instance that an operator means, as :func:`called` finds it.

    :raises RequestError: if it is none, or several.
    """
    ids = called(reader, word)
    if not ids:
        raise NotFoundError(f"the instance {word!r} is not known here: it was neither used nor refused")
    if len(ids) > 1:
        raise RequestError(f"{word!r} fits several instances: {', '.join(ids)}; give one of these ids")
    return ids[0]


def release(
    database: Database, word: str, thumbprint: str, seconds: int, *, revoke: bool, now: int
) -> tuple[str, Ended]:
    """Let the account key with ``thumbprint``, and no other, use the instance first, or first again.

    The old account loses what it has proven with the instance. With ``revoke``, its certificates for the instance
    are revoked as superseded, so that the new key can hold the names.

    :param word: as for :func:`find`, or the whole id of an instance that was never used here: one that is too old.
    :param seconds: the seconds that the release lasts if it is not used.
    :returns: the instance's id, and what was ended.
    :raises RequestError: if ``word`` is no one instance, or ``thumbprint`` is not a key's thumbprint.
    """
    if not _THUMBPRINT.match(thumbprint):
        raise RequestError(f"{thumbprint!r} is no key thumbprint; the refused client prints its own, 43 characters")
    decide = partial(releasing, word=word, thumbprint=thumbprint, until=now + seconds, revoke=revoke, now=now)
    return _act(database, decide, revocation.SUPERSEDED if revoke else None, now)


def releasing(
    reader: Reader, word: str, thumbprint: str, until: int, *, revoke: bool, now: int
) -> Write[tuple[str, Ended]]:
    """The write of :func:`release`.

    :param until: seconds.
    """
    instance_id = _whole_id(reader, word)
    reason = "the instance was released to another account key"
    taken = _take_all(reader, instance_id, reason, now)
    revoked = _revoke_all(reader, instance_id, revocation.SUPERSEDED, now, taken.ended) if revoke else _NOTHING
    ended = Ended(taken.orders, revoked.certificates)
    event = Event(
        "instance.released",
        now,
        account_id=None if taken.instance is None else taken.instance.account_id,
        instance=instance_key(instance_id),
        detail={
            "released_to": thumbprint,
            "until": until,
            "orders_ended": ended.orders,
            "certificates_revoked": ended.certificates,
        },
    )
    generation = 0 if taken.instance is None else taken.instance.generation
    statements = [
        instances.release(instance_key(instance_id), generation, thumbprint, reason, now, until),
        *taken.statements,
        *revoked.statements,
    ]
    return Write(statements, lambda _rows: (instance_id, ended), [*taken.events, *revoked.events, event])


def block(database: Database, word: str, reason: str | None, *, revoke: bool, now: int) -> tuple[str, Ended]:
    """Shut an instance out, whoever answers for it, and end what it has proven.

    With ``revoke``, its certificates are revoked for keyCompromise, as the keys of a machine that must be shut out
    have to be taken for; that closes their names to it, even when it is let in again, until an operator reopens them.

    :param word: as for :func:`find`, or the whole id of an instance that was never used here.
    :param reason: for operators; the instance is not told.
    :returns: the instance's id, and what was ended.
    :raises RequestError: if ``word`` is no one instance, or it is blocked already.
    """
    if reason is not None and (not reason or len(reason) > MAX_REASON_LENGTH or not reason.isprintable()):
        raise RequestError(f"a reason is printable text of 1 to {MAX_REASON_LENGTH} characters")
    decide = partial(blocking, word=word, reason=reason, revoke=revoke, now=now)
    return _act(database, decide, revocation.KEY_COMPROMISE if revoke else None, now)


def _act(database: Database, decide: Decision[tuple[str, Ended]], code: int | None, now: int) -> tuple[str, Ended]:
    """Take from an instance what it has proven, and revoke what it has.

    :param code: the reason for the revocation; None for none.
    """
    lookups.follow(database)
    instance_id, ended = perform(database, decide)
    if code is None:
        return instance_id, ended
    # Certificates that were issued after the look and before the instance lost its proof; no others can follow.
    lookups.follow(database)
    late = perform(database, partial(revoking, instance_id=instance_id, code=code, now=now))
    return instance_id, Ended(ended.orders, ended.certificates + late)


def revoking(reader: Reader, instance_id: str, code: int, now: int) -> Write[int]:
    """The revocation of an instance's certificates that are still in force; its answer is their number."""
    revoked = _revoke_all(reader, instance_id, code, now)
    return Write(revoked.statements, lambda _rows: revoked.certificates, revoked.events)


def blocking(reader: Reader, word: str, reason: str | None, *, revoke: bool, now: int) -> Write[tuple[str, Ended]]:
    """The write of :func:`block`."""
    instance_id = _whole_id(reader, word)
    known = instances.get(reader, instance_id)
    if known is not None and known.blocked_at is not None:
        raise ConflictError(f"{instance_id} is blocked already; 'acme-iid-ca instance show {instance_id}' says why")
    sentence = "an operator blocked this instance"
    taken = _take_all(reader, instance_id, sentence, now)
    revoked = _revoke_all(reader, instance_id, revocation.KEY_COMPROMISE, now, taken.ended) if revoke else _NOTHING
    ended = Ended(taken.orders, revoked.certificates)
    event = Event(
        "instance.blocked",
        now,
        account_id=None if known is None else known.account_id,
        instance=instance_key(instance_id),
        detail={
            "reason": reason,
            "orders_ended": ended.orders,
            "certificates_revoked": ended.certificates,
        },
    )
    statements = [
        instances.block(instance_key(instance_id), 0 if known is None else known.generation, sentence, reason, now),
        *taken.statements,
        *revoked.statements,
    ]
    return Write(statements, lambda _rows: (instance_id, ended), [*taken.events, *revoked.events, event])


def _whole_id(reader: Reader, word: str) -> str:
    if not instances.find(reader, word):
        if clouds.is_whole_id(word):
            return word
        forms = one_of([entry.id_form for entry in CLOUD_TYPES.values()])
        raise NotFoundError(
            f"no instance {word!r} has been used here. For one that was not, give its whole id: {forms}, in lower case"
        )
    return find(reader, word).id


def unblock(database: Database, word: str, now: int) -> tuple[str, frozenset[str]]:
    """Let an instance in again.

    :param word: its whole id, or the cloud's own instance id if that is unique.
    :returns: its id, and the names that are still closed to it.
    :raises RequestError: if it is not blocked.
    """
    return perform(database, partial(_unblock, word=word, now=now))


def _unblock(reader: Reader, word: str, now: int) -> Write[tuple[str, frozenset[str]]]:
    blocked = [instance for instance in instances.find(reader, word) if instance.blocked_at is not None]
    if not blocked:
        raise ConflictError(f"{word!r} is not blocked; 'acme-iid-ca instance list --blocked' shows what is")
    if len(blocked) > 1:
        raise RequestError(f"{word!r} is several: {', '.join(entry.id for entry in blocked)}; give one")
    instance_id = blocked[0].id
    closed = instances.closed(reader, instance_id).names
    event = Event("instance.unblocked", now, instance=instance_key(instance_id))
    return Write([instances.unblock(instance_id)], lambda _rows: (instance_id, closed), [event])


class _Taken(NamedTuple):
    """The end of an instance's enrolments, beside the raising of its generation, and how many orders end with it.

    :ivar ended: the ids of the enrolments that end.
    """

    instance: Instance | None
    statements: list[Statement]
    events: list[Event]
    orders: int
    ended: frozenset[str]


def _take_all(reader: Reader, instance_id: str, reason: str, now: int) -> _Taken:
    """End what an instance has proven, whoever ordered by it."""
    instance = instances.get(reader, instance_id)
    ended = enrolments.end_of_instance(reader, instance_id, None, reason, now)
    count = ended.orders
    if instance is not None:
        proven = {"instance_id": instance_id, "generation": instance.generation}
        for account_id in _askers(reader, instance, now):
            count += order_counts.count_open_of(reader, account_id, now, proven)
    return _Taken(instance, ended.statements, ended.events, count, ended.ids)


def _askers(reader: Reader, instance: Instance, now: int) -> set[str]:
    """The accounts that may have open orders by an instance: its own, and where it has none those that proved names."""
    if instance.account_id is not None:
        return {instance.account_id}
    lately = events.page(reader, Filter(instance=instance.id, since=now - LIFETIME, limit=_MOST_LOOKED_AT))
    return {event.account_id for _, event in lately if event.account_id is not None and event.kind == "challenge.valid"}


class _Revoked(NamedTuple):
    """The revocation of certificates, and how many."""

    statements: list[Statement]
    events: list[Event]
    certificates: int


_NOTHING = _Revoked([], [], 0)


def _revoke_all(
    reader: Reader, instance_id: str, code: int, now: int, ended: Collection[str] = frozenset()
) -> _Revoked:
    """Revoke an instance's certificates that are still in force.

    For keyCompromise, the keys of the others are noted as well: they were on the same machine.

    :param ended: the ids of the enrolments that end in the same write.
    """
    statements: list[Statement] = []
    events: list[Event] = []
    count = 0
    noted: set[str] = set()
    for certificate in certificates.of_instance(reader, instance_id):
        if code == revocation.KEY_COMPROMISE and certificate.key_id not in noted:
            noted.add(certificate.key_id)
            compromised = revocation.compromise(reader, certificate, "operator", now, ended)
            statements += compromised.statements
            events += compromised.events
        if certificate.revoked_at is None and certificate.not_after > now:
            closes = code == revocation.KEY_COMPROMISE
            statements.append(certificates.revoke(certificate, code, "operator", now))
            if closes:
                statements += certificates.close_names(instance_id, certificate.names, now)
            events.append(revocation.event(certificate, code, "operator", now, closed=closes))
            count += 1
    return _Revoked(statements, events, count)


def reopen(database: Database, instance: Instance, name: str, now: int) -> None:
    """Open a name again that revocation closed to the instance.

    :raises RequestError: if it is not closed.
    """
    perform(database, partial(_reopen, instance=instance, name=name, now=now))


def _reopen(reader: Reader, instance: Instance, name: str, now: int) -> Write[None]:
    closed = certificates.closed_names(reader, instance.id)
    if name not in closed:
        listed = ", ".join(sorted(closed)) or "none"
        raise ConflictError(f"{name!r} is not closed to {instance.id}; closed names: {listed}")
    event = Event("instance.reopened", now, instance=instance_key(instance.id), name=name)
    return Write([certificates.reopen_name(instance.id, name)], lambda _rows: None, [event])
