"""AWS's tokens for other services than its own, from ``sts:GetWebIdentityToken``: a JWT bound by its audience.

Source: IAM User Guide, "Outbound identity federation", "Understanding token claims". It proves that its sender has
the credentials of a role that were delivered to one EC2 instance. Each account has an issuer of its own, so
an operator configures issuer and account together: a host name that looks like AWS's proves nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from acme_iid.attestation import aws, fields, tokens
from acme_iid.attestation.aws_trust import AwsTrust
from acme_iid.attestation.identity import Claims, Evidence, InstanceIdentity, Verifier
from acme_iid.attestation.keysets import Algorithm, ScopedKeySet
from acme_iid.attestation.trust import TrustStore
from acme_iid.binding import Binding
from acme_iid.errors import AttestationError, Step

NAMESPACE = "https://sts.amazonaws.com/"
"""The claim that holds AWS's own statements; the token owner's are apart below it, in ``request_tags``."""

_ALGORITHMS: Final[frozenset[Algorithm]] = frozenset({"RS256", "ES384"})
_PRINCIPAL = re.compile(r"arn:(aws[a-z-]{0,16}):(?:iam|sts)::([0-9]{12}):[a-z-]{4,16}/[A-Za-z0-9_+=,.@/-]{1,600}\Z")
_INSTANCE = re.compile(
    r"arn:(aws[a-z-]{0,16}):ec2:([a-z0-9-]{1,32}):([0-9]{12}):instance/(i-(?:[0-9a-f]{8}|[0-9a-f]{17}))\Z"
)
_VPC = re.compile(r"vpc-(?:[0-9a-f]{8}|[0-9a-f]{17})\Z")
_ORGANIZATION = re.compile(r"o-[a-z0-9]{10,32}\Z")


@dataclass(frozen=True, slots=True)
class _WebIdentityVerifier:
    """``aws-web-identity``."""

    format: str = "aws-web-identity"
    cloud: str = "aws"

    def authenticate(self, evidence: Evidence, trust: TrustStore, now: int) -> Claims:
        """Read the token, and check that a configured issuer signed it, for that issuer's own account.

        ``now`` decides which key sets are stale; the token's own times are judged later.
        """
        fields.check(evidence.fields, ("evidence",), self.format)
        token = tokens.parse(evidence.fields["evidence"], _ALGORITHMS)
        # Not believed yet: the issuer only selects, of the configured issuers, the keys to try.
        issuers = [issuer for issuer in trust.part(AwsTrust).web_identity if issuer.issuer == token.claims.get("iss")]
        if not issuers:
            raise AttestationError(
                Step.SIGNATURE,
                "the token's issuer is not one of those configured here; an operator adds the account's own issuer, "
                "as 'aws iam get-outbound-web-identity-federation-info' shows it",
            )
        sets = [ScopedKeySet(issuer.keys, issuer.scope) for issuer in issuers]
        key = tokens.verify(token, sets, issuers[0].issuer, "the configured issuer", now)
        session = _session(token.claims)
        if session.get("aws_account") != issuers[0].account:
            raise AttestationError(
                Step.SIGNATURE, "the token names another account than the one that its issuer is configured for"
            )
        if "ec2_source_instance_arn" not in session:
            raise AttestationError(
                Step.DECODE,
                "the token has no ec2_source_instance_arn: it was not asked for with the credentials of an EC2 "
                "instance's role",
            )
        believed_by = ((tokens.key_reference(token, issuers[0].issuer, key),),)
        return Claims(self.format, token.claims, token.content, token.key_id, key.scope, believed_by)

    def judge(self, identity: InstanceIdentity, claims: Claims, binding: Binding, now: int) -> None:  # noqa: ARG002
        """Check times and audience."""
        audience = claims.document.get("aud")
        audiences = audience if isinstance(audience, list) else (audience,)
        tokens.judge(claims.document, audiences, binding.audience, now)

    def identify(self, claims: Claims) -> InstanceIdentity:
        """Read the facts."""
        session = _session(claims.document)
        account = session.get("aws_account")
        partition, region, owner, instance = _match(_INSTANCE, session, "ec2_source_instance_arn").groups()
        principal = _match(_PRINCIPAL, claims.document, "sub")
        if {owner, principal.group(2)} != {account}:
            raise AttestationError(Step.DECODE, "the token's instance or principal belongs to another account than it")
        # One instance has one identity in every format: a partition other than that of the region in the
        # instance's own document would make a second one.
        if not aws.is_region(region) or {partition, principal.group(1)} != {aws.partition_of(region)}:
            raise AttestationError(Step.DECODE, "the token's ARNs are not of the partition that their region is in")
        if "source_region" in session and session["source_region"] != region:
            raise AttestationError(Step.DECODE, "the token was asked for from another region than its instance is in")
        facts = {
            "account": owner,
            "partition": partition,
            "region": region,
            "instance_id": instance,
            "principal": principal.group(),
        }
        if "ec2_instance_source_private_ipv4" in session:
            facts["private_ip"] = aws.ipv4_address(
                session["ec2_instance_source_private_ipv4"], "token's ec2_instance_source_private_ipv4"
            )
            facts["private_name"] = aws.private_name(facts["private_ip"], region)
        if "ec2_instance_source_vpc" in session:
            facts["vpc"] = _match(_VPC, session, "ec2_instance_source_vpc").group()
        if "org_id" in session:
            facts["organization"] = _match(_ORGANIZATION, session, "org_id").group()
        times = tokens.times(claims.document)
        return InstanceIdentity(
            cloud=self.cloud,
            id=aws.identity_id(owner, region, instance),
            owner=owner,
            instance_id=instance,
            credential_id=owner,
            format=claims.format,
            key_id=claims.key_id,
            binding="audience",
            scope=claims.scope,
            facts=facts,
            names=aws.names(facts),
            times=times,
            dated_at=times["iat"],
            believed_by=claims.believed_by,
        )


VERIFIERS: tuple[Verifier, ...] = (_WebIdentityVerifier(),)
"""AWS's tokens."""


def _session(claims: Mapping[str, object]) -> Mapping[str, object]:
    session = claims.get(NAMESPACE)
    if not isinstance(session, dict):
        raise AttestationError(Step.DECODE, f"the token has no claim {NAMESPACE}, in which AWS names its owner")
    return session


def _match(pattern: re.Pattern[str], members: Mapping[str, object], name: str) -> re.Match[str]:
    """A fact in the form that AWS gives it. It ends up in names and rules, so that no other form is accepted."""
    value = members.get(name)
    match = pattern.match(value) if isinstance(value, str) else None
    if match is None:
        raise AttestationError(Step.DECODE, f"the token's {name} is not in the form that AWS gives it")
    return match
