"""Azure's attested data: a document naming VM and subscription, with a nonce, signed by the metadata service.

Source: Microsoft Learn, "Azure Instance Metadata Service", "Attested data". The signature is a CMS without
signed attributes; the signer's certificate is attached, and its names say which of Azure's clouds signed.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID

from acme_iid.attestation import asn1, chains, cms
from acme_iid.attestation.azure_trust import ROOTS, AzureTrust
from acme_iid.attestation.fields import check, decode_base64, json_document
from acme_iid.attestation.identity import Claims, Evidence, InstanceIdentity, Verifier
from acme_iid.attestation.trust import TrustStore, root_references
from acme_iid.binding import CLOCK_SKEW, Binding
from acme_iid.errors import AttestationError, MalformedEvidenceError, Step
from acme_iid.protocol import identifiers

MAX_AGE = 15 * 60
"""The age at which a document is still accepted, by its createdOn, in seconds."""

Environment = Literal["public", "government", "china"]
"""Azure's separate clouds."""

_ENVIRONMENTS: Final[Mapping[str, Environment]] = {"com": "public", "us": "government", "cn": "china"}
# Exactly as Azure writes them, in lower case: a name that differs in any way is not Azure's.
_SIGNER_NAME = re.compile(r"(?:(?P<region>[a-z0-9]{1,63})\.)?metadata\.azure\.(?P<domain>com|us|cn)\Z")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")
_TIME = re.compile(r"([0-9]{2})/([0-9]{2})/([0-9]{2}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) -0000\Z")

# Marketplace terms end up in rules; a term in another form is left out, so that no rule can match it.
_TERM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")

# Azure takes up issuing authorities that no list here has yet; this CA fetches nothing.
_REMEDY = (
    "if Azure has a new issuing authority, the client sends its certificate along: acme-iid fetches it where the "
    "signer's certificate says, by HTTP, or takes it from the PEM file that ACME_IID_AZURE_INTERMEDIATES names; a new "
    "root is for an operator to add, with --iid-roots"
)


@dataclass(frozen=True, slots=True)
class AzureClaims(Claims):
    """The claims of a verified document, and of its signer's names.

    :ivar environment: the cloud that signed.
    :ivar signer_region: the region in the signer's names; None if they name none or several.
    """

    environment: Environment = "public"
    signer_region: str | None = None


@dataclass(frozen=True, slots=True)
class _AttestedVerifier:
    """``azure-attested``: bound by its nonce."""

    format: str = "azure-attested"
    cloud: str = "azure"

    def authenticate(self, evidence: Evidence, trust: TrustStore, now: int) -> AzureClaims:
        """Decode, and check the signature and the signer's chain at ``now``."""
        check(evidence.fields, ("evidence",), self.format, optional=("intermediates",))
        return authenticate(self.format, evidence.fields, "evidence", trust, now)

    def identify(self, claims: Claims) -> InstanceIdentity:
        """Read the facts."""
        return identify(claims)

    def judge(self, identity: InstanceIdentity, claims: Claims, binding: Binding, now: int) -> None:
        """Check the document's age and nonce."""
        judge(identity, claims, binding, now)


VERIFIERS: tuple[Verifier, ...] = (_AttestedVerifier(),)


def authenticate(name: str, fields: Mapping[str, str], field: str, trust: TrustStore, now: int) -> AzureClaims:
    """Steps decoding and signature of an attested document.

    :param name: the format.
    :param field: the name of the field that holds the CMS in base64; ``intermediates`` may help its chain.
    """
    data = decode_base64(fields[field], field)
    supplied: tuple[x509.Certificate, ...] = ()
    if "intermediates" in fields:
        try:
            supplied = chains.read_pem(fields["intermediates"])
        except ValueError as error:
            raise MalformedEvidenceError(f"the field 'intermediates' is refused: {error}") from error
    try:
        signed_data, attached = _read(data)
    except ValueError as error:
        raise AttestationError(Step.DECODE, f"the {field} is not a CMS as Azure makes it: {error}") from error
    if signed_data.digest != "sha256" or signed_data.signature_algorithm not in {
        cms.RSA_ENCRYPTION,
        cms.RSA_WITH_SHA256,
    }:
        raise AttestationError(Step.SIGNATURE, "the CMS is signed with other algorithms than Azure uses")
    try:
        signer = _signer(signed_data, attached)
        environment, region = _names(signer)
        anchors = trust.part(AzureTrust).anchors
        roots = chains.verify(signer, (*attached, *supplied), anchors, now, ExtendedKeyUsageOID.SERVER_AUTH)
        _verify(signer, signed_data)
    except chains.NoChainError as error:
        raise AttestationError(Step.SIGNATURE, f"{error}; {_REMEDY}") from error
    except ValueError as error:
        raise AttestationError(Step.SIGNATURE, str(error)) from error
    return AzureClaims(
        format=name,
        document=json_document(signed_data.content),
        content=signed_data.content,
        key_id=chains.key_id(signer),
        scope=chains.scope(roots),
        believed_by=(root_references(ROOTS, roots),),
        environment=environment,
        signer_region=region,
    )


def identify(claims: Claims) -> InstanceIdentity:
    """The instance that an attested document is about, with its facts.

    :raises AttestationError: step decoding.
    """
    assert isinstance(claims, AzureClaims)  # made by authenticate() above
    document = claims.document
    vm_id, subscription = _uuid(document, "vmId"), _uuid(document, "subscriptionId")
    times = _times(document)
    return InstanceIdentity(
        cloud="azure",
        id=f"azure:{subscription}:{vm_id}",
        owner=subscription,
        instance_id=vm_id,
        credential_id=subscription,
        format=claims.format,
        key_id=claims.key_id,
        binding="nonce",
        scope=claims.scope,
        facts=_facts(claims, subscription, vm_id),
        names=(identifiers.dns(vm_id),),
        times=times,
        dated_at=times["createdOn"],
        believed_by=claims.believed_by,
    )


def judge(identity: InstanceIdentity, claims: Claims, binding: Binding, now: int) -> None:
    """Steps freshness and binding of an attested document.

    :param identity: the identity in the document, with its times.
    :raises AttestationError: these, or decoding.
    """
    nonce = claims.document.get("nonce")
    if not isinstance(nonce, str):
        raise AttestationError(Step.DECODE, "the document has no nonce, or one that is not a string")
    _check_freshness(identity.times, now)
    if not hmac.compare_digest(nonce.encode(), binding.nonce.encode()):
        raise AttestationError(
            Step.BINDING,
            "the document's nonce is not the one of this challenge and this account key; the metadata service may "
            "hand out a document that it made for an earlier request, so fetch it again with this challenge's nonce",
        )


def _read(data: bytes) -> tuple[cms.SignedData, tuple[x509.Certificate, ...]]:
    """The CMS and the certificates attached to it, in DER throughout.

    :raises ValueError: with a sentence that names the difference from Azure's own.
    """
    signed_data = cms.parse(data)
    if asn1.der(asn1.parse(data)) != data:
        raise ValueError("it is not in DER")
    # Azure signs the content itself. Were attributes optional here, the sender could choose the signed bytes.
    if signed_data.signed_attributes is not None:
        raise ValueError("it has signed attributes, which Azure's never has")
    if len(signed_data.certificates) > chains.MAX_SUPPLIED:
        raise ValueError(f"more than {chains.MAX_SUPPLIED} certificates are attached")
    return signed_data, tuple(map(chains.read, signed_data.certificates))


def _signer(signed_data: cms.SignedData, attached: tuple[x509.Certificate, ...]) -> x509.Certificate:
    """The certificate that the SignerInfo names: never simply the first that is attached."""
    named = [
        certificate
        for certificate in attached
        if certificate.serial_number == signed_data.serial and certificate.issuer.public_bytes() == signed_data.issuer
    ]
    if len(named) != 1:
        raise ValueError(
            f"{len(named)} of the attached certificates have the issuer and serial number that the signer names; "
            "exactly one must"
        )
    return named[0]


def _names(signer: x509.Certificate) -> tuple[Environment, str | None]:
    """The cloud and the region in the signer's names, all of which must be Azure's metadata service's.

    :raises ValueError: if one is not, or there is no name. The subject's common name does not count (RFC 9525).
    """
    try:
        names = list(signer.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        names = []
    texts = [name.value for name in names if isinstance(name, x509.DNSName)]
    matches = [match for match in map(_SIGNER_NAME.match, texts) if match is not None]
    domains = {match["domain"] for match in matches}
    if len(matches) != len(names) or len(domains) != 1:
        raise ValueError(
            "the signer's certificate is not one of Azure's metadata service: its names must be metadata.azure.com, "
            "metadata.azure.us or metadata.azure.cn, or regional names directly below one of them, and no others"
        )
    regions = {match["region"] for match in matches} - {None}
    return _ENVIRONMENTS[domains.pop()], regions.pop() if len(regions) == 1 else None


def _verify(signer: x509.Certificate, signed_data: cms.SignedData) -> None:
    """Check the signature over the content (RFC 5652 section 5.4, without signed attributes).

    :raises ValueError: if it is not the signer's.
    """
    key = signer.public_key()
    if isinstance(key, RSAPublicKey):
        try:
            key.verify(signed_data.signature, cms.signed_bytes(signed_data), PKCS1v15(), SHA256())
        except InvalidSignature:
            pass
        else:
            return
    raise ValueError("the signature over the document is not the signer's; the document was changed")


def _uuid(document: Mapping[str, object], name: str) -> str:
    """An id in lower case."""
    value = document.get(name)
    if value is None:
        raise AttestationError(
            Step.DECODE,
            f"the document is lacking {name}; fetch it with api-version=2021-02-01, older versions leave it out",
        )
    if not isinstance(value, str) or not _UUID.match(value):
        raise AttestationError(Step.DECODE, f"the document's {name} is not a UUID")
    return value.lower()


def _times(document: Mapping[str, object]) -> dict[str, int]:
    """``createdOn`` and ``expiresOn`` in seconds."""
    stamp = document.get("timeStamp")
    if not isinstance(stamp, dict):
        raise AttestationError(Step.DECODE, "the document has no timeStamp")
    times: dict[str, int] = {}
    for name in ("createdOn", "expiresOn"):
        value = stamp.get(name)
        match = _TIME.match(value) if isinstance(value, str) else None
        if match is None:
            raise AttestationError(Step.DECODE, f"the document's {name} is not a time as Azure writes it")
        month, day, year, hour, minute, second = map(int, match.groups())
        try:
            moment = datetime(2000 + year, month, day, hour, minute, second, tzinfo=UTC)
        except ValueError as error:
            raise AttestationError(Step.DECODE, f"the document's {name} is not a time that exists") from error
        times[name] = int(moment.timestamp())
    return times


def _check_freshness(times: Mapping[str, int], now: int) -> None:
    age = now - times["createdOn"]
    if age < -CLOCK_SKEW:
        raise AttestationError(
            Step.FRESHNESS, f"the document was created {-age} seconds in the future; the CA's clock is wrong"
        )
    if age > MAX_AGE + CLOCK_SKEW:
        raise AttestationError(
            Step.FRESHNESS, f"the document is {age} seconds old, and {MAX_AGE} is the limit; fetch a new one"
        )
    if now > times["expiresOn"] + CLOCK_SKEW:
        raise AttestationError(Step.FRESHNESS, "the document has expired (expiresOn); fetch a new one")


def _facts(claims: AzureClaims, subscription: str, vm_id: str) -> dict[str, str]:
    facts = {
        "subscription": subscription,
        "vm_id": vm_id,
        "instance_id": vm_id,
        "environment": claims.environment,
    }
    if claims.signer_region is not None:
        facts["signer_region"] = claims.signer_region
    plan = claims.document.get("plan")
    terms: dict[str, object] = {"sku": claims.document.get("sku"), "license_type": claims.document.get("licenseType")}
    if isinstance(plan, dict):
        terms |= {f"plan_{member}": plan.get(member) for member in ("name", "product", "publisher")}
    return facts | {name: term for name, term in terms.items() if isinstance(term, str) and _TERM.match(term)}
