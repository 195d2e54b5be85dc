"""Whose signature an Azure document has: attacks that happened elsewhere, the signer's chain, real documents."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import forge_azure as fa
import pytest
from azure_evidence import NOW, VERIFIER, authenticate, malformed, refusal
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID
from trusting import judged, trusting

from acme_iid.attestation.azure import AzureClaims
from acme_iid.attestation.identity import Evidence
from acme_iid.errors import AttestationError, Step
from acme_iid.simulator.authority import key_usage
from acme_iid.simulator.azure import content_info, signed_data, signer_info
from acme_iid.simulator.listener import Request, Response, listening

# Attacks that have happened elsewhere


def test_a_chain_anchored_on_the_first_attached_certificate_is_refused() -> None:
    """SPIRE 1.14.7 and Teleport took the first certificate that was attached for the signer's."""
    genuine, forger = fa.usual_signer().certificate, fa.self_signed("attacker.example", serial=7).certificate
    content = fa.document()
    for attached in ([genuine, forger], [forger, genuine]):
        error = refusal(fa.cms_evidence(fa.with_certificates(content, attached, forger)))
        assert error.step is Step.SIGNATURE
        assert "no chain leads from the signer's certificate" in error.detail


def test_a_genuine_certificate_is_found_wherever_it_is_attached() -> None:
    genuine, other = fa.usual_signer().certificate, fa.self_signed().certificate
    for attached in ([genuine, other], [other, genuine]):
        data = fa.with_certificates(fa.document(), attached, genuine)
        assert authenticate(fa.cms_evidence(data)).content == fa.document()


def test_the_signers_serial_number_under_another_issuer_is_not_the_signer() -> None:
    genuine = fa.usual_signer().certificate
    other = fa.self_signed(serial=genuine.serial_number).certificate
    for attached in ([genuine, other], [other, genuine]):
        data = fa.with_certificates(fa.document(), attached, genuine)
        assert authenticate(fa.cms_evidence(data)).content == fa.document()


def test_two_or_no_certificates_that_the_signer_names_are_refused() -> None:
    genuine = fa.usual_signer().certificate
    for attached in ([genuine, genuine], [fa.self_signed().certificate], []):
        error = refusal(fa.cms_evidence(fa.with_certificates(fa.document(), attached, genuine)))
        assert error.step is Step.SIGNATURE
        assert "of the attached certificates have the issuer and serial number that the signer names" in error.detail


def test_a_signature_that_was_never_made_is_refused() -> None:
    """CVE-2026-46354: the certificates were checked, and the signature never was."""
    genuine = fa.usual_signer().certificate
    for signature in (b"", bytes(256), fa.signing_key().sign(b"{}", PKCS1v15(), SHA256())):
        error = refusal(fa.cms_evidence(content_info(fa.document(), [genuine], signer_info(genuine, signature))))
        assert error.step is Step.SIGNATURE
        assert "the document was changed" in error.detail


def test_a_document_with_one_byte_changed_is_refused() -> None:
    content = fa.document()
    data = signed_data(content, fa.usual_signer())
    changed = data.replace(fa.VM_ID.encode(), fa.VM_ID.replace("b", "c", 1).encode())
    assert changed != data
    assert refusal(fa.cms_evidence(changed)).step is Step.SIGNATURE


def test_a_self_signed_document_in_azures_name_is_refused() -> None:
    """Microsoft's own documentation shows one that is signed by a certificate of its own making."""
    error = refusal(fa.attested(by=fa.self_signed()))
    assert error.step is Step.SIGNATURE
    assert "no chain leads from the signer's certificate" in error.detail


@dataclass
class IssuersPage:
    """Where a certificate says that its issuer's is; notes who asks."""

    asked: list[str] = field(default_factory=list)
    banner: str = "issuers"
    reads: frozenset[str] = frozenset()

    def answer(self, request: Request) -> Response:
        self.asked.append(request.path)
        issuer = fa.keys().issuing.chain[0].public_bytes(Encoding.DER)
        return Response(HTTPStatus.OK, issuer, {}, "application/pkix-cert")


def test_an_aia_address_in_a_certificate_has_nothing_fetched() -> None:
    """CVE-2026-45796: issuers were fetched from wherever the certificate said (AIA)."""
    page = IssuersPage()
    with listening(page) as running:
        location = x509.UniformResourceIdentifier(f"{running.url}/issuer.crt")
        access = x509.AuthorityInformationAccess(
            [
                x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, location),
                x509.AccessDescription(AuthorityInformationAccessOID.OCSP, location),
            ]
        )
        points = x509.CRLDistributionPoints([x509.DistributionPoint([location], None, None, None)])
        signer = fa.signer(extra=[(access, False), (points, False)])
        assert authenticate(fa.attested(by=signer)).scope == frozenset({"test"})
        # The one certificate that is missing here is what the page would have given.
        error = refusal(fa.attested(by=signer), fa.root_only())
        assert page.asked == []
    assert error.step is Step.SIGNATURE
    assert "issued by 'CN=Simulated Microsoft TLS Issuing CA" in error.detail


@pytest.mark.parametrize(
    "names",
    [
        ["metadata.azure.com.evil.com"],
        ["evilmetadata.azure.com"],
        ["evil-metadata.azure.com"],
        ["Metadata.azure.com"],
        ["METADATA.AZURE.COM"],
        ["metadata.azure.com\0.evil.com"],
        ["metadata.azure.com\0"],
        ["metadata.azure.com\n"],
        ["metadata.azure.com."],
        [".metadata.azure.com"],
        ["*.metadata.azure.com"],
        ["*.azure.com"],
        ["a.b.metadata.azure.com"],
        ["west-us.metadata.azure.com"],
        ["EastUS.metadata.azure.com"],
        ["metadata.azure.org"],
        ["metadata.azure.de"],
        ["metadata.azure.co"],
        ["metadata-azure.com"],
        ["metadataXazure.com"],
        ["azure.com"],
        [],
        ["metadata.azure.com", "evil.com"],
        ["evil.com", "metadata.azure.com"],
        ["metadata.azure.com", "metadata.azure.us"],
        [x509.RFC822Name("metadata.azure.com")],
        [x509.UniformResourceIdentifier("metadata.azure.com")],
        ["metadata.azure.com", x509.RFC822Name("a@metadata.azure.com")],
    ],
    ids=str,
)
def test_case_and_suffix_tricks_on_the_signers_name_are_refused(names: list[str | x509.GeneralName]) -> None:
    error = refusal(fa.attested(by=fa.signer(names, common_name="metadata.azure.com")))
    assert error.step is Step.SIGNATURE
    assert "its names must be metadata.azure.com" in error.detail


def test_duplicate_keys_that_two_parsers_read_differently_are_refused() -> None:
    content = fa.document()[:-1] + b', "vmId": "00000000-0000-0000-0000-000000000000"}'
    error = refusal(fa.attested(content))
    assert error.step is Step.DECODE
    assert "the key 'vmId' twice" in error.detail


def test_a_forged_document_beside_a_correctly_signed_cms_is_malformed() -> None:
    """SPIRE 1.14.6 believed the document beside the CMS."""
    detail = malformed(fa.attested(document=base64.b64encode(fa.document()).decode()))
    assert "'document' beside it" in detail


# The signer's chain


@pytest.mark.parametrize(
    ("signer", "sentence"),
    [
        (lambda: fa.signer(around=NOW - 86400 - 1), "is not valid at"),
        (lambda: fa.signer(around=NOW + 86400 + 1), "is not valid at"),
        (lambda: fa.signer(extra=[(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)]), "purpose"),
        (lambda: fa.signer(extra=[(x509.BasicConstraints(ca=True, path_length=0), True)]), "is an authority's"),
        (lambda: fa.signer(extra=[(key_usage(signatures=False, certificates=True), True)]), "not for signatures"),
        (lambda: fa.signer(extra=[(x509.PolicyConstraints(0, None), True)]), "critical extension"),
        (lambda: fa.signer(issuer=fa.other_keys().issuing), "no chain leads from"),
        (lambda: fa.signer(key=fa.elliptic_key()), "the signature over the document is not the signer's"),
    ],
)
def test_a_signer_whose_certificate_is_not_for_this_is_refused(signer: Callable[[], Any], sentence: str) -> None:
    error = refusal(fa.attested(by=signer()))
    assert error.step is Step.SIGNATURE
    assert sentence in error.detail


def test_a_signer_without_usages_may_sign() -> None:
    for drop in (x509.ExtendedKeyUsage, x509.KeyUsage, x509.BasicConstraints):
        assert authenticate(fa.attested(by=fa.signer(drop=drop))).environment == "public"


def test_intermediates_from_the_client_lead_to_a_trusted_root_or_nowhere() -> None:
    assert refusal(fa.attested(), fa.root_only()).step is Step.SIGNATURE
    assert authenticate(fa.attested(intermediates=fa.intermediates()), fa.root_only()).content == fa.document()
    chain = b"".join(one.public_bytes(Encoding.PEM) for one in fa.other_keys().issuing.chain).decode()
    error = refusal(fa.attested(by=fa.signer(issuer=fa.other_keys().issuing), intermediates=chain))
    assert error.step is Step.SIGNATURE
    assert "no chain leads from" in error.detail


def test_an_operators_root_is_believed_for_its_provisioners_only() -> None:
    assert authenticate(fa.attested(), fa.trust("mine")).scope == frozenset({"mine"})
    both = trusting(azure_roots={"mine": fa.keys().roots, "yours": fa.keys().roots}, google=False)
    assert authenticate(fa.attested(), both).scope == frozenset({"mine", "yours"})
    assert refusal(fa.attested(), trusting(google=False)).step is Step.SIGNATURE


# Real documents


def _recorded(path: Path) -> tuple[dict[str, Any], Evidence]:
    sample = json.loads(path.read_bytes())
    return sample, Evidence("azure-attested", {"evidence": sample["signature"]})


def _created(document: dict[str, Any]) -> int:
    stamp = document["timeStamp"]["createdOn"].removesuffix(" -0000")
    return int(datetime.strptime(stamp, "%m/%d/%y %H:%M:%S").replace(tzinfo=UTC).timestamp())


def test_real_documents_authenticate_and_are_refused_for_binding_or_age(samples: Path) -> None:
    trust = trusting(azure_roots={"recorded": fa.recorded_issuers(samples)}, google=False)
    details = set()
    for path in sorted(samples.glob("azure-*.json")):
        sample, evidence = _recorded(path)
        document = json.loads(sample["document"])
        claims = authenticate(evidence, trust, sample["verify_time"])
        assert claims.content == sample["document"].encode(), path.name
        assert claims.document == document
        assert claims.environment == "public"
        assert f"{claims.signer_region}.metadata.azure.com" in sample["leaf_sans"]
        for now, step in ((_created(document), Step.BINDING), (NOW + 10**9, Step.FRESHNESS)):
            with pytest.raises(AttestationError) as refused:
                judged(VERIFIER, claims, fa.BINDING, now)
            if "subscriptionId" in document:
                assert refused.value.step is step, path.name
            else:
                assert refused.value.step is Step.DECODE
                details.add(refused.value.detail[:41])
        if "subscriptionId" in document:
            whole = {**document, "nonce": fa.BINDING.nonce}
            bound = AzureClaims("azure-attested", whole, claims.content, claims.key_id, None, (), "public", None)
            identity = judged(VERIFIER, bound, fa.BINDING, _created(document))
            assert identity.id == f"azure:{document['subscriptionId']}:{document['vmId']}"
            assert identity.facts.get("sku", "") == document["sku"]
    assert details == {"the document is lacking subscriptionId; f"}


def test_pinned_roots_and_issuers_suffice_for_real_documents_since_2024(samples: Path) -> None:
    seen = 0
    for path in sorted(samples.glob("azure-attested-202[4-9]*.json")):
        sample, evidence = _recorded(path)
        assert authenticate(evidence, trusting(google=False), sample["verify_time"]).scope is None
        seen += 1
    assert seen


def test_roots_that_have_expired_are_not_pinned_and_not_believed_today(samples: Path) -> None:
    trust = trusting(azure_roots={"recorded": fa.recorded_issuers(samples)}, google=False)
    for path in sorted(samples.glob("azure-attested-20[12][0-2-9]*.json")):
        sample, evidence = _recorded(path)
        assert refusal(evidence, trust, 1_795_000_000).step is Step.SIGNATURE
        if "Baltimore" in sample["against"]:
            assert refusal(evidence, trusting(google=False), sample["verify_time"]).step is Step.SIGNATURE


def test_a_forged_recording_is_refused_at_the_signature(samples: Path) -> None:
    for path in sorted(samples.glob("NEG-azure-*.json")):
        sample, evidence = _recorded(path)
        assert refusal(evidence, trusting(google=False), sample["verify_time"]).step is Step.SIGNATURE
