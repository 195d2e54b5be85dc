"""What an operator does for an instance: release it to a new account key, open closed names again."""

from __future__ import annotations

import re

from acme_iid.authority import revocation
from acme_iid.errors import Fault, Problem, RequestError
from acme_iid.protocol.resources import Instance
from acme_iid.store import certificates, events, instances, orders
from acme_iid.store.database import Database

_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}\Z")


def find(database: Database, word: str) -> Instance:
    """The one instance an operator means: by its whole id, or the cloud's own instance id if that is unique.

    :raises RequestError: if there is none, or more than one.
    """
    found = instances.find(database, word)
    if not found:
        raise RequestError(f"no instance {word!r} has been used here; 'acme-iid-ca instance list' shows all")
    if len(found) > 1:
        raise RequestError(f"{word!r} is several instances: {', '.join(instance.id for instance in found)}; give one")
    return found[0]


def release(
    database: Database, instance: Instance, thumbprint: str, seconds: int, *, revoke: bool, now: int
) -> tuple[int, int]:
    """Let the account key with ``thumbprint``, and no other, use the instance first again.

    The old account loses what it has proven with the instance. With ``revoke``, its certificates for the instance
    are revoked as superseded, so that the new key can hold the names.

    :param seconds: how long the release lasts if it is not used.
    :returns: how many orders were ended and how many certificates revoked.
    :raises RequestError: if the thumbprint is none.
    """
    if not _THUMBPRINT.match(thumbprint):
        raise RequestError(f"{thumbprint!r} is no key thumbprint; the refused client prints its own, 43 characters")
    fault = Fault(Problem.UNAUTHORIZED, "the instance was released to another account key")
    with database.transaction() as transaction:
        previous = instances.get(transaction, instance.id)
        instances.release(transaction, instance.id, thumbprint, now + seconds)
        ended = orders.revoke_proofs(transaction, instance.id, None, fault, now)
        revoked = 0
        for certificate in certificates.of_instance(transaction, instance.id) if revoke else ():
            if certificate.revoked_at is None and certificate.not_after > now:
                revocation.revoke(transaction, certificate, revocation.SUPERSEDED, "operator", now, closes=False)
                revoked += 1
        events.add(
            transaction,
            "instance.released",
            now,
            account_id=None if previous is None else previous.account_id,
            instance_id=instance.id,
            released_to=thumbprint,
            until=now + seconds,
            orders_ended=ended,
            certificates_revoked=revoked,
        )
    return ended, revoked


def reopen(database: Database, instance: Instance, name: str, now: int) -> None:
    """Open a name again that revocation closed to the instance.

    :raises RequestError: if it is not closed.
    """
    with database.transaction() as transaction:
        if not certificates.reopen_name(transaction, instance.id, name):
            closed = ", ".join(sorted(certificates.closed_names(transaction, instance.id))) or "none"
            raise RequestError(f"{name!r} is not closed to {instance.id}; closed names: {closed}")
        events.add(transaction, "instance.reopened", now, instance_id=instance.id, name=name)
