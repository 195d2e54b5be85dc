from __future__ import annotations

import json
from dataclasses import replace

import forge
import forge_azure as fa
import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from trusting import judged, trusting

from acme_iid.attestation.azure_trust import AzureTenant, AzureTrust
from acme_iid.attestation.identity import Claims, Evidence, InstanceIdentity
from acme_iid.attestation.registry import VERIFIERS
from acme_iid.attestation.trust import TrustStore
from acme_iid.binding import Binding
from acme_iid.errors import AttestationError, MalformedEvidenceError, Step

VERIFIER = VERIFIERS["azure-managed-identity"]
ATTESTED = VERIFIERS["azure-attested"]
NOW = fa.NOW
GOOD = fa.managed_identity()
OTHER_TENANT = "99999999-86f1-41af-91ab-2d7cd011db47"
USER_IDENTITY = (
    f"/subscriptions/{fa.SUBSCRIPTION}/resourcegroups/Servers/providers/"
    "Microsoft.ManagedIdentity/userAssignedIdentities/shared"
)


def _authenticate(evidence: Evidence, trust: TrustStore | None = None) -> Claims:
    return VERIFIER.authenticate(evidence, trust or fa.trust(), NOW)


def _judge(evidence: Evidence, now: int = NOW, binding: Binding = fa.BINDING) -> InstanceIdentity:
    return judged(VERIFIER, _authenticate(evidence), binding, now)


def _refused(evidence: Evidence, trust: TrustStore | None = None) -> AttestationError:
    with pytest.raises(AttestationError) as refused:
        _authenticate(evidence, trust)
    return refused.value


def _judged_badly(evidence: Evidence, now: int = NOW, binding: Binding = fa.BINDING) -> AttestationError:
    claims = _authenticate(evidence)
    with pytest.raises(AttestationError) as refused:
        judged(VERIFIER, claims, binding, now)
    return refused.value


def _machine(*, subscription: str = fa.SUBSCRIPTION, group: str = "Servers", name: str = "vm-1") -> str:
    return f"/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Compute/virtualMachines/{name}"


def test_a_token_adds_tenant_resource_group_and_name_to_the_attested_vm() -> None:
    plain = judged(ATTESTED, ATTESTED.authenticate(fa.attested(), fa.trust(), NOW), fa.BINDING, NOW)
    identity = _judge(fa.managed_identity())
    assert identity == replace(
        plain,
        format="azure-managed-identity",
        credential_id=fa.TENANT,
        facts={
            **plain.facts,
            "tenant": fa.TENANT,
            "object_id": "11111111-2222-3333-4444-555555555555",
            "resource_group": "servers",
            "resource_id": _machine().lower(),
            "vm_name": "vm-1",
        },
        times={**plain.times, "iat": NOW - 330, "exp": NOW - 30 + 86400},
        dated_at=NOW - 330,
        believed_by=identity.believed_by,
    )
    assert [key.place for group in identity.believed_by for key in group] == ["azure", fa.TENANT]


def test_a_token_of_version_2_is_as_good() -> None:
    issuer = f"https://login.microsoftonline.com/{fa.TENANT}/v2.0"
    assert _judge(fa.managed_identity(iss=issuer, ver="2.0")).facts["tenant"] == fa.TENANT


def test_an_instance_of_a_scale_set_has_the_name_that_azure_gives_it() -> None:
    mirid = fa.vm(scale_set="Fleet", name="7").resource_id
    identity = _judge(fa.managed_identity(xms_mirid=mirid))
    assert identity.facts["vm_name"] == "fleet_7"
    assert identity.facts["scale_set"] == "fleet"
    assert identity.facts["resource_id"].endswith("/virtualmachinescalesets/fleet/virtualmachines/7")


SCALE_SET = (
    f"/subscriptions/{fa.SUBSCRIPTION}/resourcegroups/Servers/providers/Microsoft.Compute/virtualMachineScaleSets/Nodes"
)


def _plain_facts() -> dict[str, str]:
    """What the attested document proves, and the token's tenant and principal."""
    plain = judged(ATTESTED, ATTESTED.authenticate(fa.attested(), fa.trust(), NOW), fa.BINDING, NOW)
    return {**plain.facts, "tenant": fa.TENANT, "object_id": "11111111-2222-3333-4444-555555555555"}


def test_a_token_for_an_application_of_ones_own_says_tenant_and_principal() -> None:
    identity = _judge(fa.managed_identity(xms_mirid=...))
    assert identity.facts == _plain_facts()
    assert identity.unbound
    assert InstanceIdentity.from_json(identity.to_json()) == identity
    assert not _judge(GOOD).unbound


@pytest.mark.parametrize(
    "claims",
    [
        {"xms_mirid": SCALE_SET, "xms_az_rid": SCALE_SET},
        {"xms_mirid": SCALE_SET},
        {"xms_mirid": ..., "xms_az_rid": SCALE_SET.upper()},
        {"xms_mirid": USER_IDENTITY, "xms_az_rid": SCALE_SET},
    ],
)
def test_a_token_of_a_scale_set_names_no_vm(claims: dict[str, object]) -> None:
    identity = _judge(fa.managed_identity(claims))
    assert identity.facts == _plain_facts()
    assert not identity.unbound


def test_an_instance_and_its_scale_set_are_no_two_resources() -> None:
    instance = f"{SCALE_SET}/virtualMachines/3"
    for claims in ({"xms_mirid": SCALE_SET, "xms_az_rid": instance}, {"xms_mirid": instance, "xms_az_rid": SCALE_SET}):
        assert _judge(fa.managed_identity(claims)).facts["vm_name"] == "nodes_3"


@pytest.mark.parametrize(
    "claims",
    [
        {"xms_mirid": SCALE_SET, "xms_az_rid": _machine()},
        {"xms_mirid": SCALE_SET, "xms_az_rid": f"{SCALE_SET}-2"},
        {"xms_mirid": SCALE_SET, "xms_az_rid": f"{SCALE_SET}-2/virtualMachines/3"},
        {"xms_mirid": f"{SCALE_SET}/virtualMachines/3", "xms_az_rid": f"{SCALE_SET}/virtualMachines/4"},
        {"xms_mirid": _machine(), "xms_az_rid": SCALE_SET},
    ],
)
def test_a_token_that_names_a_vm_and_another_resource_is_refused(claims: dict[str, object]) -> None:
    error = _judged_badly(fa.managed_identity(claims))
    assert error.step is Step.DECODE
    assert "two virtual machines or scale sets" in error.detail


@pytest.mark.parametrize(
    "claims",
    [
        {"xms_mirid": SCALE_SET, "xms_az_rid": ""},
        {"xms_mirid": "nothing", "xms_az_rid": SCALE_SET},
        {"xms_mirid": SCALE_SET, "xms_az_rid": USER_IDENTITY},
        {"xms_mirid": f"{SCALE_SET}/"},
        {"xms_mirid": ..., "xms_az_rid": None},
        {"xms_mirid": ..., "xms_az_rid": USER_IDENTITY},
    ],
)
def test_a_token_of_an_identity_elsewhere_is_refused(claims: dict[str, object]) -> None:
    error = _judged_badly(fa.managed_identity(claims))
    assert error.step is Step.DECODE
    assert "names no virtual machine" in error.detail


def test_a_token_of_a_scale_set_in_another_subscription_is_refused() -> None:
    error = _judged_badly(fa.managed_identity(xms_mirid=SCALE_SET.replace(fa.SUBSCRIPTION, OTHER_TENANT)))
    assert error.step is Step.BINDING
    assert "another subscription" in error.detail


@pytest.mark.parametrize("claims", [{"scp": "user_impersonation"}, {"scp": ""}, {"idtyp": "user"}, {"idtyp": None}])
def test_a_token_of_a_person_is_refused(claims: dict[str, object]) -> None:
    for more in ({}, {"xms_mirid": ...}):
        error = _judged_badly(fa.managed_identity({**claims, **more}))
        assert error.step is Step.DECODE
        assert "made for a person" in error.detail
    assert _judge(fa.managed_identity(idtyp=...)).facts["vm_name"] == "vm-1"


def test_resource_ids_are_compared_without_case() -> None:
    identity = _judge(fa.managed_identity(xms_mirid=_machine(group="PROD.Group_(1)", name="VM-A").upper()))
    assert (identity.facts["resource_group"], identity.facts["vm_name"]) == ("prod.group_(1)", "vm-a")


# Attacks


def test_a_token_of_another_tenant_is_refused() -> None:
    """Anybody has a tenant of their own, with the same issuer's signature; CVE-2025-11621 forgot whose."""
    issuer = f"https://sts.windows.net/{OTHER_TENANT}/"
    error = _refused(fa.managed_identity(iss=issuer, tid=OTHER_TENANT))
    assert error.step is Step.SIGNATURE
    assert "a tenant that is not configured here" in error.detail
    error = _refused(fa.managed_identity(tid=OTHER_TENANT))
    assert error.step is Step.SIGNATURE
    assert "another tenant than its issuer's" in error.detail


@pytest.mark.parametrize(
    "issuer",
    [
        f"https://sts.windows.net/{fa.TENANT}",
        f"https://sts.windows.net/{fa.TENANT.upper()}/",
        f"https://sts.windows.net.evil.com/{fa.TENANT}/",
        f"http://sts.windows.net/{fa.TENANT}/",
        f"https://sts.windows.net/{fa.TENANT}/v2.0",
        f"https://login.microsoftonline.com/{fa.TENANT}/",
        "https://login.microsoftonline.com/common/v2.0",
        ...,
        5,
        ["https://sts.windows.net/{fa.TENANT}/"],
    ],
)
def test_an_issuer_that_is_not_exactly_the_tenants_is_refused(issuer: object) -> None:
    error = _refused(fa.managed_identity(iss=issuer))
    assert error.step is Step.SIGNATURE
    assert "not configured here" in error.detail


def test_a_user_assigned_identity_needs_the_vm_in_xms_az_rid() -> None:
    error = _judged_badly(fa.managed_identity(xms_mirid=USER_IDENTITY))
    assert error.step is Step.DECODE
    assert "names no virtual machine" in error.detail
    identity = _judge(fa.managed_identity(xms_mirid=USER_IDENTITY, xms_az_rid=_machine(name="vm-9")))
    assert identity.facts["vm_name"] == "vm-9"
    simulated = fa.vm(user_identity="shared").claims(fa.AUDIENCE, NOW)
    assert _judge(fa.managed_identity(simulated)).facts["vm_name"] == "vm-1"


@pytest.mark.parametrize(
    "resource",
    [
        None,
        "",
        5,
        USER_IDENTITY,
        f"/subscriptions/{fa.SUBSCRIPTION}/resourcegroups/g/providers/Microsoft.Web/sites/virtualMachines",
        f"/subscriptions/{fa.SUBSCRIPTION}/resourcegroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/",
        _machine() + "/extensions/x",
        _machine() + "\n",
        "x" + _machine(),
        _machine(name="a/../b"),
        _machine(group="a/b"),
        _machine(name=""),
        _machine(subscription="none"),
        _machine(name="\u0130"),
        _machine(name="v\u212a"),  # the Kelvin sign, whose lower case is the letter k
        _machine(name="v" * 65),
        USER_IDENTITY + _machine(),
    ],
)
def test_a_resource_that_is_not_a_vm_is_none(resource: object) -> None:
    for claims in ({"xms_mirid": resource}, {"xms_mirid": USER_IDENTITY, "xms_az_rid": resource}):
        assert _judged_badly(fa.managed_identity(claims)).step is Step.DECODE


def test_a_token_that_names_two_vms_is_refused() -> None:
    error = _judged_badly(fa.managed_identity(xms_az_rid=_machine(name="vm-2")))
    assert error.step is Step.DECODE
    assert "two virtual machines" in error.detail
    assert _judge(fa.managed_identity(xms_az_rid=_machine().upper())).facts["vm_name"] == "vm-1"


@pytest.mark.parametrize(
    "audience", [..., None, "", "https://management.azure.com/", "API://ca.example", "api://ca.example/", [fa.AUDIENCE]]
)
def test_a_token_for_another_audience_is_refused(audience: object) -> None:
    """Whoever runs another audience sees the tokens for it, and could pass them on."""
    error = _refused(fa.managed_identity(aud=audience))
    assert error.step is Step.BINDING
    assert "another audience" in error.detail


def test_a_token_without_an_attested_document_is_malformed() -> None:
    whole = fa.managed_identity()
    for fields in (
        {"evidence": whole.fields["evidence"]},
        {"attested": whole.fields["attested"]},
        {**whole.fields, "document": "e30"},
        {**whole.fields, "attested": ""},
        {**whole.fields, "evidence": "a.b"},
    ):
        assert isinstance(_refused(Evidence(VERIFIER.format, fields)), MalformedEvidenceError)


def test_a_token_of_another_subscription_than_the_attested_one_is_refused() -> None:
    elsewhere = _machine(subscription="00000000-b25a-417f-a676-80465535a6c9")
    for claims in ({"xms_mirid": elsewhere}, {"xms_mirid": USER_IDENTITY, "xms_az_rid": elsewhere}):
        error = _judged_badly(fa.managed_identity(claims))
        assert error.step is Step.BINDING
        assert "another subscription" in error.detail
    assert (
        _judge(fa.managed_identity(xms_mirid=_machine(subscription=fa.SUBSCRIPTION.upper()))).owner == fa.SUBSCRIPTION
    )


def test_the_document_beside_the_token_is_judged_as_if_it_stood_alone() -> None:
    good = fa.managed_identity()
    forged = fa.attested(by=fa.self_signed()).fields["evidence"]
    assert _refused(Evidence(good.format, {**good.fields, "attested": forged})).step is Step.SIGNATURE
    assert _judged_badly(good, binding=Binding(bytes(32))).step is Step.BINDING
    assert _judged_badly(good, NOW + 3600).step is Step.FRESHNESS
    without = fa.managed_identity(content=fa.document_with({"subscriptionId": ...}))
    assert "lacking subscriptionId" in _judged_badly(without).detail


def test_a_token_that_nobody_known_signed_is_refused() -> None:
    assert _refused(fa.managed_identity(by=fa.other_keys())).step is Step.SIGNATURE
    good = fa.managed_identity()
    head, payload, signature = good.fields["evidence"].split(".")
    other = forge.base64url(json.dumps(fa.claims(oid="99999999-2222-3333-4444-555555555555")).encode())
    for text in (f"{head}.{other}.{signature}", f"{head}.{payload}.{signature[4:]}AAAA", f"{head}.{payload}."):
        assert _refused(Evidence(good.format, {**good.fields, "evidence": text})).step is Step.SIGNATURE


def test_the_headers_algorithm_chooses_nothing() -> None:
    spki = fa.keys().tokens.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    good = fa.managed_identity()
    for text in (
        jwt.encode(fa.claims(), spki * 2, "HS256", headers={"kid": fa.keys().tokens.kid}),
        jwt.encode(fa.claims(), "", "none", headers={"kid": fa.keys().tokens.kid}) + "AAAA",
    ):
        assert _refused(Evidence(good.format, {**good.fields, "evidence": text})).step is Step.SIGNATURE


def test_a_tenants_key_set_counts_for_its_provisioner_and_audience_only() -> None:
    good = fa.managed_identity()
    roots = {"mine": fa.keys().roots, "yours": fa.keys().roots}

    def tenants(*given: AzureTenant) -> TrustStore:
        return trusting(azure_roots=roots, google=False, azure_tenants=given)

    keys = fa.keys().key_set
    mine = AzureTenant.of("mine", fa.TENANT, fa.AUDIENCE, keys)
    yours = AzureTenant.of("yours", fa.TENANT, "api://other.example", keys)
    assert _authenticate(good, tenants(mine, yours)).scope == frozenset({"mine"})
    assert _refused(good, tenants(yours)).step is Step.BINDING
    both = AzureTenant.of("yours", fa.TENANT, fa.AUDIENCE, keys)
    assert _authenticate(good, tenants(mine, both)).scope == frozenset({"mine", "yours"})
    assert _refused(good, tenants()).step is Step.SIGNATURE
    only_mine = trusting(azure_roots={"mine": fa.keys().roots}, google=False, azure_tenants=[both])
    assert _authenticate(good, only_mine).scope == frozenset()


@pytest.mark.parametrize(
    ("tenant", "audience", "sentence"),
    [
        ("common", fa.AUDIENCE, "not a tenant's id"),
        (fa.TENANT.upper(), fa.AUDIENCE, "not a tenant's id"),
        ("", fa.AUDIENCE, "not a tenant's id"),
        (fa.TENANT, "", "without an audience"),
    ],
)
def test_a_tenant_without_id_or_audience_is_not_configured(tenant: str, audience: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        AzureTenant.of("mine", tenant, audience, fa.keys().key_set)


# Times and facts


def test_an_explanation_names_the_vm_of_stale_unbound_evidence() -> None:
    claims = _authenticate(fa.managed_identity({"exp": 1, "iat": 0, "nbf": 0}, content=fa.document("0123456789")))
    assert VERIFIER.identify(claims).facts["vm_name"] == "vm-1"
    assert VERIFIER.identify(_authenticate(GOOD)) == _judge(GOOD)


@pytest.mark.parametrize(
    ("claims", "sentence"),
    [
        ({"iat": NOW + 61}, "61 seconds in the future"),
        ({"nbf": NOW + 61}, "61 seconds in the future"),
        ({"exp": NOW - 60}, "expired 60 seconds ago"),
        ({"iat": NOW - 86461}, "more than a day ago"),
    ],
)
def test_a_token_out_of_its_time_is_refused(claims: dict[str, object], sentence: str) -> None:
    error = _judged_badly(fa.managed_identity(claims))
    assert error.step is Step.FRESHNESS
    assert sentence in error.detail


def test_a_token_that_was_kept_for_a_day_is_good() -> None:
    assert _judge(fa.managed_identity(iat=NOW - 86460, nbf=NOW - 86460, exp=NOW - 59)).times["exp"] == NOW - 59
    assert _judge(fa.managed_identity(iat=NOW + 60, nbf=NOW + 60)).times["iat"] == NOW + 60


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"oid": ...}, "oid"),
        ({"oid": "me"}, "oid"),
        ({"iat": "now"}, "iat"),
        ({"nbf": ...}, "nbf"),
        ({"exp": 1.5}, "exp"),
        ({"exp": True}, "exp"),
    ],
)
def test_a_claim_that_is_missing_or_odd_is_refused_by_name(claims: dict[str, object], name: str) -> None:
    evidence = fa.managed_identity(claims)
    with pytest.raises(AttestationError) as refused:
        _judge(evidence)
    assert refused.value.step in (Step.DECODE, Step.SIGNATURE)
    assert name in refused.value.detail


def test_claims_that_a_parser_could_read_in_two_ways_are_refused() -> None:
    good = fa.managed_identity()
    head, payload, signature = good.fields["evidence"].split(".")
    text = json.dumps(fa.claims())[:-1] + f', "tid": "{OTHER_TENANT}"}}'
    twice = forge.base64url(text.encode())
    error = _refused(Evidence(good.format, {**good.fields, "evidence": f"{head}.{twice}.{signature}"}))
    assert error.step is Step.DECODE
    assert payload != twice


# Any bytes


@given(
    st.dictionaries(
        st.sampled_from(("evidence", "attested", "intermediates", "document")), st.text(max_size=80), max_size=4
    )
)
def test_no_fields_do_worse_than_a_refusal(fields: dict[str, str]) -> None:
    assert _refused(Evidence(VERIFIER.format, fields)).detail


@given(data=st.data())
def test_mutated_tokens_never_authenticate_other_claims(data: st.DataObject) -> None:
    text = forge.mutated(GOOD.fields["evidence"].encode(), data.draw).decode("latin-1")
    try:
        document = _authenticate(Evidence(GOOD.format, {**GOOD.fields, "evidence": text})).document
    except AttestationError:
        document = fa.claims()
    assert document == fa.claims()


def test_evidence_of_two_keys_is_believed_as_long_as_both_are_trusted() -> None:
    believed_by = _judge(fa.managed_identity()).believed_by
    assert fa.trust().still_believes(believed_by, "test", NOW)
    assert not fa.root_only().still_believes(believed_by, "test", NOW)
    mine = fa.trust().part(AzureTrust)
    no_root = TrustStore((replace(mine, anchors=trusting(google=False).part(AzureTrust).anchors),))
    assert not no_root.still_believes(believed_by, "test", NOW)
