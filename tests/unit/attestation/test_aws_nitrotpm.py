from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import forge
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP384R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from trusting import judged, trusting

from acme_iid.attestation import cose
from acme_iid.attestation.aws_trust import AwsTrust
from acme_iid.attestation.identity import Claims, Evidence, InstanceIdentity
from acme_iid.attestation.registry import VERIFIERS
from acme_iid.attestation.trust import TrustStore
from acme_iid.binding import Binding
from acme_iid.errors import AttestationError, MalformedEvidenceError, Step
from acme_iid.simulator import nitro

VERIFIER = VERIFIERS["aws-nitrotpm"]
NOW = forge.SIGNED_AT
INSTANCE = "i-0123456789abcdef0"


@cache
def _keys() -> nitro.Keys:
    return nitro.Keys.generate()


@cache
def _account_key() -> bytes:
    return _spki(generate_private_key(SECP256R1()))


@cache
def _key() -> EllipticCurvePrivateKey:
    return generate_private_key(SECP384R1())


def _spki(key: EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@cache
def _chain() -> tuple[x509.Certificate, ...]:
    return nitro.signer(_keys(), _key(), INSTANCE, NOW), *_keys().host.chain


BINDING = Binding(bytes(range(32)), _account_key())


@cache
def _trust(nitro_for: str = "test", aws_for: str = "test") -> TrustStore:
    return trusting({aws_for: forge.keys().certificates}, nitro_roots={nitro_for: _keys().roots}, google=False)


def _payload(**members: object) -> dict[str, object]:
    return nitro.payload(INSTANCE, list(_chain()), NOW, nonce=BINDING.digest, public_key=BINDING.public_key, **members)


def _evidence(
    members: dict[str, object] | None = None,
    *,
    by: EllipticCurvePrivateKey | None = None,
    document: bytes | None = None,
) -> Evidence:
    """Evidence with a payload's members changed, and any instance document beside it."""
    return _message(nitro.sign({**_payload(), **(members or {})}, by or _key()), document)


def _message(data: bytes, document: bytes | None = None) -> Evidence:
    beside = forge.aws_rsa2048(forge.instance().document if document is None else document)
    fields = {"evidence": forge.base64url(data), "rsa2048": beside.fields["evidence"]}
    return Evidence("aws-nitrotpm", fields)


def _authenticate(evidence: Evidence, trust: TrustStore | None = None, now: int = NOW) -> Claims:
    return VERIFIER.authenticate(evidence, trust or _trust(), now)


def _judge(evidence: Evidence, now: int = NOW, binding: Binding = BINDING) -> InstanceIdentity:
    return judged(VERIFIER, _authenticate(evidence), binding, now)


def _refused(evidence: Evidence, trust: TrustStore | None = None, now: int = NOW) -> AttestationError:
    with pytest.raises(AttestationError) as refused:
        _authenticate(evidence, trust, now)
    return refused.value


def _judged_badly(evidence: Evidence, now: int = NOW, binding: Binding = BINDING) -> AttestationError:
    claims = _authenticate(evidence)
    with pytest.raises(AttestationError) as refused:
        judged(VERIFIER, claims, binding, now)
    return refused.value


def test_a_document_proves_the_instance_and_its_measured_boot() -> None:
    beside = VERIFIERS["aws-rsa2048"]
    plain = judged(
        beside, beside.authenticate(forge.aws_rsa2048(forge.instance().document), _trust(), NOW), BINDING, NOW
    )
    claims = _authenticate(_evidence())
    pcrs = {f"pcr{index}": hashlib.sha384(bytes((index,))).hexdigest() for index in range(24)}
    assert judged(VERIFIER, claims, BINDING, NOW) == replace(
        plain,
        format="aws-nitrotpm",
        key_id=claims.key_id,
        binding="nonce",
        facts={**plain.facts, **pcrs},
        times={**plain.times, "timestamp": NOW},
        dated_at=NOW,
        believed_by=claims.believed_by,
    )
    assert [key.place for group in claims.believed_by for key in group] == ["aws", "nitro"]
    assert plain.id == "aws:aws:123456789042:us-west-2:i-0123456789abcdef0"
    assert claims.content == cose.parse(base64.urlsafe_b64decode(_evidence().fields["evidence"] + "==")).payload


def test_what_the_simulated_hypervisor_makes_is_accepted() -> None:
    made = nitro.document(INSTANCE, _keys(), NOW, nonce=BINDING.digest, public_key=BINDING.public_key)
    assert _judge(_message(made)).facts["pcr4"] == hashlib.sha384(b"\x04").hexdigest()


# Binding and freshness


@pytest.mark.parametrize("nonce", [None, b"", bytes(32), BINDING.digest[:31], BINDING.digest + b"\n", "text", 5])
def test_another_nonce_is_not_bound_to_this_challenge(nonce: object) -> None:
    error = _judged_badly(_evidence({"nonce": nonce}))
    assert error.step is Step.BINDING
    assert "nonce" in error.detail


@pytest.mark.parametrize(
    "key",
    [None, b"", _account_key()[:-1], _spki(generate_private_key(SECP256R1())), "text"],
    ids=["none", "empty", "shorter", "another", "text"],
)
def test_a_document_for_another_account_key_is_refused(key: object) -> None:
    error = _judged_badly(_evidence({"public_key": key}))
    assert error.step is Step.BINDING
    assert "public_key" in error.detail


def test_an_account_key_that_nobody_knows_is_no_binding() -> None:
    unknown = Binding(BINDING.digest)
    for key in (b"", None, _account_key()):
        assert _judged_badly(_evidence({"public_key": key}), binding=unknown).step is Step.BINDING


def test_a_document_is_good_for_five_minutes() -> None:
    assert _judge(_evidence(), NOW + 360).times["timestamp"] == NOW
    assert _judge(_evidence(), NOW - 60).times["timestamp"] == NOW
    for now, sentence in ((NOW + 361, "361 seconds old"), (NOW - 61, "61 seconds in the future")):
        error = _judged_badly(_evidence(), now)
        assert error.step is Step.FRESHNESS
        assert sentence in error.detail


def test_the_document_beside_it_is_judged_as_well() -> None:
    error = _judged_badly(_evidence(document=forge.instance(pending_time=NOW + 61).document))
    assert error.step is Step.FRESHNESS
    assert "pendingTime" in error.detail


def test_an_explanation_names_the_instance_of_a_stale_unbound_document() -> None:
    claims = _authenticate(_evidence({"nonce": b"other", "timestamp": 0}))
    identity = VERIFIER.identify(claims)
    assert (identity.instance_id, identity.times["timestamp"]) == (INSTANCE, 0)
    assert identity.facts["pcr0"] == hashlib.sha384(b"\0").hexdigest()


def test_documents_of_two_instances_are_not_put_together() -> None:
    other = forge.instance(instance_id="i-0fedcba9876543210").document
    error = _judged_badly(_evidence(document=other))
    assert error.step is Step.BINDING
    assert "not of the same instance" in error.detail
    error = _judged_badly(_evidence({"module_id": "i-0fedcba9876543210-tpm0000000000000000"}))
    assert error.step is Step.BINDING


# The document


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ({"module_id": f"{INSTANCE}-enc0123456789abcdef"}, "module_id"),
        ({"module_id": INSTANCE}, "module_id"),
        ({"module_id": f"x{INSTANCE}-tpm0"}, "module_id"),
        ({"module_id": f"{INSTANCE}-tpm0\n"}, "module_id"),
        ({"module_id": b"i-0123456789abcdef0-tpm0"}, "module_id"),
        ({"pcrs": {0: bytes(48)}}, "Nitro Enclave's"),
        ({"nitrotpm_pcrs": {}}, "no nitrotpm_pcrs"),
        ({"nitrotpm_pcrs": [bytes(48)]}, "no nitrotpm_pcrs"),
        ({"nitrotpm_pcrs": {0: bytes(32)}}, "not a numbered SHA384 digest"),
        ({"nitrotpm_pcrs": {32: bytes(48)}}, "not a numbered SHA384 digest"),
        ({"nitrotpm_pcrs": {-1: bytes(48)}}, "not a numbered SHA384 digest"),
        ({"nitrotpm_pcrs": {"0": bytes(48)}}, "not a numbered SHA384 digest"),
        ({"nitrotpm_pcrs": {0: "0" * 48}}, "not a numbered SHA384 digest"),
        ({"nitrotpm_pcrs": dict.fromkeys(range(33), bytes(48))}, "no nitrotpm_pcrs"),
        ({"digest": "SHA256"}, "no nitrotpm_pcrs with SHA384"),
        ({"timestamp": -1}, "timestamp"),
        ({"timestamp": 1 << 63}, "timestamp"),
        ({"timestamp": "now"}, "timestamp"),
        ({"timestamp": True}, "timestamp"),
    ],
)
def test_a_signed_fact_that_is_odd_is_refused(members: dict[str, object], sentence: str) -> None:
    error = _judged_badly(_evidence(members))
    assert error.step is Step.DECODE
    assert sentence in error.detail


@pytest.mark.parametrize("member", ["module_id", "digest", "timestamp", "nitrotpm_pcrs", "nonce", "public_key"])
def test_a_fact_that_is_missing_is_refused(member: str) -> None:
    whole = {name: value for name, value in _payload().items() if name != member}
    error = _judged_badly(_message(nitro.sign(whole, _key())))
    assert error.step in (Step.DECODE, Step.BINDING)
    assert member in error.detail or member == "digest"


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ({"certificate": None}, "no certificate"),
        ({"certificate": b"MII"}, "cannot be read"),
        ({"cabundle": []}, "no cabundle"),
        ({"cabundle": None}, "no cabundle"),
        ({"cabundle": [b""] * 6}, "no cabundle with a root and few"),
        ({"cabundle": [b"", b""]}, "cannot be read"),
        ({"cabundle": [b"", 5]}, "not a certificate"),
    ],
)
def test_a_document_without_a_readable_chain_is_refused(members: dict[str, object], sentence: str) -> None:
    error = _refused(_evidence(members))
    assert error.step is Step.DECODE
    assert sentence in error.detail


@pytest.mark.parametrize("payload", [b"", b"\x80", b"\xa1\x01\x02", b"\xa1\x01", b"\xa2\x61\x61\x01\x61\x61\x02"])
def test_a_payload_that_is_no_map_of_texts_is_refused(payload: bytes) -> None:
    assert _refused(_message(nitro.sign_bytes(payload, _key()))).step is Step.DECODE


def test_a_payload_with_one_key_that_is_no_text_is_refused() -> None:
    whole: dict[int | str, object] = {}
    whole.update(_payload().items())
    whole[5] = b""
    error = _refused(_message(nitro.sign_bytes(nitro.cbor(whole), _key())))
    assert error.step is Step.DECODE
    assert "a key that is not a text" in error.detail


# The signature and its chain


def test_a_document_that_nobody_signed_or_another_key_is_refused() -> None:
    signed = nitro.sign(_payload(), _key())
    zeros = signed[:-96] + bytes(96)
    full = signed[:-96] + b"\xff" * 96
    for evidence in (_evidence(by=generate_private_key(SECP384R1())), _message(zeros), _message(full)):
        error = _refused(evidence)
        assert error.step is Step.SIGNATURE
        assert "not the signer's" in error.detail


def test_a_document_that_was_changed_is_refused() -> None:
    signed = nitro.sign(_payload(), _key())
    changed = signed.replace(INSTANCE.encode() + b"-tpm", b"i-0fedcba9876543210-tpm")
    assert changed != signed
    assert _refused(_message(changed)).step is Step.SIGNATURE


def test_a_root_that_came_along_is_none() -> None:
    """The first of the cabundle is for show: the root is the one that is pinned."""
    impostor = nitro.Keys.generate()
    key = generate_private_key(SECP384R1())
    leaf = nitro.signer(impostor, key, INSTANCE, NOW)
    evidence = _message(
        nitro.sign(nitro.payload(INSTANCE, [leaf, *impostor.host.chain], NOW, nonce=BINDING.digest), key)
    )
    error = _refused(evidence)
    assert error.step is Step.SIGNATURE
    assert "no chain leads" in error.detail
    bundle = _payload()["cabundle"]
    assert isinstance(bundle, list)
    assert _judge(_evidence({"cabundle": [b"anything", *bundle[1:]]})).instance_id == INSTANCE


def test_a_signers_certificate_lives_three_hours() -> None:
    assert _authenticate(_evidence(), now=NOW + 3 * 3600).scope == frozenset({"test"})
    error = _refused(_evidence(), now=NOW + 3 * 3600 + 1)
    assert error.step is Step.SIGNATURE
    assert "is not valid at" in error.detail


def test_a_signer_on_another_curve_is_refused() -> None:
    key = generate_private_key(SECP256R1())
    leaf = nitro.signer(_keys(), key, INSTANCE, NOW)
    payload = nitro.payload(INSTANCE, [leaf, *_keys().host.chain], NOW, nonce=BINDING.digest)
    error = _refused(_message(nitro.sign(payload, key)))
    assert error.step is Step.SIGNATURE
    assert "not the signer's" in error.detail


def test_the_document_beside_it_is_verified_as_if_it_stood_alone() -> None:
    genuine = _evidence()
    stranger = forge.aws_rsa2048(forge.instance().document, forge.other_keys().rsa2048).fields["evidence"]
    for beside, step in ((stranger, Step.SIGNATURE), (base64.b64encode(b"0").decode(), Step.DECODE)):
        assert _refused(Evidence(genuine.format, {**genuine.fields, "rsa2048": beside})).step is step


def test_only_provisioners_that_believe_both_signers_believe_the_evidence() -> None:
    assert _authenticate(_evidence()).scope == frozenset({"test"})
    assert _authenticate(_evidence(), _trust("mine", "yours")).scope == frozenset()
    assert _refused(_evidence(), forge.trust()).step is Step.SIGNATURE
    mine = _trust("mine").part(AwsTrust)
    pinned = TrustStore((AwsTrust(forge.pinned("us-west-2").part(AwsTrust).keys, nitro=mine.nitro),))
    assert _authenticate(_evidence(), pinned).scope == frozenset({"mine"})


@pytest.mark.parametrize(
    "spoil",
    [
        lambda fields: {name: fields[name] for name in ("evidence",)},
        lambda fields: {name: fields[name] for name in ("rsa2048",)},
        lambda fields: {**fields, "document": "e30"},
        lambda fields: {**fields, "evidence": fields["evidence"] + "="},
        lambda fields: {**fields, "evidence": ""},
        lambda fields: {**fields, "rsa2048": "*"},
    ],
)
def test_an_answer_that_is_no_evidence_at_all_is_malformed(spoil: Callable[[dict[str, str]], dict[str, str]]) -> None:
    error = _refused(Evidence("aws-nitrotpm", spoil(dict(_evidence().fields))))
    assert isinstance(error, MalformedEvidenceError)


# Any bytes


@given(st.binary(max_size=300))
def test_no_bytes_do_worse_than_a_refusal(data: bytes) -> None:
    for prefix in (b"\x84", b"\xd2\x84\x44\xa1\x01\x38\x22\xa0"):
        assert _refused(_message(prefix + data)).step in (Step.DECODE, Step.SIGNATURE)


@cache
def _signed_once() -> bytes:
    """One document: ECDSA signs differently each time, and hypothesis wants to repeat itself."""
    return nitro.sign(_payload(), _key())


@given(data=st.data())
def test_mutated_evidence_never_authenticates_another_content(data: st.DataObject) -> None:
    genuine = cose.parse(_signed_once()).payload
    try:
        authenticated = _authenticate(_message(forge.mutated(_signed_once(), data.draw))).content
    except AttestationError:
        authenticated = genuine
    assert authenticated == genuine


def test_hostile_evidence_of_the_allowed_size_is_refused_in_no_time() -> None:
    started = time.process_time()
    for pattern in (b"\x9f", b"\xbf", b"\x81", b"\xa1\x00", b"\x00", b"\xff"):
        assert _refused(_message(b"\x84\x44\xa1\x01\x38\x22\xa0" + (pattern * 32_000)[:32_000])).step is Step.DECODE
    assert time.process_time() - started < 5
