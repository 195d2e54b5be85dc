"""The facts behind ACME's resources (RFC 8555 section 7.1): what happened and when, never a status.

Times are seconds since the epoch. ``protocol/status.py`` computes the status that a client is shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from acme_iid.errors import Fault
from acme_iid.protocol.identifiers import Identifier


@dataclass(frozen=True, slots=True)
class Account:
    """An account: its key as canonical JWK JSON, and the key's RFC 7638 thumbprint.

    ``terms_agreed`` is the URL of the terms that were agreed to; ``external_account_binding`` the JWS, as JSON, by
    which the external key ``external_key_id`` was bound to it. ``enrolment_id`` makes it a delegate
    (:class:`Enrolment`). ``made_from`` is the address that it was made from, as limits count it; ``proven_at`` is when
    it first proved a name, or was made with an external key. ``key_since`` is when it got its key,
    ``earlier_thumbprints`` are those of the keys before, the latest first.
    """

    id: str
    jwk: str
    thumbprint: str
    contact: tuple[str, ...]
    created_at: int
    deactivated_at: int | None = None
    terms_agreed: str | None = None
    external_key_id: str | None = None
    external_account_binding: str | None = None
    enrolment_id: str | None = None
    made_from: str | None = None
    proven_at: int | None = None
    key_since: int = 0
    earlier_thumbprints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ExternalKey:
    """A key whose holder may make an account (RFC 8555 section 7.3.4); ``secret`` is the MAC key in base64url.

    ``account_id`` is the account that was last made with it, at ``used_at``; a delegate, if it has an ``enrolment_id``.
    """

    id: str
    secret: str
    label: str | None
    reusable: bool
    created_at: int
    expires_at: int | None = None
    used_at: int | None = None
    account_id: str | None = None
    revoked_at: int | None = None
    enrolment_id: str | None = None


class InstanceKey(NamedTuple):
    """An instance's whole id, with the cloud and the owner that it names."""

    id: str
    cloud: str
    owner: str


@dataclass(frozen=True, slots=True)
class Proof:
    """The prover of an authorization, and the provisioner, as the certificate will name them.

    :ivar instance: the instance's id; None for a host that is known by its names only.
    :ivar cloud: the cloud's name, or "acme" for a host.
    """

    instance: str | None
    cloud: str
    provisioner: str
    credential_id: str


@dataclass(frozen=True, slots=True)
class Challenge:
    """A challenge; ``error`` says why it failed.

    ``proof`` names the prover of a valid one; on a valid iid-01 ``names`` are the names that the instance may hold,
    and ``identity`` is the identity that its evidence proved, as JSON.
    ``answered_at`` is the time at which a client asked for validation, ``answered_from`` its address, ``attempts``
    the number of attempts so far, ``due_at`` the time of the next one, ``error`` then the last one's fault. iid-01 is
    judged within its request and has no such attempts.
    ``proven_in`` is the id of the order in which the proof was made, where another order relies on it later.
    """

    id: str
    type: str
    token: str
    answered_at: int | None = None
    answered_from: str | None = None
    attempts: int = 0
    due_at: int | None = None
    validated_at: int | None = None
    failed_at: int | None = None
    error: Fault | None = None
    proof: Proof | None = None
    names: tuple[Identifier, ...] = ()
    identity: str | None = None
    proven_in: str | None = None


@dataclass(frozen=True, slots=True)
class Authorization:
    """An authorization for one identifier; ``wildcard`` when it stands for ``*.identifier``."""

    id: str
    account_id: str
    identifier: Identifier
    wildcard: bool
    created_at: int
    expires_at: int
    challenges: tuple[Challenge, ...]
    deactivated_at: int | None = None
    revoked_at: int | None = None

    @property
    def name(self) -> Identifier:
        """The name as it stands in the order."""
        return Identifier(self.identifier.type, "*." + self.identifier.value) if self.wildcard else self.identifier


@dataclass(frozen=True, slots=True)
class Order:
    """An order; ``ended_at`` and ``error`` say when and why it can no longer lead to a certificate.

    ``replaces`` is the RFC 9773 identifier of the certificate that this order's is to replace. ``ahead`` is
    whether it is an authorization that newAuthz made for its one identifier, and not an order; ``taken_at`` is when an
    order took it.
    ``key`` is the thumbprint of the account's key when it was made. ``instance_id`` is the instance that proved names
    of it, in that ``generation`` of the instance. ``version`` grows with each change.
    """

    id: str
    account_id: str
    identifiers: tuple[Identifier, ...]
    created_at: int
    expires_at: int
    key: str = ""
    version: int = 0
    ahead: bool = False
    taken_at: int | None = None
    instance_id: str | None = None
    generation: int | None = None
    not_before: int | None = None
    not_after: int | None = None
    profile: str | None = None
    replaces: str | None = None
    ended_at: int | None = None
    error: Fault | None = None
    issued_at: int | None = None
    authorizations: tuple[Authorization, ...] = ()


@dataclass(frozen=True, slots=True)
class Certificate:
    """An issued certificate; ``id`` is its order's, and ``der`` the leaf.

    ``issuer_id`` and ``key_id`` are the SHA-256 of the issuer's SubjectPublicKeyInfo and of its own, in hex.
    ``image`` is the image that the instance was started from, where its evidence says so. ``renew_from`` and
    ``renew_until`` bound the time in which an operator wants it renewed.
    """

    id: str
    serial: str
    account_id: str
    names: tuple[Identifier, ...]
    not_before: int
    not_after: int
    issued_at: int
    der: bytes
    issuer_id: str
    key_id: str
    provisioner: str | None = None
    instance: str | None = None
    revoked_at: int | None = None
    revocation_reason: int | None = None
    revoked_by: str | None = None
    profile: str | None = None
    image: str | None = None
    renew_from: int | None = None
    renew_until: int | None = None


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance that was used for the first time, and its owner since.

    ``account_id`` is None between a release and the next first use. ``started_at`` is the latest start
    that evidence has shown; it never goes back. ``resource_id`` is the first name that a token gave
    the VM; no other VM may have it. ``first_used_at`` is None where no account holds it: it was
    blocked only, or trust on first use is off. ``generation`` is raised, at ``raised_at`` and for the reason
    ``raised_for``, by every event that ends its proofs. ``last_revocation_at`` is when a certificate of it was
    last revoked for another reason than that it was superseded.
    """

    id: str
    cloud: str
    owner: str
    instance_id: str
    account_id: str | None
    thumbprint: str | None
    started_at: int | None
    first_used_at: int | None
    last_used_at: int | None
    release_to: str | None = None
    release_until: int | None = None
    resource_id: str | None = None
    generation: int = 0
    raised_at: int | None = None
    raised_for: str | None = None
    blocked_at: int | None = None
    blocked_for: str | None = None
    last_revocation_at: int | None = None

    @property
    def is_held(self) -> bool:
        """Whether an account holds it by first use, or is to hold it after a release."""
        return self.first_used_at is not None


@dataclass(frozen=True, slots=True)
class Enrolment:
    """The right that an instance's account has handed on: its delegates may order certificates for ``names``.

    ``proof`` and ``identity`` (JSON) are those of the instance's evidence of ``proven_at``, in that ``generation``
    of the instance; they serve until ``expires_at``. ``reason`` says why it ended before, for good.
    """

    id: str
    account_id: str
    instance_id: str
    generation: int
    names: tuple[Identifier, ...]
    proof: Proof
    identity: str
    created_at: int
    proven_at: int
    expires_at: int
    ended_at: int | None = None
    reason: str | None = None
