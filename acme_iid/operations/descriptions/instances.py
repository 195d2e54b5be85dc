"""Instances, as operators are shown them: those that were used, blocked, or only ever refused."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import TypedDict

from acme_iid.errors import NotFoundError
from acme_iid.operations import criteria
from acme_iid.operations.descriptions import certificates
from acme_iid.operations.descriptions.pages import Page, one_more, page
from acme_iid.operations.descriptions.times import timestamp
from acme_iid.operations.instances import Ended, called
from acme_iid.policy.clouds import instance_key, is_whole_id
from acme_iid.protocol.resources import Enrolment, Instance
from acme_iid.store import accounts, enrolments, events, instances
from acme_iid.store import certificates as issued
from acme_iid.store.chain import Event
from acme_iid.store.listing import Filter, Position
from acme_iid.store.lookups import ISSUED, PROVEN, word_of
from acme_iid.store.writes import Reader

MOST_CERTIFICATES = 1000
"""Certificates that an instance is shown with."""
_LOOKED_AT = 200
"""Events of an instance that are read for what it has proven."""


class InstanceRow(TypedDict):
    """An instance in a list.

    :ivar instance: its whole id.
    :ivar account: the id of the account that it belongs to.
    :ivar first_used: the time of its first use by that account.
    :ivar last_used: a time.
    :ivar released_to: the thumbprint of the account key that may use it next.
    :ivar blocked: the time since which it is shut out.
    """

    instance: str
    account: str | None
    first_used: str | None
    last_used: str | None
    released_to: str | None
    blocked: str | None


class Traits(TypedDict):
    """What an instance has proven last of what it is found by.

    :ivar image: the image that it was started from.
    :ivar region: the region that it runs in.
    :ivar provisioner: the name of the provisioner that admitted it.
    """

    image: str | None
    region: str | None
    provisioner: str | None


class InstanceDescription(InstanceRow, Traits):
    """An instance in full.

    :ivar block_reason: the operator's reason for the block.
    :ivar cloud: the cloud's name.
    :ivar owner: its owner's id there.
    :ivar instance_id: its own id there.
    :ivar key_thumbprint: the thumbprint of its account's key now.
    :ivar last_used_with: the thumbprint of the key that it was last used with.
    :ivar started: the time of its latest start that evidence has shown.
    :ivar vm_resource: the name of the VM that its evidence has shown.
    :ivar release_ends: the time at which an unused release ends.
    :ivar proofs_ended: the time from which on what it had proven before counts no more.
    :ivar proofs_ended_for: the reason for that.
    :ivar last_revocation: the time at which a certificate of it was last revoked, other than as superseded.
    :ivar closed_names: the names that it may not hold since a revocation.
    :ivar certificates: each one's serial number and status, the latest first; of very many the latest 1,000.
    :ivar enrolments: each one's names, delegates and end.
    :ivar last_event: the latest event about it: kind and time.
    """

    block_reason: str | None
    cloud: str
    owner: str
    instance_id: str
    key_thumbprint: str | None
    last_used_with: str | None
    started: str | None
    vm_resource: str | None
    release_ends: str | None
    proofs_ended: str | None
    proofs_ended_for: str | None
    last_revocation: str | None
    closed_names: list[str]
    certificates: list[str]
    enrolments: list[str]
    last_event: str | None


class EndedCounts(TypedDict):
    """What ended with an operator's act.

    :ivar orders_ended: the number of orders.
    :ivar certificates_revoked: the number of certificates.
    """

    orders_ended: int
    certificates_revoked: int


class BlockedInstance(EndedCounts):
    """What a block has done.

    :ivar instance: the whole id.
    """

    instance: str


class ReleasedInstance(BlockedInstance):
    """What a release has done.

    :ivar released_to: the thumbprint of the account key that may use the instance next.
    :ivar release_ends: the time at which the release ends if it is not used.
    """

    released_to: str
    release_ends: str


class UnblockedInstance(TypedDict):
    """What the end of a block has done.

    :ivar instance: the whole id.
    :ivar closed_names: the names that the instance may not hold all the same.
    """

    instance: str
    closed_names: list[str]


def row(instance: Instance) -> InstanceRow:
    """An instance in a list."""
    return {
        "instance": instance.id,
        "account": instance.account_id,
        "first_used": timestamp(instance.first_used_at),
        "last_used": timestamp(instance.last_used_at),
        "released_to": instance.release_to,
        "blocked": timestamp(instance.blocked_at),
    }


def listed(reader: Reader, criteria: Filter, *, blocked: bool = False) -> Page[InstanceRow]:
    """A page of the instances that were used, the latest first use first.

    :param blocked: instead, those that are blocked, the latest block first.
    """
    rows = []
    for entry in instances.page(reader, one_more(criteria), blocked=blocked):
        moment = entry.blocked_at if blocked else entry.first_used_at
        rows.append((Position(moment or 0, entry.id), row(entry)))
    return page(rows, criteria)


def meant(reader: Reader, word: str, limit: int) -> list[InstanceRow]:
    """The instances that an operator may mean by a word, also those that were only ever refused.

    :param word: a whole id, which is taken as it is, the cloud's own, or a name that they have a certificate for.
    :param limit: how many at most.
    """
    ids = (called(reader, word) or [word] * is_whole_id(word))[:limit]
    found = [instances.get(reader, instance_id) or _never_used(instance_id) for instance_id in ids]
    with suppress(ValueError):
        holders = instances.page(reader, Filter(name=criteria.name(word), limit=limit))
        found += [entry for entry in holders if entry.id not in ids]
    return [row(entry) for entry in found[:limit]]


def whole(reader: Reader, instance_id: str, now: int) -> InstanceDescription:
    """An instance in full, as far as events are followed (:mod:`acme_iid.store.lookups`).

    :param instance_id: the whole id, as :func:`acme_iid.operations.criteria.instance_called` finds it.
    :param now: seconds.
    :raises NotFoundError: if it was neither used, nor blocked, nor refused.
    """
    known = instances.get(reader, instance_id)
    seen = events.page(reader, Filter(instance=instance_id, limit=_LOOKED_AT))
    if known is None and not seen:
        raise NotFoundError(f"the instance {instance_id!r} is not known here: it was neither used nor refused")
    instance = known or _never_used(instance_id)
    account = None if instance.account_id is None else accounts.get(reader, instance.account_id)
    return {
        **row(instance),
        "block_reason": instance.blocked_for,
        "cloud": instance.cloud,
        "owner": instance.owner,
        "instance_id": instance.instance_id,
        **_proven(reader, instance_id, [event for _, event in seen]),
        "key_thumbprint": None if account is None else account.thumbprint,
        # Of the record: the account may have changed its key since.
        "last_used_with": instance.thumbprint,
        "started": timestamp(instance.started_at),
        "vm_resource": instance.resource_id,
        "release_ends": timestamp(instance.release_until),
        # What it proved before that counts no more.
        "proofs_ended": timestamp(instance.raised_at),
        "proofs_ended_for": instance.raised_for,
        "last_revocation": timestamp(instance.last_revocation_at),
        "closed_names": sorted(issued.closed_names(reader, instance.id)),
        "certificates": [
            f"{int(entry.serial, 16)} ({certificates.status(entry, now)})"
            for entry in issued.page(reader, Filter(instance=instance.id, limit=MOST_CERTIFICATES), None, now)
        ],
        "enrolments": [_enrolment(reader, entry) for entry in enrolments.of_instance(reader, instance.id)],
        "last_event": None if not seen else f"{seen[0][1].kind} at {timestamp(seen[0][1].at)}",
    }


def _never_used(instance_id: str) -> Instance:
    """An instance that was only ever refused: what its id says."""
    key = instance_key(instance_id)
    return Instance(key.id, key.cloud, key.owner, word_of(key.id), None, None, None, None, None)


def _proven(reader: Reader, instance_id: str, seen: Iterable[Event]) -> Traits:
    """What an instance has proven last, by its latest events and that of its latest certificate."""
    certificate = events.page(reader, Filter(instance=instance_id, kind=ISSUED, limit=1))
    latest = [event for event in (*seen, *(event for _, event in certificate)) if event.kind in PROVEN]
    latest.sort(key=lambda event: event.at, reverse=True)

    def last(trait: str) -> str | None:
        values = (event.detail.get(trait) for event in latest)
        return next((value for value in values if isinstance(value, str) and value), None)

    return {"image": last("image"), "region": last("region"), "provisioner": last("provisioner")}


def _enrolment(reader: Reader, entry: Enrolment) -> str:
    """An enrolment in a line: the names that the account handed on, the delegates that have them, and the end."""
    names = " ".join(name.value for name in entry.names)
    made = " ".join(account.id for account in accounts.delegates(reader, entry.id)) or "nobody yet"
    ends = f"until {timestamp(entry.expires_at)}" if entry.ended_at is None else f"ended: {entry.reason}"
    return f"{names} to {made} ({ends})"


def ended(counts: Ended) -> EndedCounts:
    """What ended with an act."""
    return {"orders_ended": counts.orders, "certificates_revoked": counts.certificates}


def blocked(instance_id: str, counts: Ended) -> BlockedInstance:
    """What a block has done."""
    return {"instance": instance_id, **ended(counts)}


def released(instance_id: str, thumbprint: str, ends: int, counts: Ended) -> ReleasedInstance:
    """What a release has done.

    :param ends: the time at which it ends if it is not used, seconds.
    """
    return {
        "instance": instance_id,
        "released_to": thumbprint,
        "release_ends": timestamp(ends),
        **ended(counts),
    }


def unblocked(instance_id: str, closed: Collection[str]) -> UnblockedInstance:
    """What the end of a block has done.

    :param closed: the names that are closed to the instance.
    """
    return {"instance": instance_id, "closed_names": sorted(closed)}
