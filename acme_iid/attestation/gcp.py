"""Google Compute Engine's identity tokens: a JWT from the metadata server, bound by its audience.

Source: Compute Engine documentation, "Verify the identity of instances", for the token's claims, and "Internal
DNS" for the names. Only the claims that the metadata server adds in ``format=full`` say that a VM is speaking: every
service account gets tokens from the same issuer, and signs others with its own keys (CVE-2020-16251).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from acme_iid.attestation import fields, tokens
from acme_iid.attestation.gcp_trust import TOKENS, GcpTrust
from acme_iid.attestation.identity import Claims, Evidence, InstanceIdentity, Verifier
from acme_iid.attestation.keysets import Algorithm
from acme_iid.attestation.trust import TrustStore
from acme_iid.binding import CLOCK_SKEW, Binding
from acme_iid.errors import AttestationError, Step
from acme_iid.protocol import identifiers
from acme_iid.protocol.identifiers import Identifier

ISSUER = "https://accounts.google.com"

_ALGORITHMS: Final[frozenset[Algorithm]] = frozenset({"RS256"})
_CREATED = "instance_creation_timestamp"
_LABEL = r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?"
# Facts end up in names, rules and certificates, so that no form but Google's is accepted.
_FORMATS: Final[Mapping[str, re.Pattern[str]]] = {
    # With a colon: a project of the time when projects belonged to domains.
    "project_id": re.compile(rf"(?:(?:[a-z0-9](?:[a-z0-9-]{{0,61}}[a-z0-9])?\.)+[a-z]{{2,63}}:)?{_LABEL}\Z"),
    "zone": re.compile(r"[a-z]{1,20}(?:-[a-z]{2,20}){1,2}[0-9]{1,3}-[a-z][a-z0-9]{0,7}\Z"),
    "instance_id": re.compile(r"[1-9][0-9]{0,19}\Z"),
    "instance_name": re.compile(rf"{_LABEL}\Z"),
    "sub": re.compile(r"[0-9]{1,64}\Z"),
    "email": re.compile(r"[A-Za-z0-9._%+-]{1,64}@(?:[a-z0-9-]{1,63}\.){1,8}[a-z]{2,63}\Z"),
}
_MEMBERS: Final[Mapping[str, type]] = {
    "project_id": str,
    "project_number": int,
    "zone": str,
    "instance_id": str,
    "instance_name": str,
    _CREATED: int,
}


@dataclass(frozen=True, slots=True)
class _GcpVerifier:
    """``gcp-identity``."""

    format: str = "gcp-identity"
    cloud: str = "gcp"

    def authenticate(self, evidence: Evidence, trust: TrustStore, now: int) -> Claims:
        """Read the token, and check that Google signed it for a VM.

        ``now`` decides which key sets are stale; the token's own times are judged later.
        """
        fields.check(evidence.fields, ("evidence",), self.format)
        token = tokens.parse(evidence.fields["evidence"], _ALGORITHMS)
        key = tokens.verify(token, trust.part(GcpTrust).sets, ISSUER, "Google", now)
        _compute_engine(token.claims)
        believed_by = ((tokens.key_reference(token, TOKENS, key),),)
        return Claims(self.format, token.claims, token.content, token.key_id, key.scope, believed_by)

    def judge(self, identity: InstanceIdentity, claims: Claims, binding: Binding, now: int) -> None:
        """Check times and audience."""
        if identity.times[_CREATED] > now + CLOCK_SKEW:
            raise AttestationError(Step.FRESHNESS, f"the token's {_CREATED} is in the future")
        # As a string only: Google writes no list, and two receivers would be one too many.
        tokens.judge(claims.document, (claims.document.get("aud"),), binding.audience, now)

    def identify(self, claims: Claims) -> InstanceIdentity:
        """Read the facts."""
        engine = _compute_engine(claims.document)
        project, zone, instance, name = (
            _text(engine, member) for member in ("project_id", "zone", "instance_id", "instance_name")
        )
        number = engine["project_number"]
        if not isinstance(number, int) or not 0 < number < 1 << 63:
            raise AttestationError(Step.DECODE, "the token's project_number is not in the form that Google gives it")
        subject = _text(claims.document, "sub")
        facts = {
            "project": project,
            "project_number": str(number),
            "zone": zone,
            "region": zone.rpartition("-")[0],
            "instance_id": instance,
            "instance_name": name,
            "subject": subject,
        }
        # Google vouches for an address only with this beside it.
        if claims.document.get("email_verified") is True:
            facts["service_account"] = _text(claims.document, "email")
        created, times = tokens.seconds(engine, _CREATED), tokens.times(claims.document)
        return InstanceIdentity(
            cloud=self.cloud,
            id=f"gcp:{number}:{instance}",
            owner=str(number),
            instance_id=instance,
            credential_id=subject,
            format=claims.format,
            key_id=claims.key_id,
            binding="audience",
            scope=claims.scope,
            facts=facts,
            names=names(name, zone, project),
            started_at=created,
            times=times | {_CREATED: created},
            dated_at=times["iat"],
            believed_by=claims.believed_by,
        )


VERIFIERS: tuple[Verifier, ...] = (_GcpVerifier(),)
"""Google's formats."""


def _compute_engine(claims: Mapping[str, object]) -> Mapping[str, object]:
    """The claim that only the metadata server of a VM makes."""
    match claims:
        case {"google": {"compute_engine": dict(engine)}}:
            pass
        case _:
            raise AttestationError(
                Step.DECODE,
                "the token has no google.compute_engine claim, so it says nothing of a VM; ask the metadata server "
                "for it with format=full",
            )
    for member, kind in _MEMBERS.items():
        # Not isinstance: JSON's true is an int to Python.
        if type(engine.get(member)) is not kind:
            raise AttestationError(
                Step.DECODE, f"the token's google.compute_engine has no {member}, or one of another type"
            )
    return engine


def _text(members: Mapping[str, object], name: str) -> str:
    value = members.get(name)
    if not isinstance(value, str) or not _FORMATS[name].match(value):
        raise AttestationError(Step.DECODE, f"the token's {name} is not in the form that Google gives it")
    return value


def names(name: str, zone: str, project: str) -> tuple[Identifier, ...]:
    """The host names of internal DNS: the zonal one, and the global one that older projects use."""
    domain, _, own = project.rpartition(":")
    suffix = f"c.{own}.{domain}.internal" if domain else f"c.{own}.internal"
    host_names: list[Identifier] = []
    for value in (f"{name}.{zone}.{suffix}", f"{name}.{suffix}"):
        try:
            host_names.append(identifiers.dns(value))
        except ValueError:
            # Google allows names that no certificate can hold: too long as a whole, or with "--" where RFC 5891
            # reserves it. Such an instance is admitted by its facts, and no name follows from them.
            continue
    return tuple(host_names)
