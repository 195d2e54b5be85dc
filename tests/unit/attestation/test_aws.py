from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import forge
import pytest
from aws_evidence import KIND, NOW, SIGN, authenticate, every_format, malformed, refusal
from trusting import judged, trusting

from acme_iid.attestation.aws_trust import AwsTrust
from acme_iid.attestation.identity import Evidence, InstanceIdentity
from acme_iid.attestation.registry import VERIFIERS
from acme_iid.attestation.trust import KeyReference
from acme_iid.binding import Binding
from acme_iid.errors import AttestationError, Step
from acme_iid.protocol.identifiers import Identifier
from acme_iid.simulator import cms

BINDING = Binding(bytes(32))


def _judge(evidence: Evidence, now: int = NOW) -> InstanceIdentity:
    return judged(VERIFIERS[evidence.format], authenticate(evidence), BINDING, now)


def test_the_registry_names_each_format_by_its_name() -> None:
    assert [name for name in VERIFIERS if name in SIGN] == ["aws-rsa2048", "aws-signature", "aws-pkcs7"]
    assert {(name, verifier.format, verifier.cloud) for name, verifier in VERIFIERS.items()} == {
        (name, name, name.partition("-")[0]) for name in VERIFIERS
    }


@every_format
def test_a_document_proves_the_instance_and_its_facts(name: str) -> None:
    instance = forge.instance()
    claims = authenticate(SIGN[name](instance.document))
    assert claims.content == instance.document
    assert claims.document == json.loads(instance.document)
    assert claims.scope == frozenset({"test"})
    (key,) = forge.trust().part(AwsTrust).keys_for(KIND[name], "mars-north-1")
    times = {"pendingTime": instance.pending_time}
    assert judged(VERIFIERS[name], claims, BINDING, NOW) == InstanceIdentity(
        cloud="aws",
        id="aws:aws:123456789042:us-west-2:i-0123456789abcdef0",
        owner="123456789042",
        instance_id="i-0123456789abcdef0",
        credential_id="123456789042",
        format=name,
        key_id=key.key_id,
        binding="first use",
        scope=frozenset({"test"}),
        facts={
            "account": "123456789042",
            "partition": "aws",
            "region": "us-west-2",
            "zone": "us-west-2a",
            "image": "ami-0123456789abcdef0",
            "instance_id": "i-0123456789abcdef0",
            "instance_type": "t3.micro",
            "architecture": "x86_64",
            "private_ip": "172.31.65.180",
            "private_name": "ip-172-31-65-180.us-west-2.compute.internal",
        },
        names=(
            Identifier("dns", "i-0123456789abcdef0"),
            Identifier("dns", "ip-172-31-65-180.us-west-2.compute.internal"),
            Identifier("ip", "172.31.65.180"),
        ),
        started_at=instance.pending_time,
        times=times if name == "aws-signature" else times | {"signingTime": forge.SIGNED_AT},
        believed_by=((KeyReference("aws", key.key_id),),),
    )


@pytest.mark.parametrize(
    ("region", "partition", "private_name"),
    [
        ("us-east-1", "aws", "ip-10-0-0-1.ec2.internal"),
        ("eu-central-2", "aws", "ip-10-0-0-1.eu-central-2.compute.internal"),
        ("cn-northwest-1", "aws-cn", "ip-10-0-0-1.cn-northwest-1.compute.internal"),
        ("us-gov-east-1", "aws-us-gov", "ip-10-0-0-1.us-gov-east-1.compute.internal"),
        ("eusc-de-east-1", "aws-eusc", "ip-10-0-0-1.eusc-de-east-1.compute.internal"),
        ("us-iso-west-1", "aws-iso", "ip-10-0-0-1.us-iso-west-1.compute.internal"),
        ("us-isob-east-1", "aws-iso-b", "ip-10-0-0-1.us-isob-east-1.compute.internal"),
    ],
)
def test_partition_and_private_name_follow_from_the_region(region: str, partition: str, private_name: str) -> None:
    identity = _judge(forge.aws_rsa2048(forge.instance(region=region, private_ip="10.0.0.1").document))
    assert identity.id == f"aws:{partition}:123456789042:{region}:i-0123456789abcdef0"
    assert identity.facts["partition"] == partition
    assert identity.facts["private_name"] == private_name


@pytest.mark.parametrize("absent", [None, ...])
def test_a_document_without_address_or_architecture_names_the_instance(absent: object) -> None:
    identity = _judge(forge.aws_rsa2048(forge.document(privateIp=absent, architecture=absent)))
    assert identity.names == (Identifier("dns", "i-0123456789abcdef0"),)
    assert not {"private_ip", "private_name", "architecture"} & set(identity.facts)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("accountId", ...),
        ("accountId", 123456789042),
        ("accountId", "12345678904"),
        ("accountId", "123456789042\n"),
        ("accountId", "\u0661\u0662\u0663456789042"),
        ("instanceId", ...),
        ("instanceId", "i-0123456789ABCDEF0"),
        ("instanceId", "i-0123456789abcdef"),
        ("instanceId", "foo.local"),
        ("availabilityZone", "us-east-1a"),
        ("availabilityZone", ["us-west-2a"]),
        ("imageId", "SA4xYU1EbD"),
        ("instanceType", "t3"),
        ("instanceType", None),
        ("architecture", "x86 64"),
        ("pendingTime", ...),
        ("pendingTime", 1750000000),
        ("pendingTime", "2025-06-15T15:06:40+00:00"),
        ("pendingTime", "2025-06-31T15:06:40Z"),
        ("version", ...),
        ("version", "2"),
        ("privateIp", "172.31.65.1800"),
        ("privateIp", "172.031.65.180"),
        ("privateIp", "fd00::1"),
        ("privateIp", 2887729588),
    ],
)
def test_a_signed_fact_that_is_missing_or_odd_is_refused_by_name(member: str, value: object) -> None:
    claims = authenticate(forge.aws_rsa2048(forge.document(**{member: value})))
    with pytest.raises(AttestationError) as refused:
        judged(VERIFIERS["aws-rsa2048"], claims, BINDING, NOW)
    assert refused.value.step is Step.DECODE
    assert ("zone" if member == "availabilityZone" else member.lower()) in refused.value.detail.lower()


@pytest.mark.parametrize("region", [..., None, "US-WEST-2", "us-west-2\n", "us-west-2/../x", "x" * 5000])
def test_a_region_that_is_none_is_refused_without_being_repeated(region: object) -> None:
    error = refusal(forge.aws_rsa2048(forge.document(region=region)))
    assert error.step is Step.DECODE
    assert "region" in error.detail
    assert len(error.detail) < 100


def test_a_document_from_the_future_is_refused_beyond_the_clocks_skew() -> None:
    evidence = forge.aws_rsa2048(forge.instance(pending_time=NOW + 61).document)
    with pytest.raises(AttestationError, match="in the future") as refused:
        _judge(evidence)
    assert refused.value.step is Step.FRESHNESS
    assert _judge(evidence, NOW + 1).started_at == NOW + 61


def test_an_old_document_is_not_judged_by_its_age() -> None:
    assert _judge(forge.aws_rsa2048(forge.instance().document), NOW + 10 * 365 * 86400).started_at == NOW - 30


# The signature, and whose it is


@every_format
def test_a_document_signed_by_nobody_known_is_refused(name: str) -> None:
    signer = getattr(forge.other_keys(), KIND[name])
    error = refusal(SIGN[name](forge.document(), signer))
    assert error.step is Step.SIGNATURE
    assert "us-west-2" in error.detail


@every_format
def test_a_region_without_keys_is_named_with_what_to_do(name: str) -> None:
    error = refusal(SIGN[name](forge.document(region="mars-north-1")), trusting())
    assert error.step is Step.SIGNATURE
    assert "no key for region mars-north-1 is pinned; add it with iid_roots" in error.detail


@every_format
def test_another_regions_key_proves_nothing(name: str) -> None:
    evidence = SIGN[name](forge.document())
    assert authenticate(evidence, forge.pinned("us-west-2", "us-east-1")).scope is None
    error = refusal(evidence, forge.pinned("us-east-1", "us-west-1"))
    assert error.step is Step.SIGNATURE
    assert "does not belong to the region us-west-2" in error.detail
    assert "us-east-1" not in error.detail


@every_format
def test_an_operators_key_is_believed_for_its_provisioners_only(name: str) -> None:
    evidence = SIGN[name](forge.document())
    assert authenticate(evidence, forge.trust("mine")).scope == frozenset({"mine"})
    assert _judge(evidence).scope == frozenset({"test"})
    assert refusal(evidence, trusting()).step is Step.SIGNATURE


@every_format
def test_a_document_with_one_byte_changed_is_refused(name: str) -> None:
    content = forge.document()
    tampered = content.replace(b"123456789042", b"123456789043")
    evidence = SIGN[name](content)
    if name == "aws-signature":
        fields = {**evidence.fields, "document": forge.base64url(tampered)}
    else:
        data = base64.b64decode(evidence.fields["evidence"])
        fields = {"evidence": base64.b64encode(data.replace(content, tampered)).decode()}
    assert refusal(Evidence(name, fields)).step is Step.SIGNATURE


def test_a_signature_is_not_moved_to_another_document() -> None:
    signer, genuine, forged = forge.keys().rsa2048, forge.document(), forge.document(accountId="999999999999")
    for data in (
        forge.content_exchanged(genuine, forged, signer),
        forge.digest_exchanged(genuine, forged, signer),
        forge.digest_exchanged(genuine, genuine.replace(b"t3", b"t2"), signer),
    ):
        assert refusal(forge.cms_evidence(data)).step is Step.SIGNATURE


def test_a_forged_document_beside_a_correctly_signed_cms_is_malformed() -> None:
    """SPIRE 1.14.6 believed the document beside the CMS."""
    evidence = forge.aws_rsa2048(forge.document())
    forged = forge.base64url(forge.document(accountId="999999999999"))
    detail = malformed(Evidence(evidence.format, {**evidence.fields, "document": forged}))
    assert "'document' beside it" in detail


def test_a_certificate_that_came_along_vouches_for_nothing() -> None:
    signer = forge.other_keys().rsa2048
    data = forge.cms_accepted()["a certificate attached"](forge.document(), signer)
    assert refusal(forge.cms_evidence(data)).step is Step.SIGNATURE


def test_a_signature_over_attributes_is_none_over_a_content() -> None:
    signer = forge.keys().rsa2048
    for data in (
        forge.attributes_as_content(forge.document(), signer),
        forge.without_attributes(forge.document(), signer),
    ):
        error = refusal(forge.cms_evidence(data))
        assert error.step is Step.DECODE
        assert "no signed attributes" in error.detail


def test_each_format_believes_its_own_kind_of_key_only() -> None:
    content = forge.document()
    for evidence in (
        forge.cms_evidence(cms.signed_data(content, forge.keys().dsa, NOW), "aws-rsa2048"),
        forge.cms_evidence(cms.signed_data(content, forge.keys().rsa2048, NOW), "aws-pkcs7"),
        forge.aws_rsa2048(content, forge.keys().rsa1024),
        forge.aws_signature(content, forge.keys().rsa2048),
    ):
        assert refusal(evidence).step is Step.SIGNATURE


def test_a_true_signature_by_an_algorithm_foreign_to_aws_is_refused() -> None:
    signer = forge.keys().rsa2048
    named = forge.other_signature_algorithm(forge.document(), signer, "1.2.840.113549.1.1.11")
    assert authenticate(forge.cms_evidence(named)).content == forge.document()
    for data in (
        forge.other_signature_algorithm(forge.document(), signer, "1.2.840.113549.1.1.10"),
        forge.sha1_digest(forge.document(), signer),
    ):
        error = refusal(forge.cms_evidence(data))
        assert error.step is Step.SIGNATURE
        assert "other algorithms" in error.detail


# Real documents

FORMATS = {
    "rsa2048-pkcs7-sha256": "aws-rsa2048",
    "signature-rsa1024-sha256-pkcs1v15": "aws-signature",
    "pkcs7-dsa-sha1": "aws-pkcs7",
}


def _recorded(path: Path) -> tuple[dict[str, Any], Evidence]:
    sample = json.loads(path.read_bytes())
    name = FORMATS[sample["format"]]
    if name == "aws-signature":
        document = forge.base64url(sample["document"].encode())
        return sample, Evidence(name, {"document": document, "signature": sample["signature"]})
    return sample, Evidence(name, {"evidence": sample["signature"]})


def test_real_documents_authenticate_under_pinned_keys_with_their_facts(samples: Path) -> None:
    seen = []
    for path in sorted(samples.glob("aws-*.json")):
        sample, evidence = _recorded(path)
        claims = authenticate(evidence, trusting())
        document = json.loads(sample["document"])
        assert claims.content == sample["document"].encode(), path.name
        assert claims.document == document
        assert claims.scope is None
        identity = judged(VERIFIERS[evidence.format], claims, BINDING, NOW)
        region = document["region"]
        assert identity.id == f"aws:aws:{document['accountId']}:{region}:{document['instanceId']}"
        assert (identity.facts["image"], identity.facts["zone"], identity.facts["private_ip"]) == (
            document["imageId"],
            document["availabilityZone"],
            document["privateIp"],
        )
        assert identity.names[0].value == document["instanceId"]
        signed_at = sample.get("cms", {}).get("signing_time")
        if signed_at is not None:
            moment = datetime.strptime(f"20{signed_at}", "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
            assert identity.times["signingTime"] == moment.timestamp()
        seen.append(evidence.format)
    assert set(seen) == set(SIGN)


def test_every_bad_recording_is_refused_at_the_signature(samples: Path) -> None:
    details = []
    for path in sorted(samples.glob("NEG-aws-*.json")):
        error = refusal(_recorded(path)[1], trusting())
        assert error.step is Step.SIGNATURE, path.name
        details.append(error.detail)
    assert any("the document was changed after it was signed" in detail for detail in details)
    assert any("not signed by AWS's key for the region us-west-1" in detail for detail in details)


def test_a_real_signature_does_not_carry_an_edited_document(samples: Path) -> None:
    for path in sorted(samples.glob("aws-*.json")):
        sample, evidence = _recorded(path)
        genuine = sample["document"].encode()
        edited = genuine.replace(json.loads(genuine)["accountId"].encode(), b"111111111111")
        if evidence.format == "aws-signature":
            fields = {**evidence.fields, "document": forge.base64url(edited)}
        else:
            data = base64.b64decode(sample["signature"])
            assert genuine in data
            fields = {"evidence": base64.b64encode(data.replace(genuine, edited)).decode()}
        assert refusal(Evidence(evidence.format, fields), trusting()).step is Step.SIGNATURE
