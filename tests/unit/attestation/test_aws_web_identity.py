from __future__ import annotations

import json

import forge
import forge_tokens as tokens
import pytest
from forge_tokens import AWS_NAMESPACE, BINDING, ISSUED_AT
from hypothesis import given, settings
from hypothesis import strategies as st
from trusting import judged, trusting

from acme_iid.attestation.aws_trust import AwsTrust, WebIdentityIssuer
from acme_iid.attestation.identity import Claims, Evidence, InstanceIdentity
from acme_iid.attestation.registry import VERIFIERS
from acme_iid.attestation.trust import GivenKeys, TokenIssuer, TrustStore
from acme_iid.binding import Binding, binding
from acme_iid.errors import AttestationError, MalformedEvidenceError, Step
from acme_iid.protocol.identifiers import Identifier
from acme_iid.simulator.sts import Issuer

AWS = VERIFIERS["aws-web-identity"]


def _authenticate(evidence: Evidence, trust: TrustStore | None = None) -> Claims:
    return AWS.authenticate(evidence, trust or tokens.trust(), ISSUED_AT)


def _judge(evidence: Evidence, bound: Binding = BINDING, now: int = ISSUED_AT) -> InstanceIdentity:
    return judged(AWS, _authenticate(evidence), bound, now)


def _refused(evidence: Evidence, trust: TrustStore | None = None) -> AttestationError:
    with pytest.raises(AttestationError) as refused:
        _authenticate(evidence, trust)
    return refused.value


def _unjudged(evidence: Evidence, bound: Binding = BINDING, now: int = ISSUED_AT) -> AttestationError:
    claims = _authenticate(evidence)
    with pytest.raises(AttestationError) as refused:
        judged(AWS, claims, bound, now)
    return refused.value


def _with(**session: object) -> Evidence:
    return tokens.aws_web_identity(tokens.aws_claims(None, session))


@pytest.mark.parametrize("algorithm", ["RS256", "ES384"])
def test_a_token_proves_the_instance_and_its_facts(algorithm: str) -> None:
    key = {"RS256": tokens.aws_issuer().rs256, "ES384": tokens.aws_issuer().es384}[algorithm]
    claims = _authenticate(tokens.aws_web_identity(key=key))
    assert json.loads(claims.content) == claims.document
    assert judged(AWS, claims, BINDING, ISSUED_AT) == InstanceIdentity(
        cloud="aws",
        id="aws:aws:123456789042:us-west-2:i-0123456789abcdef0",
        owner="123456789042",
        instance_id="i-0123456789abcdef0",
        credential_id="123456789042",
        format="aws-web-identity",
        key_id=key.kid,
        binding="audience",
        scope=frozenset({"test"}),
        facts={
            "account": "123456789042",
            "partition": "aws",
            "region": "us-west-2",
            "instance_id": "i-0123456789abcdef0",
            "principal": "arn:aws:iam::123456789042:role/my-role",
            "private_ip": "172.31.65.180",
            "private_name": "ip-172-31-65-180.us-west-2.compute.internal",
            "vpc": "vpc-0123456789abcdef0",
            "organization": "o-abcdefghij",
        },
        names=(
            Identifier("dns", "i-0123456789abcdef0"),
            Identifier("dns", "ip-172-31-65-180.us-west-2.compute.internal"),
            Identifier("ip", "172.31.65.180"),
        ),
        started_at=None,
        times={"iat": ISSUED_AT, "exp": ISSUED_AT + 300},
        dated_at=ISSUED_AT,
        believed_by=claims.believed_by,
    )


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-2", "cn-north-1", "us-gov-west-1", "eusc-de-east-1"])
def test_an_instance_is_the_same_one_whichever_format_proves_it(region: str) -> None:
    instance = tokens.ec2(region=region)
    document = forge.aws_rsa2048(instance.document)
    verifier = VERIFIERS["aws-rsa2048"]
    by_document = judged(verifier, verifier.authenticate(document, forge.trust(), ISSUED_AT), BINDING, ISSUED_AT)
    partition = by_document.facts["partition"]
    arn = f"arn:{partition}:ec2:{region}:{instance.account}:instance/{instance.instance_id}"
    claims = tokens.aws_claims(
        instance, {"ec2_source_instance_arn": arn}, sub=f"arn:{partition}:iam::{instance.account}:role/my-role"
    )
    by_token = _judge(tokens.aws_web_identity(claims))
    assert (by_token.id, by_token.owner) == (by_document.id, by_document.owner)
    assert (by_token.names, by_token.credential_id) == (by_document.names, by_document.credential_id)
    assert by_token.facts.items() >= {
        (n, by_document.facts[n]) for n in ("account", "partition", "region", "private_ip")
    }


def test_a_token_with_only_what_is_needed_still_names_the_instance() -> None:
    absent = ("ec2_instance_source_private_ipv4", "ec2_instance_source_vpc", "org_id", "source_region")
    identity = _judge(_with(**dict.fromkeys(absent, ...)))
    assert identity.names == (Identifier("dns", "i-0123456789abcdef0"),)
    assert not {"private_ip", "private_name", "vpc", "organization"} & set(identity.facts)


def test_a_stale_or_unbound_token_can_be_identified_without_admitting_it() -> None:
    claims = _authenticate(tokens.aws_web_identity(tokens.aws_claims(aud="x", iat=1, exp=2)))
    assert AWS.identify(claims).facts == _judge(tokens.aws_web_identity()).facts


# Whose instance


@pytest.mark.parametrize(
    "value", [..., None, "", 1, "i-0123456789abcdef0", ["arn:aws:ec2:us-west-2:123456789042:instance/i-1"]]
)
def test_without_the_instances_arn_it_proves_no_instance(value: object) -> None:
    evidence = _with(ec2_source_instance_arn=value)
    error = _refused(evidence) if value is ... else _unjudged(evidence)
    assert error.step is Step.DECODE
    assert "ec2_source_instance_arn" in error.detail


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:ec2:us-west-2:999999999999:instance/i-0123456789abcdef0",
        "arn:aws:ec2:us-west-2:123456789042:volume/i-0123456789abcdef0",
        "arn:aws:ec2:us-west-2:123456789042:instance/i-0123456789abcdef0/x",
        "arn:aws:ec2:us-west-2:123456789042:instance/i-0123456789ABCDEF0",
        "arn:aws:ec2:us-west-2:123456789042:instance/i-0123456789\n",
        "arn:aws:ec2:us-west-2:123456789042:instance/i-012345678",
        "arn:aws:s3:us-west-2:123456789042:instance/i-0123456789abcdef0",
        "arn:aws:ec2:us-east-1:123456789042:instance/i-0123456789abcdef0",
        "arn:aws:ec2:cn-north-1:123456789042:instance/i-0123456789abcdef0",
        "arn:aws-cn:ec2:us-west-2:123456789042:instance/i-0123456789abcdef0",
        "arn:aws:ec2:westeros:123456789042:instance/i-0123456789abcdef0",
        "arn:aws:ec2::123456789042:instance/i-0123456789abcdef0",
        "arn:azure:ec2:us-west-2:123456789042:instance/i-0123456789abcdef0",
    ],
)
def test_an_arn_of_another_account_region_or_kind_is_refused(arn: str) -> None:
    assert _unjudged(_with(ec2_source_instance_arn=arn)).step is Step.DECODE
    if ":us-east-1:" not in arn:  # which is refused for the other source_region alone
        assert _unjudged(_with(ec2_source_instance_arn=arn, source_region=...)).step is Step.DECODE


@pytest.mark.parametrize(
    "sub",
    [
        "arn:aws:iam::999999999999:role/my-role",
        "arn:aws-cn:iam::123456789042:role/my-role",
        "arn:aws:iam::123456789042:root",
        "arn:aws:iam::123456789042:role/my role",
        "arn:aws:ec2::123456789042:role/my-role",
        "system:serviceaccount:default:default",
        "",
    ],
)
def test_a_principal_of_another_account_or_kind_is_refused(sub: str) -> None:
    assert _unjudged(tokens.aws_web_identity(tokens.aws_claims(sub=sub))).step is Step.DECODE


@pytest.mark.parametrize("role", ["my-role", "path/to/role", "a" * 64, "with+=,.@_-"])
def test_a_role_is_named_as_iam_lets_it_be(role: str) -> None:
    sub = f"arn:aws:iam::123456789042:role/{role}"
    assert _judge(tokens.aws_web_identity(tokens.aws_claims(sub=sub))).facts["principal"] == sub


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("ec2_instance_source_private_ipv4", "fd00::1"),
        ("ec2_instance_source_private_ipv4", 2887729588),
        ("ec2_instance_source_private_ipv4", None),
        ("ec2_instance_source_vpc", "vpc"),
        ("ec2_instance_source_vpc", None),
        ("org_id", "o-x"),
        ("org_id", {}),
        ("source_region", "us-east-1"),
        ("source_region", None),
    ],
)
def test_a_signed_fact_that_is_odd_is_refused(member: str, value: object) -> None:
    assert _unjudged(_with(**{member: value})).step is Step.DECODE


def test_what_the_tokens_owner_tags_it_with_says_nothing_of_the_instance() -> None:
    """CVE-2020-16250's kin: the caller of STS shapes part of the answer, and none of it may be read as AWS's word."""
    arn = "arn:aws:ec2:us-west-2:123456789042:instance/i-0fedcba9876543210"
    tags = {
        "ec2_source_instance_arn": arn,
        "aws_account": "999999999999",
        "ec2_instance_source_private_ipv4": "10.0.0.1",
    }
    assert _judge(_with(request_tags=tags, principal_tags=tags)) == _judge(_with())
    error = _refused(_with(request_tags=tags, principal_tags=tags, ec2_source_instance_arn=...))
    assert "ec2_source_instance_arn" in error.detail
    outside = tokens.aws_claims(None, {"ec2_source_instance_arn": ...}, ec2_source_instance_arn=arn)
    assert "ec2_source_instance_arn" in _refused(tokens.aws_web_identity(outside)).detail


@pytest.mark.parametrize(
    "text",
    [
        "<GetCallerIdentityResult><Account>123456789042</Account></GetCallerIdentityResult>",
        '{"GetCallerIdentityResponse": {"GetCallerIdentityResult": {"Account": "123456789042"}}}',
    ],
)
def test_an_answer_of_sts_that_is_passed_on_is_no_token(text: str) -> None:
    """CVE-2020-16250: Vault believed attacker-shaped answers of STS."""
    assert isinstance(_refused(Evidence("aws-web-identity", {"evidence": text})), MalformedEvidenceError)


# Whose token


def _issuer(account: str = "123456789042") -> tuple[Issuer, TrustStore]:
    other = Issuer.generate()
    mine = WebIdentityIssuer.of("one", tokens.aws_issuer().url, "123456789042", tokens.aws_issuer().key_set)
    theirs = WebIdentityIssuer.of("two", other.url, account, other.key_set)
    return other, trusting(google=False, web_identity=[mine, theirs])


def test_an_issuer_that_is_not_configured_is_refused_whatever_its_name() -> None:
    other = Issuer.generate()
    for name in (
        other.url,
        "https://sts.amazonaws.com",
        tokens.aws_issuer().url + "/",
        tokens.aws_issuer().url.upper(),
    ):
        error = _refused(tokens.aws_web_identity(tokens.aws_claims(iss=name), other.es384))
        assert error.step is Step.SIGNATURE
        assert "not one of those configured here" in error.detail
    assert _refused(tokens.aws_web_identity(tokens.aws_claims(iss=...))).step is Step.SIGNATURE
    assert _refused(tokens.aws_web_identity(tokens.aws_claims(iss=["x"]))).step is Step.SIGNATURE


def test_an_attacker_shaped_sts_answer_speaks_for_no_other_account() -> None:
    """CVE-2020-16250: whoever shapes the answer of an STS, here one with an issuer of its own, names any account."""
    other, trust = _issuer("210987654321")
    claims = tokens.aws_claims(iss=other.url)
    error = _refused(tokens.aws_web_identity(claims, other.es384), trust)
    assert error.step is Step.SIGNATURE
    assert "another account" in error.detail
    own = tokens.aws_claims(tokens.ec2(account="210987654321"), iss=other.url)
    assert _authenticate(tokens.aws_web_identity(own, other.es384), trust).scope == frozenset({"two"})


def test_one_issuers_key_signs_nothing_for_another() -> None:
    other, trust = _issuer()
    error = _refused(tokens.aws_web_identity(tokens.aws_claims(), other.es384), trust)
    assert error.step is Step.SIGNATURE


def test_an_issuer_that_two_provisioners_configure_is_believed_for_both() -> None:
    issuer = tokens.aws_issuer()
    both = [WebIdentityIssuer.of(name, issuer.url, "123456789042", issuer.key_set) for name in ("one", "two")]
    trust = trusting(google=False, web_identity=both)
    assert _authenticate(tokens.aws_web_identity(), trust).scope == frozenset({"one", "two"})
    given = [
        GivenKeys(name, issuers=(TokenIssuer(issuer.url, account, issuer.key_set),))
        for name, account in (("one", "123456789042"), ("two", "123456789042"), ("three", "210987654321"))
    ]
    assert len(AwsTrust.load(given[:2]).web_identity) == 2
    with pytest.raises(ValueError, match="configured for two accounts"):
        AwsTrust.load(given)


@pytest.mark.parametrize("account", [..., None, 123456789042, "999999999999"])
def test_a_token_without_the_issuers_account_is_refused(account: object) -> None:
    assert _refused(_with(aws_account=account)).step is Step.SIGNATURE


@pytest.mark.parametrize("session", [..., None, [], "x"])
def test_a_token_without_awss_own_claim_is_refused(session: object) -> None:
    claims = tokens.aws_claims(**{AWS_NAMESPACE: session})
    assert _refused(tokens.aws_web_identity(claims)).step is Step.DECODE


def test_a_signature_under_the_other_algorithms_key_is_refused() -> None:
    issuer = tokens.aws_issuer()
    for key, other in ((issuer.rs256, issuer.es384), (issuer.es384, issuer.rs256)):
        text = tokens.signed(tokens.header(other, kid=key.kid), tokens.aws_claims(), other)
        assert _refused(Evidence("aws-web-identity", {"evidence": text})).step is Step.SIGNATURE


# When, and for whom


@pytest.mark.parametrize(
    ("claims", "late"), [({}, 361), ({"exp": ISSUED_AT + 86400}, 361), ({}, -61), ({"exp": ISSUED_AT + 60}, 120)]
)
def test_a_token_that_is_too_old_or_from_the_future_is_refused(claims: dict[str, int], late: int) -> None:
    evidence = tokens.aws_web_identity(tokens.aws_claims(**claims))
    assert _unjudged(evidence, now=ISSUED_AT + late).step is Step.FRESHNESS


@pytest.mark.parametrize(
    "bound", [binding("another.key"), binding("token-of-the-challenge.another"), Binding(bytes(32))]
)
def test_a_token_for_another_challenge_or_key_is_refused(bound: Binding) -> None:
    assert _unjudged(tokens.aws_web_identity(), bound).step is Step.BINDING


@pytest.mark.parametrize(
    "audience",
    [
        [BINDING.audience, "https://other.example"],
        ["https://other.example", BINDING.audience],
        [BINDING.audience, BINDING.audience],
        [[BINDING.audience]],
        [],
        "https://other.example",
        {BINDING.audience: 1},
    ],
)
def test_a_token_that_names_other_receivers_is_refused(audience: object) -> None:
    evidence = tokens.aws_web_identity(tokens.aws_claims(aud=audience))
    assert _unjudged(evidence).step is Step.BINDING


def test_a_list_of_the_one_audience_is_that_audience() -> None:
    identity = _judge(tokens.aws_web_identity(tokens.aws_claims(aud=[BINDING.audience])))
    assert identity.binding == "audience"


# Reading


@pytest.mark.parametrize("member", ["aud", "iss", "ec2_source_instance_arn", "aws_account", AWS_NAMESPACE])
def test_duplicate_json_keys_are_refused(member: str) -> None:
    key, good = tokens.aws_issuer().es384, json.dumps(tokens.aws_claims()).encode()
    name = json.dumps(member).encode()
    payload = good.replace(name + b":", name + b': "x", ' + name + b":", 1)
    text = tokens.signed(tokens.header(key), payload, key)
    error = _refused(Evidence("aws-web-identity", {"evidence": text}))
    assert (error.step, "twice" in error.detail) == (Step.DECODE, True)


def _outcome(evidence: Evidence) -> InstanceIdentity | AttestationError:
    try:
        return _judge(evidence)
    except AttestationError as error:
        return error


@settings(deadline=None)
@given(st.text(max_size=300))
def test_no_text_crashes_the_verifier(text: str) -> None:
    assert isinstance(_outcome(Evidence("aws-web-identity", {"evidence": text})), AttestationError)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(tokens.aws_claims()[AWS_NAMESPACE])), JSON)
def test_no_signed_fact_crashes_the_verifier(name: str, value: object) -> None:
    outcome = _outcome(_with(**{name: value}))
    if isinstance(outcome, InstanceIdentity):
        assert outcome.id == "aws:aws:123456789042:us-west-2:i-0123456789abcdef0"


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(tokens.aws_claims())), JSON)
def test_no_signed_claim_crashes_the_verifier(name: str, value: object) -> None:
    outcome = _outcome(tokens.aws_web_identity(tokens.aws_claims(**{name: value})))
    if isinstance(outcome, InstanceIdentity):
        assert outcome.id == "aws:aws:123456789042:us-west-2:i-0123456789abcdef0"
