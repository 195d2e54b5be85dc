"""The names that an enrolment gives to a delegate, judged anew at each request (rfc-notes/iid-01.md, "Enrolment").

A delegate is an account that was made with an enrolment's external key. It has no instance of its own: it orders by the
proof of the account that enrolled it, and whatever would be in that account's way is in its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from acme_iid.attestation.identity import InstanceIdentity
from acme_iid.authority import entitlement
from acme_iid.binding import CHALLENGE_TYPE
from acme_iid.config.settings import Config
from acme_iid.errors import AcmeError, Fault, Problem
from acme_iid.policy.instances import Provisioner
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Account, Enrolment
from acme_iid.store import accounts, enrolments, instances
from acme_iid.store.writes import Reader, Statement

_RENEW = "run 'acme-iid enroll --renew' on the VM"
_ENROL = "run 'acme-iid enroll' on the VM for another external account key"


def enrolment_of(reader: Reader, account: Account) -> Enrolment | None:
    """The enrolment that makes an account a delegate; None for any other account."""
    if account.enrolment_id is None:
        return None
    enrolment = enrolments.get(reader, account.enrolment_id)
    assert enrolment is not None  # enrolments are never removed
    return enrolment


def require(
    config: Config, reader: Reader, enrolment: Enrolment, names: Sequence[Identifier], profile: str | None, now: int
) -> None:
    """Refuse names that an enrolment does not give, or no longer.

    The write that follows guards all that this relies on: :func:`guards`.

    :param profile: the certificate profile that is wanted.
    :raises AcmeError: ``unauthorized`` with the reason; ``rejectedIdentifier`` for names that were not enrolled or are
        the CA's own; ``invalidProfile``.
    """
    if enrolment.ended_at is not None:
        raise AcmeError(Problem.UNAUTHORIZED, f"the enrolment has ended: {enrolment.reason}; {_ENROL}")
    _require_owner(reader, enrolment)
    config.namespace.require_issuable(names)
    faults = [
        Fault(Problem.REJECTED_IDENTIFIER, f"{name} was not enrolled; enrolled were {_listed(enrolment.names)}", name)
        for name in names
        if name not in enrolment.names
    ]
    if faults:
        raise AcmeError(
            Problem.REJECTED_IDENTIFIER, "; ".join(fault.detail for fault in faults[:5]), subproblems=faults
        )
    entitlement.require_open(reader, enrolment.instance_id, names)
    provisioner = _require_given(config, enrolment, names, profile)
    if min(enrolment.expires_at, enrolment.proven_at + provisioner.enrolment_lifetime) <= now:
        raise AcmeError(Problem.UNAUTHORIZED, f"the proof behind this enrolment has run out; {_RENEW}")
    known = instances.get(reader, enrolment.instance_id)
    if known is not None and known.generation != enrolment.generation:
        raise AcmeError(
            Problem.UNAUTHORIZED, f"the proof behind this enrolment counts no longer: {known.raised_for}; {_RENEW}"
        )


def guards(enrolment: Enrolment) -> list[Statement]:
    """The guards of a write by an enrolment: the instance, the proof and the account behind it are unchanged."""
    return [
        accounts.still_active(enrolment.account_id),
        instances.unchanged(enrolment.instance_id, enrolment.generation),
        enrolments.unchanged(enrolment),
    ]


def _require_owner(reader: Reader, enrolment: Enrolment) -> None:
    bound = accounts.get(reader, enrolment.account_id)
    assert bound is not None  # accounts are never removed
    if bound.deactivated_at is not None:
        raise AcmeError(Problem.UNAUTHORIZED, "the account that enrolled this one was deactivated")
    holder = instances.get(reader, enrolment.instance_id)
    # If nobody holds it by first use (trust on it is off), there is no other holder.
    if holder is not None and holder.is_held and holder.account_id != enrolment.account_id:
        raise AcmeError(
            Problem.UNAUTHORIZED, "the instance no longer belongs to the account that enrolled it: it was released"
        )


def _require_given(
    config: Config, enrolment: Enrolment, names: Sequence[Identifier], profile: str | None
) -> Provisioner:
    """Refuse what the rules do not give to the instance as it was proven; the provisioner that it was proven under."""
    identity = InstanceIdentity.from_json(enrolment.identity)
    under = enrolment.proof.provisioner
    proven = [entitlement.Proven(name, under, CHALLENGE_TYPE, identity) for name in names]
    provisioner = entitlement.require_given(config.policy, proven, profile)[0]
    assert isinstance(provisioner, Provisioner)  # an enrolment is of an instance
    return provisioner


def _listed(names: Sequence[Identifier]) -> str:
    return ", ".join(name.value for name in names[:10]) + (", ..." if len(names) > 10 else "")
