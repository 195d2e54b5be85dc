from __future__ import annotations

import json
import time
from collections.abc import Callable

import forge
import forge_azure as fa
import pytest
from azure_evidence import NOW, VERIFIER, authenticate, malformed, refusal
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from trusting import judged

from acme_iid.attestation import asn1, cms
from acme_iid.attestation.asn1 import tlv
from acme_iid.attestation.azure import Environment
from acme_iid.attestation.identity import Evidence, InstanceIdentity
from acme_iid.binding import Binding
from acme_iid.errors import AttestationError, Step
from acme_iid.protocol.identifiers import Identifier
from acme_iid.simulator.azure import content_info, signed_data, signer_info
from acme_iid.simulator.cms import indefinite, oid, sequence


def _judge(evidence: Evidence, now: int = NOW, binding: Binding = fa.BINDING) -> InstanceIdentity:
    return judged(VERIFIER, authenticate(evidence), binding, now)


def _judged_badly(evidence: Evidence, now: int = NOW, binding: Binding = fa.BINDING) -> AttestationError:
    claims = authenticate(evidence)
    with pytest.raises(AttestationError) as refused:
        judged(VERIFIER, claims, binding, now)
    return refused.value


def test_a_document_proves_the_vm_and_its_facts() -> None:
    plan = {"name": "standard", "product": "server", "publisher": "example-inc"}
    content = fa.document(plan=plan, licenseType="Windows_Server")
    claims = authenticate(fa.attested(content))
    assert claims.content == content
    assert claims.document == json.loads(content)
    assert judged(VERIFIER, claims, fa.BINDING, NOW) == InstanceIdentity(
        cloud="azure",
        id=f"azure:{fa.SUBSCRIPTION}:{fa.VM_ID}",
        owner=fa.SUBSCRIPTION,
        instance_id=fa.VM_ID,
        credential_id=fa.SUBSCRIPTION,
        format="azure-attested",
        key_id=claims.key_id,
        binding="nonce",
        scope=frozenset({"test"}),
        facts={
            "subscription": fa.SUBSCRIPTION,
            "vm_id": fa.VM_ID,
            "instance_id": fa.VM_ID,
            "environment": "public",
            "signer_region": "eastus",
            "sku": "22_04-lts-gen2",
            "license_type": "Windows_Server",
            "plan_name": "standard",
            "plan_product": "server",
            "plan_publisher": "example-inc",
        },
        names=(Identifier("dns", fa.VM_ID),),
        times={"createdOn": NOW - 5, "expiresOn": NOW - 5 + 6 * 3600},
        dated_at=NOW - 5,
        believed_by=claims.believed_by,
    )
    assert claims.key_id.startswith("sha256:")


@pytest.mark.parametrize("environment", ["public", "government", "china"])
def test_each_of_azures_clouds_signs_in_its_own_name(environment: Environment) -> None:
    identity = _judge(fa.attested(by=fa.simulated(environment)))
    assert (identity.facts["environment"], identity.facts["signer_region"]) == (environment, "eastus")


@pytest.mark.parametrize(
    ("names", "region"),
    [
        (["metadata.azure.com"], None),
        (["westus2.metadata.azure.com"], "westus2"),
        (["eastus.metadata.azure.com", "westus.metadata.azure.com"], None),
    ],
)
def test_a_region_is_a_fact_only_where_the_signer_names_one(names: list[str], region: str | None) -> None:
    claims = authenticate(fa.attested(by=fa.signer(names)))
    assert claims.signer_region == region
    assert judged(VERIFIER, claims, fa.BINDING, NOW).facts.get("signer_region") == region


def test_ids_are_the_same_in_whatever_case_azure_writes_them() -> None:
    content = fa.document(vmId=fa.VM_ID.upper(), subscriptionId=fa.SUBSCRIPTION.upper())
    assert _judge(fa.attested(content)).id == f"azure:{fa.SUBSCRIPTION}:{fa.VM_ID}"


def test_terms_that_could_upset_a_rule_are_left_out() -> None:
    plan = {"name": "a b", "product": "", "publisher": 5}
    identity = _judge(fa.attested(fa.document(sku="x\ny", licenseType=None, plan=plan)))
    assert set(identity.facts) == {"subscription", "vm_id", "instance_id", "environment", "signer_region"}
    assert _judge(fa.attested(fa.document(plan="free", sku=...))).facts == identity.facts


@pytest.mark.parametrize(
    ("member", "value", "sentence"),
    [
        ("subscriptionId", ..., "lacking subscriptionId"),
        ("subscriptionId", "8a205152b25a417fa67680465535a6c9", "subscriptionId is not a UUID"),
        ("subscriptionId", 8, "subscriptionId is not a UUID"),
        ("vmId", ..., "lacking vmId"),
        ("vmId", None, "lacking vmId"),
        ("vmId", "some-vm", "vmId is not a UUID"),
        ("vmId", fa.VM_ID + "\n", "vmId is not a UUID"),
        ("vmId", fa.VM_ID.replace("6", "\u0666"), "vmId is not a UUID"),
        ("nonce", ..., "has no nonce"),
        ("nonce", 5, "has no nonce"),
        ("timeStamp", ..., "has no timeStamp"),
        ("timeStamp", "now", "has no timeStamp"),
        ("timeStamp", {"createdOn": "06/15/25 15:06:40 -0000"}, "expiresOn is not a time"),
        ("timeStamp", {"createdOn": "06/15/25 15:06:40 +0200", "expiresOn": ""}, "createdOn is not a time"),
        ("timeStamp", {"createdOn": "06/15/2025 15:06:40 -0000", "expiresOn": ""}, "createdOn is not a time"),
        ("timeStamp", {"createdOn": "06/31/25 15:06:40 -0000", "expiresOn": ""}, "createdOn is not a time that exists"),
        ("timeStamp", {"createdOn": 1750000000, "expiresOn": 1750000000}, "createdOn is not a time"),
    ],
)
def test_a_signed_fact_that_is_missing_or_odd_is_refused_by_name(member: str, value: object, sentence: str) -> None:
    error = _judged_badly(fa.attested(fa.document_with({member: value})))
    assert error.step is Step.DECODE
    assert sentence in error.detail


# Freshness and binding


def test_a_document_is_good_for_a_quarter_of_an_hour() -> None:
    evidence = fa.attested()
    created = NOW - 5
    assert _judge(evidence, created + 960).times["createdOn"] == created
    assert _judge(evidence, created - 60).times["createdOn"] == created
    old, early = _judged_badly(evidence, created + 961), _judged_badly(evidence, created - 61)
    assert (old.step, early.step) == (Step.FRESHNESS, Step.FRESHNESS)
    assert "961 seconds old" in old.detail
    assert "61 seconds in the future" in early.detail


def test_a_document_that_expires_early_is_refused_from_then_on() -> None:
    stamp = {"createdOn": "06/15/25 15:06:40 -0000", "expiresOn": "06/15/25 15:07:40 -0000"}
    evidence = fa.attested(fa.document(timeStamp=stamp))
    assert _judge(evidence, NOW + 120).times["expiresOn"] == NOW + 60
    error = _judged_badly(evidence, NOW + 121)
    assert error.step is Step.FRESHNESS
    assert "expired" in error.detail


@pytest.mark.parametrize("nonce", ["", "0123456789", fa.BINDING.nonce.upper(), fa.BINDING.nonce[:-1], "\u00e4" * 32])
def test_a_document_with_another_nonce_is_not_bound_to_this_challenge(nonce: str) -> None:
    error = _judged_badly(fa.attested(fa.document(nonce)))
    assert error.step is Step.BINDING
    assert "fetch it again" in error.detail


def test_a_document_for_another_challenge_or_key_is_refused() -> None:
    error = _judged_badly(fa.attested(), binding=Binding(bytes(32)))
    assert error.step is Step.BINDING


def test_the_nonce_takes_all_of_the_digest_that_fits_into_it() -> None:
    differing = bytes((*fa.BINDING.digest[:19], fa.BINDING.digest[19] ^ 1, *fa.BINDING.digest[20:]))
    assert _judged_badly(fa.attested(), binding=Binding(differing)).step is Step.BINDING


def test_an_explanation_names_the_vm_of_a_stale_unbound_document() -> None:
    claims = authenticate(fa.attested(fa.document("0123456789")))
    assert VERIFIER.identify(claims).id == f"azure:{fa.SUBSCRIPTION}:{fa.VM_ID}"
    assert VERIFIER.identify(authenticate(fa.attested())) == _judge(fa.attested())


# Decoding


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda data: data + b"\0", "1 bytes follow its end"),
        (lambda data: data[:-1], "longer than what it stands in"),
        (lambda data: indefinite(0x30, *(child.encoding for child in asn1.parse(data).children)), "not in DER"),
        (lambda data: data.replace(b"\x02\x01\x01", b"\x02\x01\x03", 1), "version is not 1"),
    ],
)
def test_a_cms_that_azure_would_not_make_is_refused(spoil: Callable[[bytes], bytes], sentence: str) -> None:
    error = refusal(fa.cms_evidence(spoil(signed_data(fa.document(), fa.usual_signer()))))
    assert error.step is Step.DECODE
    assert sentence in error.detail


def test_signed_attributes_are_refused_since_azure_has_none() -> None:
    signer, content = forge.keys().rsa2048, fa.document()
    for fault in ("definite lengths throughout", "a certificate attached"):
        data = forge.cms_accepted()[fault](content, signer)
        assert refusal(fa.cms_evidence(asn1.der(asn1.parse(data)) if "definite" in fault else data)).step is Step.DECODE


def test_algorithms_that_azure_does_not_use_are_refused() -> None:
    data = signed_data(fa.document(), fa.usual_signer())
    encryption = oid(cms.RSA_ENCRYPTION)
    head, _, tail = data.rpartition(encryption)
    pss = oid("1.2.840.113549.1.1.10")
    assert len(pss) == len(encryption)
    error = refusal(fa.cms_evidence(head + pss + tail))
    assert error.step is Step.SIGNATURE
    assert "other algorithms" in error.detail


def test_a_digest_that_azure_does_not_use_is_refused() -> None:
    genuine, content = fa.usual_signer().certificate, fa.document()
    sha1 = sequence(oid(cms.SHA1), tlv(asn1.NULL, b""))
    signature = fa.signing_key().sign(content, PKCS1v15(), SHA256())
    info = [member.encoding for member in asn1.parse(signer_info(genuine, signature)).children]
    info[2] = sha1
    whole = asn1.parse(content_info(content, [genuine], sequence(*info)))
    signed = [member.encoding for member in whole.children[1].children[0].children]
    signed[1] = tlv(asn1.SET, sha1)
    data = sequence(whole.children[0].encoding, tlv(asn1.CONTEXT_0, sequence(*signed)))
    error = refusal(fa.cms_evidence(data))
    assert error.step is Step.SIGNATURE
    assert "other algorithms" in error.detail


def test_more_certificates_than_a_chain_needs_are_refused() -> None:
    genuine = fa.usual_signer().certificate
    others = [fa.self_signed(serial=serial).certificate for serial in range(2, 10)]
    error = refusal(fa.cms_evidence(fa.with_certificates(fa.document(), [genuine, *others], genuine)))
    assert error.step is Step.DECODE
    assert "more than 8 certificates" in error.detail


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "'evidence'"),
        ({"evidence": "AAAA", "signature": "AAAA"}, "'signature'"),
        ({"evidence": "AAA"}, "'evidence' is not base64"),
        ({"evidence": ""}, "'evidence' is empty"),
        ({"evidence": "AAAA", "intermediates": ""}, "'intermediates' is refused: there is no certificate"),
        ({"evidence": "AAAA", "intermediates": "hello"}, "not a CERTIFICATE block"),
        (
            {"evidence": "AAAA", "intermediates": "-----BEGIN CERTIFICATE-----\nAB==\n-----END CERTIFICATE-----\n"},
            "a CERTIFICATE block is not base64 in its one exact form",
        ),
        ({"evidence": "AAAA", "intermediates": fa.intermediates() * 9}, "more than 8 certificates"),
        ({"evidence": "AAAA", "intermediates": fa.intermediates().replace("MII", "MI!", 1)}, "not a CERTIFICATE block"),
        ({"evidence": "AAAA", "intermediates": fa.intermediates().replace("MII", "AAA", 1)}, "cannot be read"),
    ],
)
def test_an_answer_that_is_no_evidence_at_all_is_malformed(fields: dict[str, str], sentence: str) -> None:
    assert sentence in malformed(Evidence("azure-attested", fields))


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"a": NaN}', b"\xef\xbb\xbf{}", b"{}" + b" " * 16384])
def test_a_document_that_is_not_one_json_object_is_refused(content: bytes) -> None:
    assert refusal(fa.attested(content)).step is Step.DECODE


def test_a_refusal_never_shows_the_document() -> None:
    for evidence in (
        fa.attested(by=fa.self_signed()),
        fa.attested(fa.document()[:-1]),
        fa.cms_evidence(signed_data(fa.document(), fa.usual_signer())[:-1]),
    ):
        assert fa.VM_ID not in refusal(evidence).detail


# Any bytes


@given(st.dictionaries(st.sampled_from(("evidence", "intermediates", "attested")), st.text(max_size=80), max_size=3))
def test_no_fields_do_worse_than_a_refusal(fields: dict[str, str]) -> None:
    assert refusal(Evidence("azure-attested", fields)).detail


@given(st.binary(max_size=300))
def test_no_bytes_do_worse_than_a_refusal(data: bytes) -> None:
    assert refusal(fa.cms_evidence(b"\x30" + data)).step in (Step.DECODE, Step.SIGNATURE)


@given(data=st.data())
def test_mutated_evidence_never_authenticates_another_content(data: st.DataObject) -> None:
    genuine = signed_data(fa.document(), fa.usual_signer())
    try:
        authenticated = authenticate(fa.cms_evidence(forge.mutated(genuine, data.draw))).content
    except AttestationError:
        authenticated = fa.document()
    assert authenticated == fa.document()


@given(data=st.data())
def test_mutated_certificates_do_worse_than_a_refusal_nowhere(data: st.DataObject) -> None:
    genuine = fa.usual_signer().certificate.public_bytes(Encoding.DER)
    changed = forge.mutated(genuine, data.draw)
    parts = signed_data(fa.document(), fa.usual_signer()).split(genuine)
    assert len(parts) == 2
    whole = asn1.parse(signed_data(fa.document(), fa.usual_signer()))
    signed = whole.children[1].children[0].children
    members = [child.encoding for child in signed]
    members[3] = tlv(asn1.CONTEXT_0, changed)
    inner = tlv(asn1.SEQUENCE, b"".join(members))
    body = whole.children[0].encoding + tlv(asn1.CONTEXT_0, inner)
    try:
        assert authenticate(fa.cms_evidence(tlv(asn1.SEQUENCE, body))).content == fa.document()
    except AttestationError as error:
        assert error.step in (Step.DECODE, Step.SIGNATURE)  # noqa: PT017 - either outcome is right


def test_hostile_evidence_of_the_allowed_size_is_refused_in_no_time() -> None:
    started = time.process_time()
    for pattern in (b"\x30\x80", b"\x24\x80", b"\x30\x82\xb0\x00", b"\x00", b"\xff"):
        assert refusal(fa.cms_evidence((pattern * 50_000)[:48_000])).step is Step.DECODE
    for text in ("-----BEGIN CERTIFICATE-----\n" * 2000, "-----BEGIN CERTIFICATE-----\n" + "A" * 60_000):
        assert "not a CERTIFICATE block" in malformed(fa.attested(intermediates=text))
    assert time.process_time() - started < 5
