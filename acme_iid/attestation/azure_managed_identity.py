"""A managed identity's token beside attested data: it adds tenant and principal, and the VM's name where it has it.

Source: Microsoft Learn, "Access token claims reference" and "How managed identities for Azure resources work with
Azure virtual machines". The token can carry no challenge: its audience is a resource of this CA's own, and it is
cached for a day. The attested document beside it is bound. Azure puts no vmId in the token:

- a token that names a VM must be of the document's subscription, and the pair of VM resource and vmId (the facts
  ``resource_id`` and ``vm_id``) is there to be pinned at first use;
- one that names a scale set, as those of uniform instances do, must be of that subscription, and names no VM;
- one without a resource, as Entra makes them for an operator's own application, says tenant and principal only, so
  that the owner is the document's to prove (rfc-notes/decisions/0024-tokens-that-name-no-vm.md).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from acme_iid.attestation import azure, fields, tokens
from acme_iid.attestation.azure import AzureClaims
from acme_iid.attestation.azure_trust import AzureTrust
from acme_iid.attestation.identity import Claims, Evidence, InstanceIdentity, Verifier
from acme_iid.attestation.keysets import Algorithm, ScopedKeySet
from acme_iid.attestation.trust import TrustStore, common_scope
from acme_iid.binding import CLOCK_SKEW, Binding
from acme_iid.errors import AttestationError, Step

MAX_TOKEN_AGE = 24 * 3600
"""Seconds that the metadata service may hand out a token that it has kept."""

_ALGORITHMS: Final[frozenset[Algorithm]] = frozenset({"RS256"})
_UUID_PATTERN = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_UUID = re.compile(rf"{_UUID_PATTERN}\Z")
# Resource ids are compared without case, so they are read in lower case.
_MACHINE = re.compile(
    rf"/subscriptions/(?P<subscription>{_UUID_PATTERN})/resourcegroups/(?P<group>[a-z0-9._()-]{{1,90}})"
    r"/providers/microsoft\.compute/(?:virtualmachinescalesets/(?P<set>[a-z0-9._-]{1,64})/)?"
    r"virtualmachines/(?P<name>[a-z0-9._-]{1,64})\Z"
)
_SCALE_SET = re.compile(
    rf"/subscriptions/(?P<subscription>{_UUID_PATTERN})/resourcegroups/[a-z0-9._()-]{{1,90}}"
    r"/providers/microsoft\.compute/virtualmachinescalesets/[a-z0-9._-]{1,64}\Z"
)
_ASSIGNED = re.compile(
    rf"/subscriptions/{_UUID_PATTERN}/resourcegroups/[a-z0-9._()-]{{1,90}}"
    r"/providers/microsoft\.managedidentity/userassignedidentities/[a-z0-9._-]{1,128}\Z"
)
_RESOURCE_CLAIMS = ("xms_mirid", "xms_az_rid")
_MAX_RESOURCE_ID = 512


@dataclass(frozen=True, slots=True)
class ManagedIdentityClaims(Claims):
    """The claims of a verified token, and of the verified document beside it.

    :ivar attested: the claims of the attested document.
    """

    attested: AzureClaims | None = None


@dataclass(frozen=True, slots=True)
class _ManagedIdentityVerifier:
    """``azure-managed-identity``."""

    format: str = "azure-managed-identity"
    cloud: str = "azure"

    def authenticate(self, evidence: Evidence, trust: TrustStore, now: int) -> ManagedIdentityClaims:
        """Read token and document, and check that a configured tenant signed the one and Azure the other.

        The audience is checked here: it is configured with the tenant, and no challenge knows it.
        """
        fields.check(evidence.fields, ("evidence", "attested"), self.format, optional=("intermediates",))
        token = tokens.parse(evidence.fields["evidence"], _ALGORITHMS)
        attested = azure.authenticate(self.format, evidence.fields, "attested", trust, now)
        # Not believed yet: the issuer only selects, of the configured tenants, the keys to try.
        issuer = token.claims.get("iss")
        tenants = [tenant for tenant in trust.part(AzureTrust).tenants if issuer in _issuers(tenant.tenant)]
        if not isinstance(issuer, str) or not tenants:
            raise AttestationError(
                Step.SIGNATURE,
                "the token was issued by a tenant that is not configured here; an operator adds it with --azure-tenant",
            )
        # A token for another resource can come from those who run that resource: only one for this CA alone counts.
        addressed = [tenant for tenant in tenants if token.claims.get("aud") == tenant.audience]
        if not addressed:
            raise AttestationError(
                Step.BINDING,
                "the token is for another audience than this CA's; fetch one for the resource that its operator names",
            )
        sets = [ScopedKeySet(tenant.keys, tenant.scope) for tenant in addressed]
        key = tokens.verify(token, sets, issuer, "the tenant", now)
        if token.claims.get("tid") != addressed[0].tenant:
            raise AttestationError(Step.SIGNATURE, "the token's tid is another tenant than its issuer's")
        return ManagedIdentityClaims(
            format=self.format,
            document=token.claims,
            content=token.content,
            key_id=attested.key_id,
            scope=common_scope(key.scope, attested.scope),
            believed_by=(*attested.believed_by, (tokens.key_reference(token, addressed[0].tenant, key),)),
            attested=attested,
        )

    def identify(self, claims: Claims) -> InstanceIdentity:
        """Read the facts of token and document, which must be of one subscription."""
        attested = _attested(claims)
        tenant, object_id = _uuid(claims.document, "tid"), _uuid(claims.document, "oid")
        _require_application(claims.document)
        resource = _resource(claims.document)
        identity = azure.identify(attested)
        if resource is not None and resource["subscription"] != identity.owner:
            raise AttestationError(
                Step.BINDING, "the token is of a VM in another subscription than the attested document is"
            )
        facts = {**identity.facts, "tenant": tenant, "object_id": object_id}
        if resource is not None and resource.re is _MACHINE:
            facts |= _machine_facts(resource)
        times = {name: tokens.seconds(claims.document, name) for name in ("iat", "exp")}
        return replace(
            identity,
            format=claims.format,
            credential_id=tenant,
            scope=claims.scope,
            facts=facts,
            times={**identity.times, **times},
            unbound=resource is None,
            # The token, with its claims, may be a day older than the document.
            dated_at=min(times["iat"], identity.times["createdOn"]),
            believed_by=claims.believed_by,
        )

    def judge(self, identity: InstanceIdentity, claims: Claims, binding: Binding, now: int) -> None:
        """Judge the document as ``azure-attested`` does, and check that the token is in time."""
        _check_times(claims.document, now)
        azure.judge(identity, _attested(claims), binding, now)


VERIFIERS: tuple[Verifier, ...] = (_ManagedIdentityVerifier(),)


def _attested(claims: Claims) -> AzureClaims:
    assert isinstance(claims, ManagedIdentityClaims)  # made by authenticate() above
    assert claims.attested is not None
    return claims.attested


def _issuers(tenant: str) -> tuple[str, str]:
    """The issuers that a tenant's tokens of version 1 and version 2 name."""
    return f"https://sts.windows.net/{tenant}/", f"https://login.microsoftonline.com/{tenant}/v2.0"


def _uuid(claims: Mapping[str, object], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not _UUID.match(value):
        raise AttestationError(Step.DECODE, f"the token's {name!r} is not a UUID in lower case")
    return value


def _require_application(claims: Mapping[str, object]) -> None:
    """Refuse the token of a person: people who may sign in at the application get one on any machine.

    :raises AttestationError: step decoding.
    """
    if "scp" in claims or claims.get("idtyp", "app") != "app":
        raise AttestationError(
            Step.DECODE, "the token was made for a person (scp, idtyp), and not for the managed identity of a VM"
        )


def _resource(claims: Mapping[str, object]) -> re.Match[str] | None:
    """The VM that the token was given to, or the scale set whose instance it was given to; None if it names neither.

    ``xms_mirid`` is the VM where the identity is the VM's own. Of an identity that may be assigned to many it is
    the identity's own resource, which proves no VM; then ``xms_az_rid`` has to.

    :raises AttestationError: step decoding, if it names two, or something else.
    """
    named = {name: _lowered(claims[name]) for name in _RESOURCE_CLAIMS if name in claims}
    machines = [match for text in named.values() if (match := _MACHINE.match(text)) is not None]
    sets = [match for text in named.values() if (match := _SCALE_SET.match(text)) is not None]
    resources = [*machines, *sets]
    # A set and an instance of it count as one resource.
    if any(other.group() != resources[0].group() and not _is_in(resources[0], other) for other in resources):
        raise AttestationError(
            Step.DECODE, "the token's xms_mirid and xms_az_rid are two virtual machines or scale sets"
        )
    if machines:
        return machines[0]
    own = sum(_ASSIGNED.match(text) is not None for name, text in named.items() if name == "xms_mirid")
    if named and (not sets or len(sets) + own < len(named)):
        raise AttestationError(
            Step.DECODE,
            "the token names no virtual machine in xms_mirid or xms_az_rid; it is one of an identity elsewhere",
        )
    return sets[0] if sets else None


def _is_in(machine: re.Match[str], scale_set: re.Match[str]) -> bool:
    return scale_set.re is _SCALE_SET and machine.group().startswith(f"{scale_set.group()}/")


def _lowered(value: object) -> str:
    """A resource id in lower case; an empty text in place of anything else."""
    return value.lower() if isinstance(value, str) and value.isascii() and len(value) <= _MAX_RESOURCE_ID else ""


def _machine_facts(machine: re.Match[str]) -> dict[str, str]:
    # Azure itself calls an instance of a scale set by both names; its number alone is many instances'.
    name = machine["name"] if machine["set"] is None else f"{machine['set']}_{machine['name']}"
    facts = {"resource_group": machine["group"], "resource_id": machine.group(), "vm_name": name}
    return facts if machine["set"] is None else {**facts, "scale_set": machine["set"]}


def _check_times(claims: Mapping[str, object], now: int) -> None:
    issued, starts, expires = (tokens.seconds(claims, name) for name in ("iat", "nbf", "exp"))
    if max(issued, starts) > now + CLOCK_SKEW:
        raise AttestationError(
            Step.FRESHNESS, f"the token is from {max(issued, starts) - now} seconds in the future; a clock is wrong"
        )
    if expires <= now - CLOCK_SKEW:
        raise AttestationError(Step.FRESHNESS, f"the token expired {now - expires} seconds ago; fetch a new one")
    if now - issued > MAX_TOKEN_AGE + CLOCK_SKEW:
        raise AttestationError(Step.FRESHNESS, "the token was issued more than a day ago; fetch a new one")
