"""AWS's NitroTPM attestation documents, with the instance identity document that names the account beside them.

Source: Amazon EC2 User Guide, "Validate a NitroTPM Attestation Document". The Nitro hypervisor signs the
caller's own nonce and public key: here the challenge's digest, and the account's key. The document names the
instance but not its owner; so an ``rsa2048`` document comes along, and the two must name the same instance.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP384R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384

from acme_iid.attestation import aws, chains, cose
from acme_iid.attestation.aws_trust import NITRO, AwsTrust
from acme_iid.attestation.fields import check, decode_base64url
from acme_iid.attestation.identity import Claims, Evidence, InstanceIdentity, Verifier
from acme_iid.attestation.trust import TrustStore, common_scope, root_references
from acme_iid.binding import CLOCK_SKEW, Binding
from acme_iid.errors import AttestationError, Step

MAX_AGE = 5 * 60
"""The age at which a document is still accepted, by its timestamp, in seconds."""
MAX_PCRS = 32

_INSTANCE_DOCUMENT = "aws-rsa2048"
# Nitro Enclaves, whose documents are of another kind, have "-enc" where NitroTPM has "-tpm".
_MODULE = re.compile(r"(?P<instance>i-(?:[0-9a-f]{8}|[0-9a-f]{17}))-tpm[0-9a-f]{1,32}\Z")
_PCR_SIZE = 48


@dataclass(frozen=True, slots=True)
class NitroTpmClaims(Claims):
    """The claims of a verified attestation document, and of the verified document beside it.

    :ivar instance: the claims of the ``rsa2048`` document.
    """

    instance: Claims | None = None


@dataclass(frozen=True, slots=True)
class _NitroTpmVerifier:
    """``aws-nitrotpm``: bound by nonce and account key."""

    beside: Verifier
    format: str = "aws-nitrotpm"
    cloud: str = "aws"

    def authenticate(self, evidence: Evidence, trust: TrustStore, now: int) -> NitroTpmClaims:
        """Decode both, and check both signatures; the Nitro chain at ``now``."""
        check(evidence.fields, ("evidence", "rsa2048"), self.format)
        data = decode_base64url(evidence.fields["evidence"], "evidence")
        try:
            message = cose.parse(data)
            document = _document(message.payload)
            leaf, supplied = _certificates(document)
        except ValueError as error:
            raise AttestationError(Step.DECODE, f"the evidence is not a NitroTPM document: {error}") from error
        try:
            roots = chains.verify(leaf, supplied, trust.part(AwsTrust).nitro, now)
        except ValueError as error:
            raise AttestationError(Step.SIGNATURE, str(error)) from error
        _verify(leaf, message)
        fields = {"evidence": evidence.fields["rsa2048"]}
        instance = self.beside.authenticate(Evidence(self.beside.format, fields), trust, now)
        return NitroTpmClaims(
            format=self.format,
            document=document,
            content=message.payload,
            key_id=chains.key_id(leaf),
            scope=common_scope(chains.scope(roots), instance.scope),
            believed_by=(*instance.believed_by, root_references(NITRO, roots)),
            instance=instance,
        )

    def identify(self, claims: Claims) -> InstanceIdentity:
        """Read the facts of both documents, which must be of one instance."""
        assert isinstance(claims, NitroTpmClaims)  # made by authenticate() above
        assert claims.instance is not None
        created, pcrs = _milliseconds(claims.document), _pcrs(claims.document)
        module = claims.document.get("module_id")
        match = _MODULE.match(module) if isinstance(module, str) else None
        if match is None:
            raise AttestationError(
                Step.DECODE, "the document's module_id is not a NitroTPM's (an instance id, '-tpm' and hex digits)"
            )
        identity = self.beside.identify(claims.instance)
        if match["instance"] != identity.instance_id:
            raise AttestationError(
                Step.BINDING, "the NitroTPM document and the instance identity document are not of the same instance"
            )
        return replace(
            identity,
            format=claims.format,
            key_id=claims.key_id,
            binding="nonce",
            scope=claims.scope,
            facts={**identity.facts, **pcrs},
            times={**identity.times, "timestamp": created},
            dated_at=created,
            believed_by=claims.believed_by,
        )

    def judge(self, identity: InstanceIdentity, claims: Claims, binding: Binding, now: int) -> None:
        """Check that the document is fresh, and for this challenge and account key."""
        assert isinstance(claims, NitroTpmClaims)
        assert claims.instance is not None
        _check_freshness(identity.times["timestamp"], now)
        _check_binding(claims.document, binding)
        self.beside.judge(identity, claims.instance, binding, now)


VERIFIERS: tuple[Verifier, ...] = (
    _NitroTpmVerifier(next(verifier for verifier in aws.VERIFIERS if verifier.format == _INSTANCE_DOCUMENT)),
)


def _document(payload: bytes) -> dict[str, object]:
    match cose.decode(payload):
        case dict() as document:
            pass
        case _:
            raise ValueError("its payload is not a map")
    named = {name: value for name, value in document.items() if isinstance(name, str)}
    if len(named) != len(document):
        raise ValueError("its payload has a key that is not a text")
    return named


def _certificates(document: Mapping[str, object]) -> tuple[x509.Certificate, list[x509.Certificate]]:
    """The signer's certificate and those that may lead to the root.

    :raises ValueError: with a sentence, if they are not there or cannot be read.
    """
    match document:
        case {"certificate": bytes(certificate), "cabundle": [_, *bundle]} if len(bundle) <= chains.MAX_INTERMEDIATES:
            # The bundle's first is the root as the sender has it: the pinned one counts, so it is not even read.
            issuers = [chains.read(der) for der in bundle if isinstance(der, bytes)]
            if len(issuers) != len(bundle):
                raise ValueError("its cabundle holds something that is not a certificate")
            return chains.read(certificate), issuers
        case _:
            raise ValueError("it holds no certificate, or no cabundle with a root and few certificates below it")


def _verify(leaf: x509.Certificate, message: cose.Sign1) -> None:
    """Check ES384 (RFC 9053 section 2.1) under the signer's key, which must be one for it."""
    key = leaf.public_key()
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP384R1):
        r, s = int.from_bytes(message.signature[:48]), int.from_bytes(message.signature[48:])
        try:
            key.verify(encode_dss_signature(r, s), cose.signed_bytes(message), ECDSA(SHA384()))
        except InvalidSignature:
            pass
        else:
            return
    raise AttestationError(Step.SIGNATURE, "the signature over the document is not the signer's")


def _milliseconds(document: Mapping[str, object]) -> int:
    """The time of the document in seconds; it has milliseconds."""
    value = document.get("timestamp")
    if type(value) is not int or not 0 <= value < 1 << 53:
        raise AttestationError(Step.DECODE, "the document has no timestamp, or one that is not a time")
    return value // 1000


def _pcrs(document: Mapping[str, object]) -> dict[str, str]:
    """The measurements of the boot: ``pcr0`` and so on, in lower-case hex."""
    if "pcrs" in document:
        raise AttestationError(Step.DECODE, "the document is a Nitro Enclave's; a NitroTPM's has nitrotpm_pcrs")
    pcrs = document.get("nitrotpm_pcrs")
    if document.get("digest") != "SHA384" or not isinstance(pcrs, dict) or not 0 < len(pcrs) <= MAX_PCRS:
        raise AttestationError(Step.DECODE, "the document has no nitrotpm_pcrs with SHA384 digests")
    facts = {}
    for index, value in pcrs.items():
        if type(index) is not int or not 0 <= index < MAX_PCRS or type(value) is not bytes or len(value) != _PCR_SIZE:
            raise AttestationError(Step.DECODE, "one of the document's nitrotpm_pcrs is not a numbered SHA384 digest")
        facts[f"pcr{index}"] = value.hex()
    return facts


def _check_freshness(created: int, now: int) -> None:
    if created > now + CLOCK_SKEW:
        raise AttestationError(
            Step.FRESHNESS, f"the document is from {created - now} seconds in the future; the CA's clock is wrong"
        )
    if now - created > MAX_AGE + CLOCK_SKEW:
        raise AttestationError(
            Step.FRESHNESS, f"the document is {now - created} seconds old, and {MAX_AGE} is the limit; make a new one"
        )


def _check_binding(document: Mapping[str, object], binding: Binding) -> None:
    nonce, public_key = document.get("nonce"), document.get("public_key")
    if not isinstance(nonce, bytes) or not hmac.compare_digest(nonce, binding.digest):
        raise AttestationError(
            Step.BINDING,
            "the document's nonce is not the digest of this challenge and this account key; make a new one",
        )
    # A document cannot be bound to an account key that the caller does not know.
    if (
        not isinstance(public_key, bytes)
        or not binding.public_key
        or not hmac.compare_digest(public_key, binding.public_key)
    ):
        raise AttestationError(Step.BINDING, "the document's public_key is not this account's key; make a new one")
