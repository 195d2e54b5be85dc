from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import forge
import forge_tokens as tokens
import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from forge_tokens import BINDING, ISSUED_AT
from hypothesis import example, given, settings
from hypothesis import strategies as st
from trusting import judged, trusting

from acme_iid.attestation.identity import Claims, Evidence, InstanceIdentity
from acme_iid.attestation.registry import VERIFIERS
from acme_iid.attestation.trust import TrustStore
from acme_iid.binding import Binding, binding
from acme_iid.errors import AttestationError, MalformedEvidenceError, Step
from acme_iid.protocol.identifiers import Identifier
from acme_iid.simulator import gcp
from acme_iid.simulator.tokens import TokenKey, key_set

GCP = VERIFIERS["gcp-identity"]


def _authenticate(evidence: Evidence, trust: TrustStore | None = None) -> Claims:
    return GCP.authenticate(evidence, trust or tokens.trust(), ISSUED_AT)


def _judge(evidence: Evidence, bound: Binding = BINDING, now: int = ISSUED_AT) -> InstanceIdentity:
    return judged(GCP, _authenticate(evidence), bound, now)


def _refused(evidence: Evidence, trust: TrustStore | None = None) -> AttestationError:
    with pytest.raises(AttestationError) as refused:
        _authenticate(evidence, trust)
    return refused.value


def _unjudged(evidence: Evidence, bound: Binding = BINDING, now: int = ISSUED_AT) -> AttestationError:
    claims = _authenticate(evidence)
    with pytest.raises(AttestationError) as refused:
        judged(GCP, claims, bound, now)
    return refused.value


def _text(text: str) -> Evidence:
    return Evidence("gcp-identity", {"evidence": text})


def test_a_token_proves_the_instance_and_its_facts() -> None:
    claims = _authenticate(tokens.gcp_identity())
    assert claims.document == tokens.gcp_claims()
    assert json.loads(claims.content) == claims.document
    assert judged(GCP, claims, BINDING, ISSUED_AT) == InstanceIdentity(
        cloud="gcp",
        id="gcp:123456789012:3015378661047007286",
        owner="123456789012",
        instance_id="3015378661047007286",
        credential_id="106652250211606546223",
        format="gcp-identity",
        key_id=tokens.google().kid,
        binding="audience",
        scope=frozenset({"test"}),
        facts={
            "project": "my-project",
            "project_number": "123456789012",
            "zone": "us-central1-a",
            "region": "us-central1",
            "instance_id": "3015378661047007286",
            "instance_name": "instance-1",
            "subject": "106652250211606546223",
            "service_account": "123456789012-compute@developer.gserviceaccount.com",
        },
        names=(
            Identifier("dns", "instance-1.us-central1-a.c.my-project.internal"),
            Identifier("dns", "instance-1.c.my-project.internal"),
        ),
        started_at=ISSUED_AT - 30,
        times={"iat": ISSUED_AT, "exp": ISSUED_AT + 3600, "instance_creation_timestamp": ISSUED_AT - 30},
        dated_at=ISSUED_AT,
        believed_by=claims.believed_by,
    )


@pytest.mark.parametrize(
    ("zone", "region"),
    [
        ("us-central1-a", "us-central1"),
        ("northamerica-northeast2-c", "northamerica-northeast2"),
        ("europe-west12-b", "europe-west12"),
        ("us-central1-ai1a", "us-central1"),
        ("u-france-east1-a", "u-france-east1"),
    ],
)
def test_the_region_follows_from_the_zone(zone: str, region: str) -> None:
    identity = _judge(tokens.gcp_identity(tokens.gcp_claims(tokens.vm(zone=zone))))
    assert identity.facts["region"] == region
    assert identity.names[0].value == f"instance-1.{zone}.c.my-project.internal"


def test_a_project_of_a_domain_has_its_parts_the_other_way_round_in_names() -> None:
    identity = _judge(tokens.gcp_identity(tokens.gcp_claims(tokens.vm(project="example.com:proj"))))
    assert identity.facts["project"] == "example.com:proj"
    assert [name.value for name in identity.names] == [
        "instance-1.us-central1-a.c.proj.example.com.internal",
        "instance-1.c.proj.example.com.internal",
    ]


@pytest.mark.parametrize(
    ("facts", "names"),
    [
        ({"instance_name": "ab--cd"}, []),
        ({"instance_name": "a" * 63, "project": ".".join(["d" * 53] * 2) + ".com:" + "p" * 62}, ["global"]),
        ({"instance_name": "a" * 63, "project": ".".join(["d" * 60] * 3) + ".com:" + "p" * 62}, []),
    ],
)
def test_names_that_no_certificate_can_hold_are_left_out(facts: dict[str, str], names: list[str]) -> None:
    identity = _judge(tokens.gcp_identity(tokens.gcp_claims(tokens.vm(**facts))))
    assert len(identity.names) == len(names)
    assert identity.facts["instance_name"] == facts["instance_name"]


@pytest.mark.parametrize("verified", [False, None, "true", 1, ...])
def test_a_service_account_that_google_did_not_verify_is_no_fact(verified: object) -> None:
    identity = _judge(tokens.gcp_identity(tokens.gcp_claims(email_verified=verified)))
    assert "service_account" not in identity.facts


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("project_id", "My-Project"),
        ("project_id", "proj.example"),
        ("project_id", "proj\n"),
        ("project_id", "a:b"),
        ("project_id", ""),
        ("project_number", 0),
        ("project_number", -1),
        ("project_number", 1 << 63),
        ("zone", "us-central1"),
        ("zone", "us-central1-a.c.other"),
        ("zone", "projects/1/zones/us-central1-a"),
        ("instance_id", "instance-1"),
        ("instance_id", "007"),
        ("instance_id", "\u0661"),
        ("instance_id", "3:4"),
        ("instance_name", "db.internal"),
        ("instance_name", "-a"),
        ("instance_name", "*"),
        ("instance_name", "a" * 64),
        ("instance_creation_timestamp", -1),
    ],
)
def test_a_signed_fact_that_is_odd_is_refused_by_name(member: str, value: object) -> None:
    error = _unjudged(tokens.gcp_identity(tokens.gcp_engine(**{member: value})))
    assert error.step is Step.DECODE
    assert member in error.detail


@pytest.mark.parametrize(
    ("member", "value"),
    [("sub", "me"), ("sub", ""), ("email", "root"), ("email", "a@b\n"), ("email", None), ("iat", "1"), ("exp", True)],
)
def test_a_claim_that_is_odd_is_refused_by_name(member: str, value: object) -> None:
    error = _unjudged(tokens.gcp_identity(tokens.gcp_claims(**{member: value})))
    assert error.step is Step.DECODE
    assert member in error.detail


def test_a_stale_or_unbound_token_can_be_identified_without_admitting_it() -> None:
    claims = _authenticate(tokens.gcp_identity())
    assert GCP.identify(claims) == judged(GCP, claims, BINDING, ISSUED_AT)
    assert GCP.identify(_authenticate(tokens.gcp_identity(tokens.gcp_claims(aud="x", iat=1, exp=2)))).times["exp"] == 2


# Without compute_engine, and from others than Google


@pytest.mark.parametrize("google", [..., None, {}, [], {"compute_engine": None}, {"compute_engine": []}, "vm"])
def test_a_token_without_compute_engine_says_nothing_of_a_vm(google: object) -> None:
    error = _refused(tokens.gcp_identity(tokens.gcp_claims(google=google)))
    assert error.step is Step.DECODE
    assert "google.compute_engine" in error.detail


@pytest.mark.parametrize("member", sorted(tokens.gcp_claims()["google"]["compute_engine"]))
@pytest.mark.parametrize("value", [..., None, True, [], {}, 1.5])
def test_a_compute_engine_claim_that_is_incomplete_is_refused_by_name(member: str, value: object) -> None:
    error = _refused(tokens.gcp_identity(tokens.gcp_engine(**{member: value})))
    assert error.step is Step.DECODE
    assert member in error.detail


def test_a_service_accounts_token_with_a_made_up_instance_is_refused() -> None:
    """CVE-2020-16251: Vault took the keys of the service account that the token named."""
    account = "intruder@my-project.iam.gserviceaccount.com"
    theirs = tokens.stranger()
    for issuer in (account, "https://accounts.google.com"):
        error = _refused(tokens.gcp_identity(tokens.gcp_claims(iss=issuer, sub=account), theirs))
        assert error.step is Step.SIGNATURE
    # Nor does it help to call the key by the name of Google's.
    header = tokens.header(theirs, kid=tokens.google().kid)
    assert _refused(_text(tokens.signed(header, tokens.gcp_claims(), theirs))).step is Step.SIGNATURE


@pytest.mark.parametrize(
    "issuer",
    [
        "accounts.google.com",
        "https://accounts.google.com/",
        "https://accounts.google.com.evil.example",
        "",
        ...,
        None,
        1,
        ["https://accounts.google.com"],
    ],
)
def test_another_issuer_is_refused_even_under_googles_key(issuer: object) -> None:
    assert _refused(tokens.gcp_identity(tokens.gcp_claims(iss=issuer))).step is Step.SIGNATURE


@pytest.mark.parametrize("name", ["aud", "exp", "iat", "sub"])
def test_a_token_without_a_claim_that_each_has_is_refused_by_name(name: str) -> None:
    error = _refused(tokens.gcp_identity(tokens.gcp_claims(**{name: ...})))
    assert error.step is Step.DECODE
    assert f"'{name}'" in error.detail


# The signature


def test_a_token_with_one_byte_changed_is_refused() -> None:
    header, payload, signature = tokens.gcp_identity().fields["evidence"].split(".")
    content = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    changed = tokens.segment(content.replace(b"instance-1", b"instance-2"))
    assert _refused(_text(f"{header}.{changed}.{signature}")).step is Step.SIGNATURE


def test_an_unsigned_token_is_refused() -> None:
    none = tokens.segment(json.dumps(tokens.header(tokens.google(), alg="none")).encode())
    assert _refused(_text(f"{none}.{_segments()[1]}.")).step is Step.SIGNATURE
    for algorithm in ("none", "None", "NONE", "", None, 1, ["RS256"]):
        header = tokens.header(tokens.google(), alg=algorithm)
        assert _refused(_text(tokens.signed(header, tokens.gcp_claims(), tokens.google()))).step is Step.SIGNATURE


def test_the_public_key_is_not_taken_for_a_shared_secret() -> None:
    public = tokens.google().key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    header, claims = tokens.header(tokens.google(), alg="HS256"), tokens.gcp_claims()
    signing_input = ".".join(tokens.segment(json.dumps(part).encode()) for part in (header, claims))
    # PyJWT itself refuses to use such a key as a secret; whoever attacks does not.
    algorithm = jwt.get_algorithm_by_name("HS256")
    signature = tokens.segment(algorithm.sign(signing_input.encode(), public))
    assert _refused(_text(f"{signing_input}.{signature}")).step is Step.SIGNATURE


@pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS256", "ES256"])
def test_an_algorithm_that_google_does_not_use_is_refused(algorithm: str) -> None:
    if algorithm.startswith("ES"):
        header = tokens.header(tokens.google(), alg=algorithm)
        text = tokens.signed(header, tokens.gcp_claims(), tokens.google())
    else:
        key = tokens.google()
        text = jwt.encode(tokens.gcp_claims(), key.key, algorithm, {"kid": key.kid})
    assert _refused(_text(text)).step is Step.SIGNATURE


def test_a_key_that_the_token_brings_along_vouches_for_nothing() -> None:
    theirs = tokens.stranger()
    for extra in (
        {"jwk": theirs.jwk},
        {"jku": "http://127.0.0.1:1/keys"},
        {"x5u": "http://127.0.0.1:1/chain"},
        {"x5c": ["AAAA"]},
    ):
        header = tokens.header(theirs, **extra)
        assert _refused(_text(tokens.signed(header, tokens.gcp_claims(), theirs))).step is Step.SIGNATURE
        genuine = tokens.header(tokens.google(), **extra)
        assert _judge(_text(tokens.signed(genuine, tokens.gcp_claims(), tokens.google()))).owner == "123456789012"


def test_an_operators_keys_are_believed_for_its_provisioners_only() -> None:
    assert _authenticate(tokens.gcp_identity(), tokens.trust("mine")).scope == frozenset({"mine"})
    same = tokens.key_set(tokens.google())
    both = trusting(gcp_keys={"one": same, "two": same}, google=False)
    assert _authenticate(tokens.gcp_identity(), both).scope == frozenset({"one", "two"})


def test_two_sets_may_call_different_keys_by_one_name() -> None:
    google, theirs = tokens.google(), tokens.stranger()
    impostor = key_set([tokens.renamed(theirs, google.kid)])
    trust = trusting(gcp_keys={"one": impostor, "two": tokens.key_set(google)}, google=False)
    assert _authenticate(tokens.gcp_identity(), trust).scope == frozenset({"two"})
    header = tokens.header(theirs, kid=google.kid)
    forged = _text(tokens.signed(header, tokens.gcp_claims(), theirs))
    assert _authenticate(forged, trust).scope == frozenset({"one"})


def test_a_ca_without_googles_keys_says_so() -> None:
    assert "no key set of Google" in _refused(tokens.gcp_identity(), trusting(google=False)).detail


# Times


@pytest.mark.parametrize(
    ("claims", "late", "words"),
    [
        ({}, 361, "issued 361 seconds ago"),
        ({}, 86400, "issued 86400 seconds ago"),
        ({}, -61, "in the future"),
        ({"nbf": ISSUED_AT + 61}, 0, "in the future"),
        ({"exp": ISSUED_AT + 30}, 90, "expired 60 seconds ago"),
        ({"exp": ISSUED_AT - 60}, 0, "expired"),
        ({"exp": 0}, 0, "expired"),
    ],
)
def test_a_token_that_is_too_old_or_from_the_future_is_refused(claims: dict[str, int], late: int, words: str) -> None:
    error = _unjudged(tokens.gcp_identity(tokens.gcp_claims(**claims)), now=ISSUED_AT + late)
    assert error.step is Step.FRESHNESS
    assert words in error.detail


@pytest.mark.parametrize("late", [-60, 0, 300, 360])
def test_clocks_may_be_a_minute_apart(late: int) -> None:
    evidence = tokens.gcp_identity(tokens.gcp_engine(instance_creation_timestamp=1) | {"nbf": ISSUED_AT})
    assert _judge(evidence, now=ISSUED_AT + late).started_at == 1


def test_an_instance_made_in_the_future_is_refused() -> None:
    error = _unjudged(tokens.gcp_identity(tokens.gcp_claims(tokens.vm(created=ISSUED_AT + 61))))
    assert error.step is Step.FRESHNESS


# The audience


@pytest.mark.parametrize(
    "bound",
    [
        binding("token-of-another.thumbprint-of-the-key"),
        binding("token-of-the-challenge.another-key"),
        Binding(bytes(32)),
    ],
    ids=["another challenge", "another key", "nothing"],
)
def test_a_token_for_another_challenge_or_key_is_refused(bound: Binding) -> None:
    assert _unjudged(tokens.gcp_identity(), bound).step is Step.BINDING


@pytest.mark.parametrize("audience", ["https://ca.local", "acme-iid-01", "acme-iid-01:", "", "spire-gcp-node-attestor"])
def test_a_constant_audience_that_any_receiver_can_replay_is_refused(audience: str) -> None:
    """SPIRE's gcp_iit: a token for any server was good for all."""
    assert _unjudged(tokens.gcp_identity(tokens.gcp_claims(aud=audience))).step is Step.BINDING


@pytest.mark.parametrize(
    "audience",
    [
        [BINDING.audience],
        [BINDING.audience, "https://other.example"],
        [],
        None,
        {"a": BINDING.audience},
        BINDING.audience.upper(),
        BINDING.audience + "=",
        BINDING.audience + "\n",
        BINDING.audience[:-1],
    ],
)
def test_an_audience_that_is_not_exactly_the_challenges_is_refused(audience: object) -> None:
    claims = tokens.gcp_claims(aud=audience)
    if audience is None:  # PyJWT takes a null claim for a missing one
        assert _refused(tokens.gcp_identity(claims)).step is Step.DECODE
    else:
        assert _unjudged(tokens.gcp_identity(claims)).step is Step.BINDING


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
    error = _refused(Evidence("gcp-identity", fields))
    assert isinstance(error, MalformedEvidenceError)
    assert words in error.detail


def _segments() -> list[str]:
    return tokens.gcp_identity().fields["evidence"].split(".")


def _not_compact() -> dict[str, str]:
    header, payload, signature = _segments()
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
    assert isinstance(_refused(tokens.gcp_identity(claims)), MalformedEvidenceError)
    assert _judge(tokens.gcp_identity(tokens.gcp_claims(padding="x" * 10_000))).cloud == "gcp"


@pytest.mark.parametrize("fault", _not_compact())
def test_what_is_not_three_segments_of_base64url_is_malformed(fault: str) -> None:
    assert isinstance(_refused(_text(_not_compact()[fault])), MalformedEvidenceError)


def test_a_token_whose_signature_was_left_out_is_not_signed() -> None:
    assert _refused(_text(".".join([*_segments()[:2], ""]))).step is Step.SIGNATURE


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
    error = _refused(_text(tokens.signed(tokens.header(tokens.google()), payload, tokens.google())))
    assert error.step is Step.DECODE


@pytest.mark.parametrize("member", ["aud", "iss", "instance_id", "project_number", "google"])
def test_duplicate_json_keys_read_differently_by_two_parsers_are_refused(member: str) -> None:
    name = json.dumps(member).encode()
    payload = GOOD.replace(name + b":", name + b': "x", ' + name + b":", 1)
    assert payload != GOOD
    error = _refused(_text(tokens.signed(tokens.header(tokens.google()), payload, tokens.google())))
    assert error.step is Step.DECODE
    assert "twice" in error.detail


def test_a_duplicate_key_in_the_header_is_refused() -> None:
    header = json.dumps(tokens.header(tokens.google())).encode()
    twice = header.replace(b'"alg":', b'"alg": "none", "alg":', 1)
    error = _refused(_text(tokens.signed(twice, tokens.gcp_claims(), tokens.google())))
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
    assert _refused(_text(tokens.signed(header, tokens.gcp_claims(), tokens.google()))).step is Step.DECODE


@pytest.mark.parametrize("kid", ["0" * 40, "../../etc/passwd", "' OR 1=1 --", "http://127.0.0.1:1/"])
def test_a_key_id_that_is_unknown_chooses_nothing(kid: str) -> None:
    header = tokens.header(tokens.google(), kid=kid)
    assert _refused(_text(tokens.signed(header, tokens.gcp_claims(), tokens.google()))).step is Step.SIGNATURE


def _outcome(evidence: Evidence) -> InstanceIdentity | AttestationError:
    try:
        return _judge(evidence)
    except AttestationError as error:
        return error


@settings(deadline=None)
@given(
    st.text(max_size=200)
    | st.lists(st.binary(max_size=40), max_size=5).map(lambda parts: ".".join(map(tokens.segment, parts)))
)
@example("\ud800.a.b")
def test_no_text_crashes_the_verifier(text: str) -> None:
    assert isinstance(_outcome(_text(text)), AttestationError)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_change_to_a_token_is_believed(data: st.DataObject) -> None:
    text = ".".join(_segments())
    changed = forge.mutated(text.encode(), data.draw).decode("latin-1")
    if changed != text:
        assert isinstance(_outcome(_text(changed)), AttestationError)


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
        _text(secret),
        tokens.gcp_identity(tokens.gcp_claims(aud=secret)),
        tokens.gcp_identity(tokens.gcp_claims(iss=secret)),
        tokens.gcp_identity(tokens.gcp_engine(zone=secret)),
        _text(tokens.signed(tokens.header(tokens.google(), alg=secret), tokens.gcp_claims(), tokens.google())),
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
        claims = GCP.authenticate(_text(sample["signature"]), trust, issued)
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
