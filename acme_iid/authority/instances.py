"""What an operator does for an instance, or against it: release, block, open closed names again."""

from __future__ import annotations

import re
from typing import NamedTuple

from acme_iid.authority import enrolments, revocation
from acme_iid.errors import Fault, Problem, RequestError
from acme_iid.protocol.resources import Instance
from acme_iid.store import certificates, events, instances, orders
from acme_iid.store.database import Database, Reader, Transaction

_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}\Z")
_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
# What InstanceIdentity.id is, cloud by cloud: under any other spelling a block would never shut anything out.
_WHOLE_ID = re.compile(
    r"aws:aws[a-z-]*:[0-9]{12}:[a-z]{2,8}(?:-[a-z]+)+-[0-9]+:i-[0-9a-f]{8,32}"
    r"|gcp:[1-9][0-9]*:[1-9][0-9]*"
    rf"|azure:{_UUID}:{_UUID}"
)
MAX_REASON_LENGTH = 200


class Ended(NamedTuple):
    """How many orders an operator's word ended, and how many certificates it revoked."""

    orders: int
    certificates: int


def find(database: Reader, word: str) -> Instance:
    """The one instance an operator means: by its whole id, or the cloud's own instance id if that is unique.

    :raises RequestError: if there is none that was used, or more than one.
    """
    found = instances.find(database, word)
    if not found:
        raise RequestError(f"no instance {word!r} has been used here; 'acme-iid-ca instance list' shows all")
    if len(found) > 1:
        raise RequestError(f"{word!r} is several instances: {', '.join(instance.id for instance in found)}; give one")
    return found[0]


def find_listed(database: Reader, word: str) -> instances.Listed:
    """As :func:`find`, among the instances that are blocked too.

    :raises RequestError: if there is none that was used or is blocked, or more than one.
    """
    blocks = {block.instance_id: block for block in instances.find_blocked(database, word)}
    used = {instance.id: instance for instance in instances.find(database, word)}
    ids = sorted(blocks.keys() | used.keys())
    if len(ids) != 1:
        found = find(database, word) if not ids else None
        assert found is None  # find() raises where there is none
        raise RequestError(f"{word!r} is several instances: {', '.join(ids)}; give one")
    return instances.Listed(ids[0], used.get(ids[0]), blocks.get(ids[0]))


def release(
    database: Database, word: str, thumbprint: str, seconds: int, *, revoke: bool, now: int
) -> tuple[str, Ended]:
    """Let the account key with ``thumbprint``, and no other, use the instance first, or first again.

    The old account loses what it has proven with the instance. With ``revoke``, its certificates for the instance
    are revoked as superseded, so that the new key can hold the names.

    :param word: as for :func:`find`, or the whole id of an instance that was never used here: one that is too old.
    :param seconds: how long the release lasts if it is not used.
    :returns: the instance's id, and what was ended.
    :raises RequestError: if ``word`` is no one instance, or the thumbprint is none.
    """
    if not _THUMBPRINT.match(thumbprint):
        raise RequestError(f"{thumbprint!r} is no key thumbprint; the refused client prints its own, 43 characters")
    fault = Fault(Problem.UNAUTHORIZED, "the instance was released to another account key")
    with database.transaction() as transaction:
        instance_id = _whole_id(transaction, word)
        previous = instances.get(transaction, instance_id)
        instances.release(transaction, instance_id, thumbprint, now, now + seconds)
        ended = Ended(
            _end_all(transaction, instance_id, fault, now),
            _revoke_all(transaction, instance_id, revocation.SUPERSEDED, now, closes=False) if revoke else 0,
        )
        events.add(
            transaction,
            "instance.released",
            now,
            account_id=None if previous is None else previous.account_id,
            instance_id=instance_id,
            released_to=thumbprint,
            until=now + seconds,
            orders_ended=ended.orders,
            certificates_revoked=ended.certificates,
        )
    return instance_id, ended


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
    fault = Fault(Problem.UNAUTHORIZED, "an operator blocked this instance")
    with database.transaction() as transaction:
        instance_id = _whole_id(transaction, word)
        known = instances.get(transaction, instance_id)
        if not instances.block(transaction, instances.Block(instance_id, now, reason)):
            raise RequestError(f"{instance_id} is blocked already; 'acme-iid-ca instance show {instance_id}' says why")
        ended = Ended(
            _end_all(transaction, instance_id, fault, now),
            _revoke_all(transaction, instance_id, revocation.KEY_COMPROMISE, now, closes=True) if revoke else 0,
        )
        events.add(
            transaction,
            "instance.blocked",
            now,
            account_id=None if known is None else known.account_id,
            instance_id=instance_id,
            reason=reason,
            orders_ended=ended.orders,
            certificates_revoked=ended.certificates,
        )
    return instance_id, ended


def _whole_id(reader: Reader, word: str) -> str:
    if not instances.find(reader, word):
        if _WHOLE_ID.fullmatch(word):
            return word
        raise RequestError(
            f"no instance {word!r} has been used here. For one that was not, give its whole id: "
            "aws:PARTITION:ACCOUNT:REGION:INSTANCE, gcp:PROJECT-NUMBER:INSTANCE or azure:SUBSCRIPTION:VM-ID, "
            "in lower case"
        )
    return find(reader, word).id


def unblock(database: Database, word: str, now: int) -> tuple[str, frozenset[str]]:
    """Let an instance in again.

    :param word: its whole id, or the cloud's own instance id if that is unique.
    :returns: its id, and the names that are still closed to it.
    :raises RequestError: if it is not blocked.
    """
    with database.transaction() as transaction:
        blocks = instances.find_blocked(transaction, word)
        if not blocks:
            raise RequestError(f"{word!r} is not blocked; 'acme-iid-ca instance list --blocked' shows what is")
        if len(blocks) > 1:
            raise RequestError(f"{word!r} is several: {', '.join(entry.instance_id for entry in blocks)}; give one")
        instance_id = blocks[0].instance_id
        instances.unblock(transaction, instance_id)
        events.add(transaction, "instance.unblocked", now, instance_id=instance_id)
        return instance_id, instances.closed(transaction, instance_id).names


def _end_all(transaction: Transaction, instance_id: str, fault: Fault, now: int) -> int:
    """End what an instance has proven, whoever ordered by it; how many orders."""
    of_delegates = enrolments.end_of_instance(transaction, instance_id, None, fault.detail, now)
    return of_delegates + orders.revoke_proofs(transaction, instance_id, None, fault, now)


def _revoke_all(transaction: Transaction, instance_id: str, code: int, now: int, *, closes: bool) -> int:
    """Revoke an instance's certificates that are still in force; how many.

    For keyCompromise, the keys of the others are noted as well: they were on the same machine.
    """
    revoked = 0
    for certificate in certificates.of_instance(transaction, instance_id):
        if certificate.revoked_at is None and certificate.not_after > now:
            revoked += revocation.revoke(transaction, certificate, code, "operator", now, closes=closes)
        elif code == revocation.KEY_COMPROMISE:
            revocation.note_compromise(transaction, certificate, "operator", now)
    return revoked


def reopen(database: Database, instance: Instance, name: str, now: int) -> None:
    """Open a name again that revocation closed to the instance.

    :raises RequestError: if it is not closed.
    """
    with database.transaction() as transaction:
        if not certificates.reopen_name(transaction, instance.id, name):
            closed = ", ".join(sorted(certificates.closed_names(transaction, instance.id))) or "none"
            raise RequestError(f"{name!r} is not closed to {instance.id}; closed names: {closed}")
        events.add(transaction, "instance.reopened", now, instance_id=instance.id, name=name)
