"""AWS EC2 instance identity documents, in the three ways in which the metadata service signs them.

Source: Amazon EC2 User Guide, "Instance identity documents" and "Verify the instance identity document".
They carry no nonce: they are bound on first use (rfc-notes/iid-01.md), and ``pendingTime`` is judged there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from ipaddress import IPv4Address
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256

from acme_iid.attestation import cms
from acme_iid.attestation.aws_trust import DOCUMENTS, AwsKey, AwsKind, AwsTrust
from acme_iid.attestation.fields import check, decode_base64, decode_base64url, json_document
from acme_iid.attestation.identity import Claims, Evidence, InstanceIdentity, Verifier
from acme_iid.attestation.trust import KeyReference, TrustStore
from acme_iid.binding import CLOCK_SKEW, Binding
from acme_iid.errors import AttestationError, Step
from acme_iid.protocol import identifiers
from acme_iid.protocol.identifiers import Identifier

_PARTITIONS: Final = (
    ("cn-", "aws-cn"),
    ("us-gov-", "aws-us-gov"),
    ("eusc-", "aws-eusc"),
    ("us-iso-", "aws-iso"),
    ("us-isob-", "aws-iso-b"),
    ("eu-isoe-", "aws-iso-e"),
    ("us-isof-", "aws-iso-f"),
)
_FORMATS: Final[Mapping[str, re.Pattern[str]]] = {
    "accountId": re.compile(r"[0-9]{12}\Z"),
    "instanceId": re.compile(r"i-(?:[0-9a-f]{8}|[0-9a-f]{17})\Z"),
    "region": re.compile(r"[a-z]{2,8}(?:-[a-z]{2,16}){1,3}-[0-9]{1,2}\Z"),
    "availabilityZone": re.compile(r"[a-z0-9-]{4,48}\Z"),
    "imageId": re.compile(r"ami-(?:[0-9a-f]{8}|[0-9a-f]{17})\Z"),
    "instanceType": re.compile(r"[a-z0-9][a-z0-9-]{0,31}\.[a-z0-9-]{1,31}\Z"),
    "architecture": re.compile(r"[a-z0-9_]{2,32}\Z"),
    "pendingTime": re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?Z\Z"),
    "version": re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z"),
}


@dataclass(frozen=True, slots=True)
class AwsClaims(Claims):
    """The claims of a verified document, and the time at which AWS signed it.

    :ivar signing_time: the CMS's signingTime in seconds; None where the format has none.
    """

    signing_time: int | None = None


@dataclass(frozen=True, slots=True)
class _SignedDocument:
    """A document and its signature, decoded; ``signed`` are the bytes that the signature covers."""

    content: bytes
    signed: bytes
    signature: bytes
    signing_time: int | None = None


@dataclass(frozen=True, slots=True)
class _AwsVerifier:
    """One way in which AWS signs documents: the kind of key, and how the fields are read."""

    format: str
    kind: AwsKind
    decode: Callable[[str, Mapping[str, str]], _SignedDocument]
    cloud: str = "aws"

    def authenticate(self, evidence: Evidence, trust: TrustStore, now: int) -> Claims:  # noqa: ARG002
        """Decode, and check the signature under a key that signs for the document's own region.

        ``now`` has no say: the keys are pinned, not their certificates.
        """
        signed = self.decode(self.format, evidence.fields)
        document = json_document(signed.content)
        # Not believed yet: the region only selects the keys to try, and a wrong region selects keys that do not fit.
        key = _verifying_key(trust.part(AwsTrust), self.kind, _text(document, "region"), signed)
        return AwsClaims(
            format=self.format,
            document=document,
            content=signed.content,
            key_id=key.key_id,
            scope=key.scope,
            believed_by=((KeyReference(DOCUMENTS, key.key_id),),),
            signing_time=signed.signing_time,
        )

    def identify(self, claims: Claims) -> InstanceIdentity:
        """Read the facts."""
        return _identify(claims)

    def judge(self, identity: InstanceIdentity, claims: Claims, binding: Binding, now: int) -> None:  # noqa: ARG002
        """Check the document's time. It carries nothing that ``binding`` could be compared with."""
        _check_freshness(identity.times["pendingTime"], now)


def _from_cms(digest: cms.Digest, algorithms: frozenset[str], name: str, fields: Mapping[str, str]) -> _SignedDocument:
    """``rsa2048`` and ``pkcs7``: the document is inside a CMS, and no document beside it counts."""
    check(fields, ("evidence",), name)
    data = decode_base64(fields["evidence"], "evidence")
    try:
        signed_data = cms.parse(data)
    except ValueError as error:
        raise AttestationError(Step.DECODE, f"the evidence is not a CMS as AWS makes it: {error}") from error
    # AWS always signs attributes. Were they optional here, a signature over attributes could be passed off
    # as one over a content that looks like them.
    if signed_data.signed_attributes is None:
        raise AttestationError(Step.DECODE, "the CMS has no signed attributes, and AWS's always has")
    if signed_data.digest != digest or signed_data.signature_algorithm not in algorithms:
        raise AttestationError(Step.SIGNATURE, f"the CMS is signed with other algorithms than {name} uses")
    try:
        signed = cms.signed_bytes(signed_data)
    except cms.DigestMismatchError as error:
        raise AttestationError(Step.SIGNATURE, f"the document was changed after it was signed: {error}") from error
    return _SignedDocument(signed_data.content, signed, signed_data.signature, signed_data.signing_time)


def _from_signature(name: str, fields: Mapping[str, str]) -> _SignedDocument:
    """``signature``: the document's exact bytes, and a bare signature over them."""
    check(fields, ("document", "signature"), name)
    content = decode_base64url(fields["document"], "document")
    return _SignedDocument(content, content, decode_base64(fields["signature"], "signature"))


VERIFIERS: tuple[Verifier, ...] = (
    _AwsVerifier(
        "aws-rsa2048", "rsa2048", partial(_from_cms, "sha256", frozenset({cms.RSA_ENCRYPTION, cms.RSA_WITH_SHA256}))
    ),
    _AwsVerifier("aws-signature", "rsa1024", _from_signature),
    _AwsVerifier("aws-pkcs7", "dsa", partial(_from_cms, "sha1", frozenset({cms.DSA_WITH_SHA1}))),
)
"""AWS's formats, the strongest first."""


def _verifying_key(trust: AwsTrust, kind: AwsKind, region: str, signed: _SignedDocument) -> AwsKey:
    candidates = trust.keys_for(kind, region)
    for key in candidates:
        if _verifies(key, signed):
            return key
    if any(_verifies(key, signed) for key in trust.keys if key.kind == kind and key not in candidates):
        raise AttestationError(
            Step.SIGNATURE,
            f"the signature is AWS's, but its key does not belong to the region {region} that the document names",
        )
    if not any(key.scope is None for key in candidates):
        raise AttestationError(
            Step.SIGNATURE,
            f"no key for region {region} is pinned; add it with iid_roots"
            + (" (those given there now did not sign this document)" if candidates else ""),
        )
    raise AttestationError(
        Step.SIGNATURE,
        f"the document is not signed by AWS's key for the region {region}; keys that are not pinned are added "
        "with iid_roots",
    )


def _verifies(key: AwsKey, signed: _SignedDocument) -> bool:
    try:
        if isinstance(key.key, RSAPublicKey):
            key.key.verify(signed.signature, signed.signed, PKCS1v15(), SHA256())
        else:
            key.key.verify(signed.signature, signed.signed, SHA1())  # noqa: S303 - AWS signs pkcs7 with nothing else
    except InvalidSignature:
        return False
    return True


def _check_freshness(started_at: int, now: int) -> None:
    if started_at > now + CLOCK_SKEW:
        raise AttestationError(
            Step.FRESHNESS,
            f"the document's pendingTime is {started_at - now} seconds in the future; the CA's clock is wrong",
        )


def _identify(claims: Claims) -> InstanceIdentity:
    document = claims.document
    account, region, instance = (_text(document, name) for name in ("accountId", "region", "instanceId"))
    zone = _text(document, "availabilityZone")
    if not zone.startswith(region):
        raise AttestationError(Step.DECODE, f"the document's zone {zone} is not in its region {region}")
    _text(document, "version")
    started_at = _seconds(_text(document, "pendingTime"))
    facts = {
        "account": account,
        "partition": partition_of(region),
        "region": region,
        "zone": zone,
        "image": _text(document, "imageId"),
        "instance_id": instance,
        "instance_type": _text(document, "instanceType"),
    }
    if document.get("architecture") is not None:
        facts["architecture"] = _text(document, "architecture")
    if document.get("privateIp") is not None:
        facts["private_ip"] = ipv4_address(document["privateIp"], "document's privateIp")
        facts["private_name"] = private_name(facts["private_ip"], region)
    times = {"pendingTime": started_at}
    if isinstance(claims, AwsClaims) and claims.signing_time is not None:
        times["signingTime"] = claims.signing_time
    return InstanceIdentity(
        cloud="aws",
        id=identity_id(account, region, instance),
        owner=account,
        instance_id=instance,
        credential_id=account,
        format=claims.format,
        key_id=claims.key_id,
        binding="first use",
        scope=claims.scope,
        facts=facts,
        names=names(facts),
        started_at=started_at,
        times=times,
        believed_by=claims.believed_by,
    )


def _text(document: Mapping[str, object], name: str) -> str:
    """A fact in the form that AWS gives it. It ends up in names and rules, so that no other form is accepted."""
    value = document.get(name)
    if not isinstance(value, str):
        raise AttestationError(Step.DECODE, f"the document has no {name}, or one that is not a string")
    if not _FORMATS[name].match(value):
        raise AttestationError(Step.DECODE, f"the document's {name} is not in the form that AWS gives it")
    return value


def _seconds(pending_time: str) -> int:
    try:
        return int(datetime.fromisoformat(pending_time[:19]).replace(tzinfo=UTC).timestamp())
    except ValueError as error:
        raise AttestationError(Step.DECODE, "the document's pendingTime is not a time that exists") from error


def is_region(text: str) -> bool:
    """Whether a text is in the form of AWS's names of regions."""
    return _FORMATS["region"].match(text) is not None


def partition_of(region: str) -> str:
    """The partition that a region is in, by its name: ``aws``, ``aws-cn``, ``aws-us-gov``, ..."""
    return next((name for prefix, name in _PARTITIONS if region.startswith(prefix)), "aws")


def identity_id(account: str, region: str, instance: str) -> str:
    """The instance's key, the same for every format that proves it."""
    return f"aws:{partition_of(region)}:{account}:{region}:{instance}"


def ipv4_address(value: object, what: str) -> str:
    """An address as AWS writes it: a string.

    :param what: the name of the value, for the sentence.
    :raises AttestationError: step decoding.
    """
    # IPv4Address takes numbers as well, and AWS writes strings.
    if isinstance(value, str):
        try:
            return str(IPv4Address(value))
        except ValueError:
            pass
    raise AttestationError(Step.DECODE, f"the {what} is not an IPv4 address")


def names(facts: Mapping[str, str]) -> tuple[Identifier, ...]:
    """The names and the address that follow from an instance's facts, as far as they are proven."""
    proven = [identifiers.dns(facts[fact]) for fact in ("instance_id", "private_name") if fact in facts]
    if "private_ip" in facts:
        proven.append(identifiers.ip(facts["private_ip"]))
    return tuple(proven)


def private_name(address: str, region: str) -> str:
    """The host name that EC2 gives an instance by its address (EC2 User Guide, "instance hostname types")."""
    domain = "ec2.internal" if region == "us-east-1" else f"{region}.compute.internal"
    return f"ip-{address.replace('.', '-')}.{domain}"
