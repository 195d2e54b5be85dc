"""The record of requests that the rules refused outside a challenge: orders, and orders that were to be finalized."""

from __future__ import annotations

from collections.abc import Sequence

from acme_iid.authority import Authority, limits
from acme_iid.errors import AcmeError
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Account, Proof
from acme_iid.store import events


def record(
    authority: Authority,
    kind: str,
    account: Account,
    names: Sequence[Identifier],
    error: AcmeError,
    remote: str,
    now: int,
    proof: Proof | None = None,
) -> None:
    """Record a refusal, in a transaction of its own; it takes no more room than an order for the names would.

    It counts as one, too: nobody writes the record full with what is refused.

    :param kind: the event's: ``order.refused`` or ``finalize.refused``.
    :param names: what the request was for.
    :param remote: the client's address.
    :param proof: what stands behind the names, where one instance does.
    :raises AcmeError: ``rateLimited``; then nothing is recorded.
    """
    instance = None if proof is None else proof.instance
    with authority.database.transaction() as transaction:
        limits.order_asked(transaction, authority.config.limits, account, now)
        event = events.add(
            transaction,
            kind,
            now,
            account_id=account.id,
            instance_id=instance,
            identifiers=[name.value for name in names],
            provisioner=None if proof is None else proof.provisioner,
            reason=error.detail,
            thumbprint=account.thumbprint,
            remote=remote,
        )
        events.add_names(transaction, event, now, names, instance)
