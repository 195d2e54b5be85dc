"""Google's tokens as they come: what is read, what is refused, texts of any kind, and what Google signed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import forge
import forge_tokens as tokens
import jwt
import pytest
from forge_tokens import BINDING, ISSUED_AT
from gcp_evidence import GCP, as_evidence, judge, refusal, token_segments
from hypothesis import example, given, settings
from hypothesis import strategies as st
from trusting import judged, trusting

from acme_iid.attestation.identity import Evidence, InstanceIdentity
from acme_iid.errors import AttestationError, MalformedEvidenceError, Step
from acme_iid.simulator import gcp
from acme_iid.simulator.tokens import TokenKey, key_set

# Reading


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "'evidence', which is missing"),
        ({"evidence": "a.b.c", "document": "e30"}, "'document'"),
        ({"evidence": "a.b.c", "intermediates": ""}, "'intermediates' does not belong"),
    ],
)
def test_other_fields_are_malformed(fields: dict[str, str], words: str) -> None:
    error = refusal(Evidence("gcp-identity", fields))
    assert isinstance(error, MalformedEvidenceError)
    assert words in error.detail


def _not_compact() -> dict[str, str]:
    header, payload, signature = token_segments()
    return {
        "nothing": "",
        "a dot": ".",
        "two segments": f"{header}.{payload}",
        "three empty ones": "..",
        "four segments": f"{header}.{payload}.{signature}.AAAA",
        "padding at the end": f"{header}.{payload}.{signature}=",
        "padding inside": f"{header}==.{payload}.{signature}",
        "a newline": f"{header}.{payload}.{signature}\n",
        "a space": f" {header}.{payload}.{signature}",
        "the other alphabet": f"{header}.+/{payload}.{signature}",
        "half a byte": f"{header}.{payload}.A",
        "unused bits": f"{header}.{payload}.{signature[:-1]}{'B' if signature[-1] != 'B' else 'C'}",
        "other digits": f"{header}.{payload}.\u0661",
        "too long": "A" * (16 * 1024 + 1),
        "the JSON serialization": json.dumps({"payload": payload, "signatures": []}),
        "brackets": "[" * 10_000,
    }


def test_a_token_that_is_too_long_is_malformed() -> None:
    claims = tokens.gcp_claims(padding="x" * 13_000)
    assert isinstance(refusal(tokens.gcp_identity(claims)), MalformedEvidenceError)
    assert judge(tokens.gcp_identity(tokens.gcp_claims(padding="x" * 10_000))).cloud == "gcp"


@pytest.mark.parametrize("fault", _not_compact())
def test_what_is_not_three_segments_of_base64url_is_malformed(fault: str) -> None:
    assert isinstance(refusal(as_evidence(_not_compact()[fault])), MalformedEvidenceError)


def test_a_token_whose_signature_was_left_out_is_not_signed() -> None:
    assert refusal(as_evidence(".".join([*token_segments()[:2], ""]))).step is Step.SIGNATURE


GOOD = json.dumps(tokens.gcp_claims()).encode()


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"null",
        b"{}{}",
        b"\xef\xbb\xbf" + GOOD,
        GOOD.decode().encode("utf-16"),
        GOOD[:-1] + b', "x": NaN}',
        GOOD[:-1] + b', "x": ' + b"[" * 50 + b"]" * 50 + b"}",
        b"\xff" + GOOD,
    ],
)
def test_a_signed_payload_that_is_not_plain_json_is_refused(payload: bytes) -> None:
    error = refusal(as_evidence(tokens.signed(tokens.header(tokens.google()), payload, tokens.google())))
    assert error.step is Step.DECODE


@pytest.mark.parametrize("member", ["aud", "iss", "instance_id", "project_number", "google"])
def test_duplicate_json_keys_read_differently_by_two_parsers_are_refused(member: str) -> None:
    name = json.dumps(member).encode()
    payload = GOOD.replace(name + b":", name + b': "x", ' + name + b":", 1)
    assert payload != GOOD
    error = refusal(as_evidence(tokens.signed(tokens.header(tokens.google()), payload, tokens.google())))
    assert error.step is Step.DECODE
    assert "twice" in error.detail


def test_a_duplicate_key_in_the_header_is_refused() -> None:
    header = json.dumps(tokens.header(tokens.google())).encode()
    twice = header.replace(b'"alg":', b'"alg": "none", "alg":', 1)
    error = refusal(as_evidence(tokens.signed(twice, tokens.gcp_claims(), tokens.google())))
    assert (error.step, "twice" in error.detail) == (Step.DECODE, True)


@pytest.mark.parametrize(
    "members",
    [
        {"kid": ...},
        {"kid": None},
        {"kid": ""},
        {"kid": 7},
        {"kid": ["a"]},
        {"kid": "a" * 257},
        {"kid": "a\nb"},
        {"crit": ["exp"], "exp": 1},
        {"crit": []},
        {"b64": False, "crit": ["b64"]},
        {"b64": True},
        {"typ": "secevent+jwt"},
        {"typ": 1},
    ],
)
def test_a_header_that_no_cloud_writes_is_refused(members: dict[str, object]) -> None:
    header = tokens.header(tokens.google(), **members)
    assert refusal(as_evidence(tokens.signed(header, tokens.gcp_claims(), tokens.google()))).step is Step.DECODE


@pytest.mark.parametrize("kid", ["0" * 40, "../../etc/passwd", "' OR 1=1 --", "http://127.0.0.1:1/"])
def test_a_key_id_that_is_unknown_chooses_nothing(kid: str) -> None:
    header = tokens.header(tokens.google(), kid=kid)
    assert refusal(as_evidence(tokens.signed(header, tokens.gcp_claims(), tokens.google()))).step is Step.SIGNATURE


def _outcome(evidence: Evidence) -> InstanceIdentity | AttestationError:
    try:
        return judge(evidence)
    except AttestationError as error:
        return error


@settings(deadline=None)
@given(
    st.text(max_size=200)
    | st.lists(st.binary(max_size=40), max_size=5).map(lambda parts: ".".join(map(tokens.segment, parts)))
)
@example("\ud800.a.b")
def test_no_text_crashes_the_verifier(text: str) -> None:
    assert isinstance(_outcome(as_evidence(text)), AttestationError)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_change_to_a_token_is_believed(data: st.DataObject) -> None:
    text = ".".join(token_segments())
    changed = forge.mutated(text.encode(), data.draw).decode("latin-1")
    if changed != text:
        assert isinstance(_outcome(as_evidence(changed)), AttestationError)


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted({**tokens.gcp_claims(), "nbf": 0})), JSON)
def test_no_signed_claim_crashes_the_verifier(name: str, value: object) -> None:
    outcome = _outcome(tokens.gcp_identity(tokens.gcp_claims(**{name: value})))
    if isinstance(outcome, InstanceIdentity):
        assert outcome.id == "gcp:123456789012:3015378661047007286"


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(tokens.gcp_claims()["google"]["compute_engine"])), JSON)
def test_no_signed_fact_crashes_the_verifier(name: str, value: object) -> None:
    outcome = _outcome(tokens.gcp_identity(tokens.gcp_engine(**{name: value})))
    assert isinstance(outcome, AttestationError | InstanceIdentity)


def test_refusals_repeat_little_of_what_was_sent() -> None:
    secret = "x" * 3000
    for evidence in (
        as_evidence(secret),
        tokens.gcp_identity(tokens.gcp_claims(aud=secret)),
        tokens.gcp_identity(tokens.gcp_claims(iss=secret)),
        tokens.gcp_identity(tokens.gcp_engine(zone=secret)),
        as_evidence(tokens.signed(tokens.header(tokens.google(), alg=secret), tokens.gcp_claims(), tokens.google())),
    ):
        outcome = _outcome(evidence)
        assert isinstance(outcome, AttestationError)
        assert len(outcome.detail) < 200


# What Google signed


def test_real_tokens_authenticate_at_their_own_time_and_are_refused_today(samples: Path) -> None:
    found = sorted(samples.glob("gcp-*.json"))
    assert found
    for path in found:
        sample = json.loads(path.read_bytes())
        expected = json.loads(sample["document"])
        trust = trusting(gcp_keys={"samples": key_set([sample["jwk"]])}, google=False)
        issued = expected["claims"]["iat"]
        claims = GCP.authenticate(as_evidence(sample["signature"]), trust, issued)
        assert claims.document == expected["claims"]
        assert claims.key_id == expected["header"]["kid"]
        engine, identity = expected["claims"]["google"]["compute_engine"], GCP.identify(claims)
        assert identity.id == f"gcp:{engine['project_number']}:{engine['instance_id']}"
        assert identity.facts.items() >= {
            ("project", engine["project_id"]),
            ("zone", engine["zone"]),
            ("instance_name", engine["instance_name"]),
            ("service_account", expected["claims"]["email"]),
        }
        with pytest.raises(AttestationError) as stale:
            judged(GCP, claims, BINDING, ISSUED_AT)
        assert stale.value.step is Step.FRESHNESS
        with pytest.raises(AttestationError) as unbound:
            judged(GCP, claims, BINDING, issued)
        assert unbound.value.step is Step.BINDING


def test_a_forged_token_has_the_members_that_googles_have(samples: Path) -> None:
    real = json.loads(json.loads((samples / "gcp-jwt-2019-04-kops-admin.json").read_bytes())["document"])
    engine = real["claims"]["google"]["compute_engine"]
    instance = gcp.Instance(
        project=engine["project_id"],
        project_number=engine["project_number"],
        zone=engine["zone"],
        instance_name=engine["instance_name"],
        instance_id=engine["instance_id"],
        service_account=real["claims"]["email"],
        subject=real["claims"]["sub"],
        created=engine["instance_creation_timestamp"],
    )
    assert instance.claims(real["claims"]["aud"], real["claims"]["iat"]) == real["claims"]
    assert jwt.get_unverified_header(TokenKey.generate().sign({})).keys() == real["header"].keys()
