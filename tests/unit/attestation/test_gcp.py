from __future__ import annotations

import base64
import json

import forge_tokens as tokens
import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from forge_tokens import BINDING, ISSUED_AT
from gcp_evidence import GCP, as_evidence, authenticate, judge, refusal, token_segments
from trusting import judged, trusting

from acme_iid.attestation.identity import Evidence, InstanceIdentity
from acme_iid.binding import Binding, binding
from acme_iid.errors import AttestationError, Step
from acme_iid.protocol.identifiers import Identifier
from acme_iid.simulator.tokens import key_set


def _unjudged(evidence: Evidence, bound: Binding = BINDING, now: int = ISSUED_AT) -> AttestationError:
    claims = authenticate(evidence)
    with pytest.raises(AttestationError) as refused:
        judged(GCP, claims, bound, now)
    return refused.value


def test_a_token_proves_the_instance_and_its_facts() -> None:
    claims = authenticate(tokens.gcp_identity())
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
    identity = judge(tokens.gcp_identity(tokens.gcp_claims(tokens.vm(zone=zone))))
    assert identity.facts["region"] == region
    assert identity.names[0].value == f"instance-1.{zone}.c.my-project.internal"


def test_a_project_of_a_domain_has_its_parts_the_other_way_round_in_names() -> None:
    identity = judge(tokens.gcp_identity(tokens.gcp_claims(tokens.vm(project="example.com:proj"))))
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
    identity = judge(tokens.gcp_identity(tokens.gcp_claims(tokens.vm(**facts))))
    assert len(identity.names) == len(names)
    assert identity.facts["instance_name"] == facts["instance_name"]


@pytest.mark.parametrize("verified", [False, None, "true", 1, ...])
def test_a_service_account_that_google_did_not_verify_is_no_fact(verified: object) -> None:
    identity = judge(tokens.gcp_identity(tokens.gcp_claims(email_verified=verified)))
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
    claims = authenticate(tokens.gcp_identity())
    assert GCP.identify(claims) == judged(GCP, claims, BINDING, ISSUED_AT)
    assert GCP.identify(authenticate(tokens.gcp_identity(tokens.gcp_claims(aud="x", iat=1, exp=2)))).times["exp"] == 2


# Without compute_engine, and from others than Google


@pytest.mark.parametrize("google", [..., None, {}, [], {"compute_engine": None}, {"compute_engine": []}, "vm"])
def test_a_token_without_compute_engine_says_nothing_of_a_vm(google: object) -> None:
    error = refusal(tokens.gcp_identity(tokens.gcp_claims(google=google)))
    assert error.step is Step.DECODE
    assert "google.compute_engine" in error.detail


@pytest.mark.parametrize("member", sorted(tokens.gcp_claims()["google"]["compute_engine"]))
@pytest.mark.parametrize("value", [..., None, True, [], {}, 1.5])
def test_a_compute_engine_claim_that_is_incomplete_is_refused_by_name(member: str, value: object) -> None:
    error = refusal(tokens.gcp_identity(tokens.gcp_engine(**{member: value})))
    assert error.step is Step.DECODE
    assert member in error.detail


def test_a_service_accounts_token_with_a_made_up_instance_is_refused() -> None:
    """CVE-2020-16251: Vault took the keys of the service account that the token named."""
    account = "intruder@my-project.iam.gserviceaccount.com"
    theirs = tokens.stranger()
    for issuer in (account, "https://accounts.google.com"):
        error = refusal(tokens.gcp_identity(tokens.gcp_claims(iss=issuer, sub=account), theirs))
        assert error.step is Step.SIGNATURE
    # Nor does it help to call the key by the name of Google's.
    header = tokens.header(theirs, kid=tokens.google().kid)
    assert refusal(as_evidence(tokens.signed(header, tokens.gcp_claims(), theirs))).step is Step.SIGNATURE


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
    assert refusal(tokens.gcp_identity(tokens.gcp_claims(iss=issuer))).step is Step.SIGNATURE


@pytest.mark.parametrize("name", ["aud", "exp", "iat", "sub"])
def test_a_token_without_a_claim_that_each_has_is_refused_by_name(name: str) -> None:
    error = refusal(tokens.gcp_identity(tokens.gcp_claims(**{name: ...})))
    assert error.step is Step.DECODE
    assert f"'{name}'" in error.detail


# The signature


def test_a_token_with_one_byte_changed_is_refused() -> None:
    header, payload, signature = tokens.gcp_identity().fields["evidence"].split(".")
    content = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    changed = tokens.segment(content.replace(b"instance-1", b"instance-2"))
    assert refusal(as_evidence(f"{header}.{changed}.{signature}")).step is Step.SIGNATURE


def test_an_unsigned_token_is_refused() -> None:
    none = tokens.segment(json.dumps(tokens.header(tokens.google(), alg="none")).encode())
    assert refusal(as_evidence(f"{none}.{token_segments()[1]}.")).step is Step.SIGNATURE
    for algorithm in ("none", "None", "NONE", "", None, 1, ["RS256"]):
        header = tokens.header(tokens.google(), alg=algorithm)
        assert refusal(as_evidence(tokens.signed(header, tokens.gcp_claims(), tokens.google()))).step is Step.SIGNATURE


def test_the_public_key_is_not_taken_for_a_shared_secret() -> None:
    public = tokens.google().key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    header, claims = tokens.header(tokens.google(), alg="HS256"), tokens.gcp_claims()
    signing_input = ".".join(tokens.segment(json.dumps(part).encode()) for part in (header, claims))
    # PyJWT itself refuses to use such a key as a secret; whoever attacks does not.
    algorithm = jwt.get_algorithm_by_name("HS256")
    signature = tokens.segment(algorithm.sign(signing_input.encode(), public))
    assert refusal(as_evidence(f"{signing_input}.{signature}")).step is Step.SIGNATURE


@pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS256", "ES256"])
def test_an_algorithm_that_google_does_not_use_is_refused(algorithm: str) -> None:
    if algorithm.startswith("ES"):
        header = tokens.header(tokens.google(), alg=algorithm)
        text = tokens.signed(header, tokens.gcp_claims(), tokens.google())
    else:
        key = tokens.google()
        text = jwt.encode(tokens.gcp_claims(), key.key, algorithm, {"kid": key.kid})
    assert refusal(as_evidence(text)).step is Step.SIGNATURE


def test_a_key_that_the_token_brings_along_vouches_for_nothing() -> None:
    theirs = tokens.stranger()
    for extra in (
        {"jwk": theirs.jwk},
        {"jku": "http://127.0.0.1:1/keys"},
        {"x5u": "http://127.0.0.1:1/chain"},
        {"x5c": ["AAAA"]},
    ):
        header = tokens.header(theirs, **extra)
        assert refusal(as_evidence(tokens.signed(header, tokens.gcp_claims(), theirs))).step is Step.SIGNATURE
        genuine = tokens.header(tokens.google(), **extra)
        assert judge(as_evidence(tokens.signed(genuine, tokens.gcp_claims(), tokens.google()))).owner == "123456789012"


def test_an_operators_keys_are_believed_for_its_provisioners_only() -> None:
    assert authenticate(tokens.gcp_identity(), tokens.trust("mine")).scope == frozenset({"mine"})
    same = tokens.key_set(tokens.google())
    both = trusting(gcp_keys={"one": same, "two": same}, google=False)
    assert authenticate(tokens.gcp_identity(), both).scope == frozenset({"one", "two"})


def test_two_sets_may_call_different_keys_by_one_name() -> None:
    google, theirs = tokens.google(), tokens.stranger()
    impostor = key_set([tokens.renamed(theirs, google.kid)])
    trust = trusting(gcp_keys={"one": impostor, "two": tokens.key_set(google)}, google=False)
    assert authenticate(tokens.gcp_identity(), trust).scope == frozenset({"two"})
    header = tokens.header(theirs, kid=google.kid)
    forged = as_evidence(tokens.signed(header, tokens.gcp_claims(), theirs))
    assert authenticate(forged, trust).scope == frozenset({"one"})


def test_a_ca_without_googles_keys_says_so() -> None:
    assert "no key set of Google" in refusal(tokens.gcp_identity(), trusting(google=False)).detail


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
    assert judge(evidence, now=ISSUED_AT + late).started_at == 1


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
        assert refusal(tokens.gcp_identity(claims)).step is Step.DECODE
    else:
        assert _unjudged(tokens.gcp_identity(claims)).step is Step.BINDING
