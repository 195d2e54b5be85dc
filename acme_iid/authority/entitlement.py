"""Entitlement: may this proof still hold these names? Asked again whenever something is made of a proof.

At the challenge the answer is the proof itself. Afterwards an operator can block the instance or narrow the rules, a
revocation can close names, and the CA can be given a name of its own. So each of these is looked at again where a
delegate orders and where an order is finalized, with the reader of the transaction that writes; its guards
(:func:`acme_iid.store.instances.unchanged`) keep what was read until the commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from acme_iid.attestation.identity import InstanceIdentity
from acme_iid.errors import AcmeError, AttestationError, Problem, Remedy, Step
from acme_iid.policy.hosts import HostProvisioner
from acme_iid.policy.instances import Provisioner
from acme_iid.policy.policy import Policy
from acme_iid.protocol.identifiers import Identifier
from acme_iid.store import instances
from acme_iid.store.writes import Reader


class Proven(NamedTuple):
    """A name that was proven.

    :ivar under: the provisioner.
    :ivar challenge_type: the challenge that proved it.
    :ivar identity: the instance that did; None for a host.
    """

    name: Identifier
    under: str
    challenge_type: str
    identity: InstanceIdentity | None


def blocked_error() -> AttestationError:
    """The refusal of an instance that an operator blocked."""
    return AttestationError(
        Step.ADMISSION, "an operator blocked this instance; whoever runs this CA can say why", Remedy.OPERATOR
    )


def closed_error(name: Identifier, instance_id: str) -> AttestationError:
    """The refusal of a name that a revocation closed to an instance."""
    return AttestationError(
        Step.NAMES,
        f"{name} was closed to this instance when its certificate was revoked; an operator opens it again with: "
        f"acme-iid-ca instance reopen {instance_id} {name}",
        Remedy.OPERATOR,
    )


def require_open(reader: Reader, instance_id: str, names: Sequence[Identifier]) -> None:
    """Refuse an instance that an operator blocked, and names that were closed to it.

    :raises AcmeError: ``unauthorized``.
    """
    closed = instances.closed(reader, instance_id)
    errors = [closed_error(name, instance_id) for name in names if name.value in closed.names]
    for error in [blocked_error()] if closed.blocked else errors:
        raise AcmeError(Problem.UNAUTHORIZED, error.detail, remedy=error.remedy)


def require_given(
    policy: Policy, proven: Iterable[Proven], profile: str | None, *, advice: str = ""
) -> list[Provisioner | HostProvisioner]:
    """Refuse names that the rules give no more as they were proven.

    :param profile: the certificate profile that is wanted.
    :param advice: the client's next step, as the end of a sentence.
    :returns: the provisioner of each name.
    :raises AcmeError: ``unauthorized``, or ``invalidProfile`` if a name was proven under a provisioner that does not
        give the profile.
    """
    provisioners = []
    for entry in proven:
        provisioner = policy.provisioner(entry.under)
        if provisioner is None:
            raise AcmeError(
                Problem.UNAUTHORIZED,
                f"provisioner {entry.under!r} was removed since the names were proven{advice}",
                remedy=Remedy.OPERATOR,
            )
        if not provisioner.gives_profile(profile):
            raise AcmeError(
                Problem.INVALID_PROFILE,
                f"the name {entry.name} was proven under {provisioner}, which does not give the profile {profile!r}"
                + advice,
            )
        refusal = policy.still_gives(entry.under, entry.name, entry.challenge_type, entry.identity)
        if refusal is not None:
            raise AcmeError(
                Problem.UNAUTHORIZED,
                f"the rules have changed since the name was proven: {refusal}",
                remedy=Remedy.OPERATOR,
            )
        provisioners.append(provisioner)
    return provisioners
