"""Acts on many certificates or instances at once: in transactions of a hundred, an event for each.

What is acted on is what was there at the start. Each act gives a :class:`Step` after each transaction, so whoever
runs it can say how far it is and stop there: what was done stays done. The same act again goes on with the rest, also
after one that was killed: a transaction does all that belongs to an instance, and what was done shows in the store, or
in the events of the act.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

from acme_iid.authority import challenges, many_revocations, revocation
from acme_iid.errors import NotFoundError, StoreConflictError
from acme_iid.errors import Step as EvidenceStep
from acme_iid.operations import instances as one
from acme_iid.policy.clouds import instance_key
from acme_iid.protocol.renewal import Window
from acme_iid.protocol.resources import Certificate
from acme_iid.store import certificates, events, instances, lookups
from acme_iid.store.chain import Event
from acme_iid.store.database import Database
from acme_iid.store.listing import Filter, Position
from acme_iid.store.writes import Reader, Write, perform

AT_ONCE = 100
"""Certificates, or instances, of one transaction."""
_ATTEMPTS = 20
_PAGE = 1000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Task:
    """One act on many, as each of its events names it.

    :ivar id: its own; the same where one goes on that was stopped.
    :ivar ticket: the operator's, where there is one.
    :ivar last: the event that it left last, before it was stopped.
    """

    id: str
    ticket: str | None = None
    last: Event | None = None

    @classmethod
    def new(cls, ticket: str | None = None) -> Task:
        """A new one."""
        return cls(f"b-{secrets.token_hex(6)}", ticket)

    @classmethod
    def stopped(cls, reader: Database, id_: str, ticket: str | None = None) -> Task:
        """One that was stopped, to go on with.

        :param ticket: another ticket than before.
        :raises NotFoundError: if there is no event of it.
        """
        lookups.follow(reader)
        latest = events.page(reader, Filter(bulk=id_, limit=1))
        if not latest:
            raise NotFoundError(f"the record has no act {id_!r}: it had done nothing when it ended; begin it anew")
        last = latest[0][1]
        before = last.detail.get("ticket")
        return cls(id_, ticket or (before if isinstance(before, str) else None), last)

    def sign(self, write: Write[T]) -> Write[T]:
        """The same write, whose events name the task."""
        facts = {"bulk": self.id, "ticket": self.ticket}
        signed = [replace(event, detail={**event.detail, **facts}) for event in write.events]
        return replace(write, events=signed)


class Step(NamedTuple):
    """What a transaction has done.

    :ivar done: the number of certificates, or instances.
    :ivar left_out: the number of those that nothing was done to: somebody else had done it, or it cannot be done.
    """

    done: int
    left_out: int


def count_certificates(database: Database, criteria: Filter, now: int) -> int:
    """The number of valid certificates that an act would be on."""
    lookups.follow(database)
    return certificates.count_valid(database, _until(criteria, now), now)


def revoke(database: Database, criteria: Filter, code: int, task: Task, now: int) -> Iterator[Step]:
    """Revoke the valid certificates under a filter.

    :param code: the reason (RFC 5280 section 5.3.1).
    """
    for page in _pages(database, criteria, now):
        done = _commit(database, task, partial(many_revocations.revoke, chosen=page, code=code, now=now))
        yield Step(done.done, len(page) - done.done)


def renew_now(database: Database, criteria: Filter, seconds: int, task: Task, now: int) -> Iterator[Step]:
    """Ask the clients of the valid certificates under a filter to renew them, evenly spread over ``seconds``.

    Each gets a window of its own, in the order of the list, so that a fleet renews one after another.
    """
    criteria = left(database, criteria, task)
    count, done = count_certificates(database, criteria, now), 0
    if not count:
        # That it was asked for is recorded all the same.
        _commit(database, task, partial(_ask, asking=(), seconds=seconds, now=now))
    for page in _pages(database, criteria, now):
        asking = [
            (certificate, _window(certificate, now, (seconds * place // count, seconds * (place + 1) // count)))
            for place, certificate in enumerate(page, done)
        ]
        _commit(database, task, partial(_ask, asking=asking, seconds=seconds, now=now))
        done += len(page)
        yield Step(len(page), 0)


def left(database: Database, criteria: Filter, task: Task) -> Filter:
    """The filter for the certificates that :func:`renew_now` has not asked for yet, if it goes on."""
    serial = None if task.last is None else task.last.detail.get("serial")
    last = certificates.by_serial(database, serial) if isinstance(serial, str) else None
    return criteria if last is None else replace(criteria, before=certificates.position(last))


def _window(certificate: Certificate, now: int, part: tuple[int, int]) -> Window:
    start = now + part[0]
    # One that ends earlier has to be renewed before.
    end = max(min(now + part[1], certificate.not_after - 1), start + 1)
    return Window(min(start, end - 1), end)


def _ask(_reader: Reader, asking: Sequence[tuple[Certificate, Window]], seconds: int, now: int) -> Write[None]:
    """Say when certificates should be renewed, and record that in the same commit."""
    recorded = [Event("certificate.renewal_asked", now, detail={"certificates": 0, "over": seconds})]
    recorded = (
        recorded
        if not asking
        else [
            Event(
                "certificate.renewal_asked",
                now,
                account_id=certificate.account_id,
                instance=instance_key(certificate.instance),
                detail={
                    "serial": certificate.serial,
                    "names": [name.value for name in certificate.names],
                    "from": window.start,
                    "until": window.end,
                    "over": seconds,
                },
            )
            for certificate, window in asking
        ]
    )
    statements = [certificates.set_window(certificate, window) for certificate, window in asking]
    return Write(statements, lambda _rows: None, recorded)


def count_instances(database: Database, criteria: Filter) -> int:
    """The number of instances that :func:`block` would be on."""
    lookups.follow(database)
    return sum(len(page) for page in _pages_of_instances(database, criteria, _PAGE))


def block(
    database: Database, criteria: Filter, reason: str | None, task: Task, now: int, *, revoke: bool
) -> Iterator[Step]:
    """Shut the instances under a filter out, as :func:`acme_iid.operations.instances.block` does.

    :param revoke: revoke their certificates for keyCompromise, too.
    """
    lookups.follow(database)
    code = revocation.KEY_COMPROMISE if revoke else None
    for page in _pages_of_instances(database, criteria, AT_ONCE):
        done = _act(database, task, partial(_block, reason=reason, revoke=revoke, now=now), page, code, now)
        yield Step(done, len(page) - done)


def _block(reader: Reader, ids: Sequence[str], reason: str | None, now: int, *, revoke: bool) -> Write[int]:
    known = [instances.get(reader, instance_id) for instance_id in ids]
    unblocked = [instance.id for instance in known if instance is not None and instance.blocked_at is None]
    return _together([one.blocking(reader, id_, reason, revoke=revoke, now=now) for id_ in unblocked])


class _Decide(Protocol):
    def __call__(self, reader: Reader, ids: Sequence[str]) -> Write[int]:
        """What is done to some instances, as one write; its answer is their number."""


def _act(database: Database, task: Task, decide: _Decide, ids: Sequence[str], code: int | None, now: int) -> int:
    """Take from some instances what they have proven, and revoke what they have; the number of the instances.

    Both is one transaction: an act that is killed leaves no instance whose certificates the next one would pass over.

    :param code: the reason for the revocation; None for none.
    """
    done = _each(database, task, decide, ids)
    if code is not None:
        # Certificates that were issued after the look and before the instance lost its proof; no others can follow.
        lookups.follow(database)
        _each(database, task, partial(_revoke_late, code=code, now=now), ids)
    return done


def _revoke_late(reader: Reader, ids: Sequence[str], code: int, now: int) -> Write[int]:
    return _together([one.revoking(reader, id_, code, now) for id_ in ids])


def _each(database: Database, task: Task, decide: _Decide, ids: Sequence[str]) -> int:
    try:
        return _commit(database, task, partial(decide, ids=ids))
    except StoreConflictError:
        # Two of them have the same key, the compromise of which is noted once.
        return sum(_commit(database, task, partial(decide, ids=[id_])) for id_ in ids)


class Rebuilt(NamedTuple):
    """An instance whose account key was lost, as far as refusals show it.

    :ivar thumbprint: the thumbprint of the one key that it proves itself with now; None if it is left out.
    :ivar left_out: the reason for that.
    """

    instance_id: str
    thumbprint: str | None
    left_out: str | None = None


def rebuilt(database: Database, criteria: Filter, since: int, *, also_unbound: bool, now: int) -> list[Rebuilt]:
    """The instances under a filter that were refused lately because they belong to another account key.

    Nobody is let in whom an operator has not seen: an instance is released to the key that the record shows, and to no
    other. So it is left out where several keys have come, and where the evidence of the one was not bound to it, since
    a document that was stolen would do as well; and it is no matter of these where its own key has been used since.

    :param since: seconds; the refusals that count.
    :param also_unbound: let unbound evidence do.
    """
    lookups.follow(database)
    refused: dict[str, list[Event]] = {}
    wanted = replace(criteria, account=None, kind="challenge.refused", since=since, limit=_PAGE, before=None)
    while page := events.page(database, wanted):
        for _, event in page:
            if event.instance is not None and _is_of_another_key(event):
                refused.setdefault(event.instance.id, []).append(event)
        wanted = replace(wanted, before=Position(page[-1][1].at, page[-1][0]))
    found = (_judge(database, id_, several, criteria, also_unbound, now) for id_, several in sorted(refused.items()))
    return [entry for entry in found if entry is not None]


def _is_of_another_key(event: Event) -> bool:
    detail = event.detail
    reason = str(detail.get("reason"))
    is_first_use = detail.get("step") == EvidenceStep.FIRST_USE.value and reason.startswith(challenges.OF_ANOTHER_KEY)
    return is_first_use and detail.get("proven") is True


def _judge(
    reader: Reader, instance_id: str, refused: Sequence[Event], criteria: Filter, also_unbound: bool, now: int
) -> Rebuilt | None:
    """Whether an instance is released, and to which key; None if that is no matter of now.

    :param refused: its refusals, the latest first.
    """
    instance = instances.get(reader, instance_id)
    if instance is None or criteria.account not in (None, instance.account_id):
        return None
    keys = {str(event.detail.get("thumbprint")) for event in refused}
    if (instance.last_used_at or 0) > refused[0].at or keys == {instance.thumbprint}:
        return None
    if instance.account_id is None and instance.release_to in keys and (instance.release_until or 0) > now:
        return None
    if len(keys) > 1:
        return Rebuilt(instance_id, None, f"{len(keys)} different keys have come: {', '.join(sorted(keys))}")
    if not also_unbound and any(event.detail.get("binding") == "first use" for event in refused):
        return Rebuilt(instance_id, None, "its evidence is not bound to the key (--also-unbound takes it)")
    if instance.blocked_at is not None:
        return Rebuilt(instance_id, None, "it is blocked")
    return Rebuilt(instance_id, keys.pop())


def release(
    database: Database, chosen: Iterable[Rebuilt], seconds: int, task: Task, now: int, *, revoke: bool
) -> Iterator[Step]:
    """Release instances to the keys that they prove themselves with now.

    :param chosen: those of :func:`rebuilt`; those that are left out are.
    :param seconds: the seconds that a release lasts if it is not used.
    :param revoke: revoke their certificates as superseded, too.
    """
    lookups.follow(database)
    keys = {entry.instance_id: entry.thumbprint for entry in chosen if entry.thumbprint is not None}
    ids, code = list(keys), revocation.SUPERSEDED if revoke else None
    decide = partial(_release, keys=keys, until=now + seconds, revoke=revoke, now=now)
    for start in range(0, len(ids), AT_ONCE):
        yield Step(_act(database, task, decide, ids[start : start + AT_ONCE], code, now), 0)


def _release(
    reader: Reader, ids: Sequence[str], keys: Mapping[str, str], until: int, now: int, *, revoke: bool
) -> Write[int]:
    return _together([one.releasing(reader, id_, keys[id_], until, revoke=revoke, now=now) for id_ in ids])


def _together(writes: Sequence[Write[Any]]) -> Write[int]:
    """Writes about different instances as one; its answer is their number."""
    statements = [statement for write in writes for statement in write.statements]
    recorded = [event for write in writes for event in write.events]
    return Write(statements, lambda _rows: len(writes), recorded)


def _commit(database: Database, task: Task, decide: Callable[[Reader], Write[T]]) -> T:
    return perform(database, lambda reader: task.sign(decide(reader)), attempts=_ATTEMPTS)


def _until(criteria: Filter, now: int) -> Filter:
    """The same filter, for what was there at a time: nobody has seen and confirmed a renewal that comes meanwhile."""
    return replace(criteria, until=min(criteria.until or now + 1, now + 1))


def _pages(database: Database, criteria: Filter, now: int) -> Iterator[list[Certificate]]:
    """The valid certificates under a filter, as they were at the start, a transaction's at a time."""
    lookups.follow(database)
    wanted = replace(_until(criteria, now), limit=AT_ONCE)
    while page := certificates.page(database, wanted, "valid", now):
        yield page
        wanted = replace(wanted, before=certificates.position(page[-1]))


def _pages_of_instances(database: Database, criteria: Filter, limit: int) -> Iterator[list[str]]:
    """The ids of the instances under a filter that are not blocked, some at a time."""
    after = ""
    while page := instances.unblocked(database, criteria, after, limit):
        yield page
        after = page[-1]
