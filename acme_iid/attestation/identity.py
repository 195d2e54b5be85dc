"""Verifiers, the evidence that they take, and the instance identity that they prove."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Protocol, Self

from acme_iid.attestation.trust import KeyReference, TrustStore
from acme_iid.binding import Binding
from acme_iid.protocol.identifiers import Identifier


@dataclass(frozen=True, slots=True)
class Evidence:
    """An answer's fields as they came, all of them strings; nothing in it is believed yet.

    ``fields`` holds the answer's string members except ``format`` and ``provisioner``.
    """

    format: str
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims in verified bytes. Only ``Verifier.authenticate`` makes them.

    :ivar document: the decoded document or token, as the cloud spells it.
    :ivar content: the exact bytes that were signed (the document inside a CMS, a token's payload).
    :ivar key_id: the key that verified it: ``sha256:`` and the hex SHA-256 of its SubjectPublicKeyInfo, or a kid.
    :ivar scope: the provisioners whose operator-configured key this is; None for a pinned key, which all believe.
    :ivar believed_by: the trusted keys behind it, as :class:`InstanceIdentity` has them.
    """

    format: str
    document: Mapping[str, object]
    content: bytes
    key_id: str
    scope: frozenset[str] | None = None
    believed_by: tuple[tuple[KeyReference, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class InstanceIdentity:
    """An instance that proved itself, and the facts that its evidence proves.

    :ivar cloud: "aws", "gcp" or "azure".
    :ivar id: the instance's key across formats and provisioners, e.g. ``aws:aws:123456789042:us-west-2:i-0abc...``.
    :ivar owner: its owner (AWS account, GCP project number, Azure subscription).
    :ivar instance_id: the cloud's own word for it (``i-0abc...``).
    :ivar credential_id: the owner's id in the certificate's provisioner extension.
    :ivar facts: verified facts by the names that rules use (``account``, ``region``, ``image``, ...).
    :ivar names: the names and addresses that follow from the verified facts.
    :ivar started_at: the time of the instance's last start (AWS pendingTime), seconds; None where unknown.
    :ivar binding: the way in which the evidence was bound: "first use", "audience" or "nonce".
    :ivar times: the times in the evidence, by the evidence's own names, seconds.
    :ivar unbound: whether some facts are from a token that nothing ties to the instance's owner, so that they do not
        prove the owner.
    :ivar dated_at: the time at which the evidence was made, by its own word, seconds; of two pieces, the older one's
        time. None for a format that is the same at each request.
    :ivar believed_by: the trusted keys behind the evidence: it is believed as long as one of each group is trusted.
    """

    cloud: str
    id: str
    owner: str
    instance_id: str
    credential_id: str
    format: str
    key_id: str
    binding: str
    scope: frozenset[str] | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    names: tuple[Identifier, ...] = ()
    started_at: int | None = None
    times: Mapping[str, int] = field(default_factory=dict)
    unbound: bool = False
    dated_at: int | None = None
    believed_by: tuple[tuple[KeyReference, ...], ...] = ()

    @property
    def region(self) -> str | None:
        """The region that it is in, as far as its evidence says; Azure's documents are signed by a region's service."""
        return self.facts.get("region") or self.facts.get("signer_region")

    def to_json(self) -> str:
        """The identity as JSON text, from which :meth:`from_json` makes it again."""
        members = {item.name: getattr(self, item.name) for item in fields(self)}
        members |= {"scope": None if self.scope is None else sorted(self.scope), "facts": dict(self.facts)}
        return json.dumps(members | {"times": dict(self.times)}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The identity that :meth:`to_json` wrote."""
        members = json.loads(text)
        scope = members["scope"]
        members |= {
            "scope": None if scope is None else frozenset(scope),
            "names": tuple(Identifier(*pair) for pair in members["names"]),
            "believed_by": tuple(tuple(KeyReference(*key) for key in group) for group in members["believed_by"]),
        }
        return cls(**members)


class Verifier(Protocol):
    """One format of evidence: two pure functions, so that a recording can be authenticated at its own time."""

    @property
    def format(self) -> str:
        """The format's name on the wire."""

    @property
    def cloud(self) -> str:
        """The cloud of the evidence: "aws", "gcp" or "azure"."""

    def authenticate(self, evidence: Evidence, trust: TrustStore, now: int) -> Claims:
        """Decode strictly and check the signature over the exact bytes.

        :param now: seconds; the time at which certificate chains must be valid.
        :raises MalformedEvidenceError: if a field is missing, unknown to the format or undecodable.
        :raises AttestationError: if the evidence does not verify (steps decoding and signature).
        :raises TrustUnavailableError: if a key set is not available.
        """

    def identify(self, claims: Claims) -> InstanceIdentity:
        """The identity that the claims are about, be they fresh and bound or not: enough to explain, not to admit.

        :raises AttestationError: step decoding if a needed fact is missing, binding if two documents do not belong
            together.
        """

    def judge(self, identity: InstanceIdentity, claims: Claims, binding: Binding, now: int) -> None:
        """Check freshness and binding.

        :param identity: the identity that :meth:`identify` read out of the claims.
        :raises AttestationError: steps freshness and binding, or decoding if a claim that binds it is missing.
        """
