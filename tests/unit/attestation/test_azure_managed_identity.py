from __future__ import annotations

import json
from dataclasses import replace

import forge
import forge_azure as fa
import pytest
from azure_identity_evidence import (
    NOW,
    OTHER_TENANT,
    USER_IDENTITY,
    VERIFIER,
    authenticate,
    judge,
    judged_badly,
    machine_id,
    refusal,
)
from hypothesis import given
from hypothesis import strategies as st
from trusting import judged, trusting

from acme_iid.attestation.azure_trust import AzureTrust
from acme_iid.attestation.identity import Evidence, InstanceIdentity
from acme_iid.attestation.registry import VERIFIERS
from acme_iid.attestation.trust import TrustStore
from acme_iid.errors import AttestationError, Step

ATTESTED = VERIFIERS["azure-attested"]
GOOD = fa.managed_identity()


def test_a_token_adds_tenant_resource_group_and_name_to_the_attested_vm() -> None:
    plain = judged(ATTESTED, ATTESTED.authenticate(fa.attested(), fa.trust(), NOW), fa.BINDING, NOW)
    identity = judge(fa.managed_identity())
    assert identity == replace(
        plain,
        format="azure-managed-identity",
        credential_id=fa.TENANT,
        facts={
            **plain.facts,
            "tenant": fa.TENANT,
            "object_id": "11111111-2222-3333-4444-555555555555",
            "resource_group": "servers",
            "resource_id": machine_id().lower(),
            "vm_name": "vm-1",
        },
        times={**plain.times, "iat": NOW - 330, "exp": NOW - 30 + 86400},
        dated_at=NOW - 330,
        believed_by=identity.believed_by,
    )
    assert [key.place for group in identity.believed_by for key in group] == ["azure", fa.TENANT]


def test_a_token_of_version_2_is_as_good() -> None:
    issuer = f"https://login.microsoftonline.com/{fa.TENANT}/v2.0"
    assert judge(fa.managed_identity(iss=issuer, ver="2.0")).facts["tenant"] == fa.TENANT


def test_an_instance_of_a_scale_set_has_the_name_that_azure_gives_it() -> None:
    mirid = fa.vm(scale_set="Fleet", name="7").resource_id
    identity = judge(fa.managed_identity(xms_mirid=mirid))
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
    identity = judge(fa.managed_identity(xms_mirid=...))
    assert identity.facts == _plain_facts()
    assert identity.unbound
    assert InstanceIdentity.from_json(identity.to_json()) == identity
    assert not judge(GOOD).unbound


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
    identity = judge(fa.managed_identity(claims))
    assert identity.facts == _plain_facts()
    assert not identity.unbound


def test_an_instance_and_its_scale_set_are_no_two_resources() -> None:
    instance = f"{SCALE_SET}/virtualMachines/3"
    for claims in ({"xms_mirid": SCALE_SET, "xms_az_rid": instance}, {"xms_mirid": instance, "xms_az_rid": SCALE_SET}):
        assert judge(fa.managed_identity(claims)).facts["vm_name"] == "nodes_3"


@pytest.mark.parametrize(
    "claims",
    [
        {"xms_mirid": SCALE_SET, "xms_az_rid": machine_id()},
        {"xms_mirid": SCALE_SET, "xms_az_rid": f"{SCALE_SET}-2"},
        {"xms_mirid": SCALE_SET, "xms_az_rid": f"{SCALE_SET}-2/virtualMachines/3"},
        {"xms_mirid": f"{SCALE_SET}/virtualMachines/3", "xms_az_rid": f"{SCALE_SET}/virtualMachines/4"},
        {"xms_mirid": machine_id(), "xms_az_rid": SCALE_SET},
    ],
)
def test_a_token_that_names_a_vm_and_another_resource_is_refused(claims: dict[str, object]) -> None:
    error = judged_badly(fa.managed_identity(claims))
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
    error = judged_badly(fa.managed_identity(claims))
    assert error.step is Step.DECODE
    assert "names no virtual machine" in error.detail


def test_a_token_of_a_scale_set_in_another_subscription_is_refused() -> None:
    error = judged_badly(fa.managed_identity(xms_mirid=SCALE_SET.replace(fa.SUBSCRIPTION, OTHER_TENANT)))
    assert error.step is Step.BINDING
    assert "another subscription" in error.detail


@pytest.mark.parametrize("claims", [{"scp": "user_impersonation"}, {"scp": ""}, {"idtyp": "user"}, {"idtyp": None}])
def test_a_token_of_a_person_is_refused(claims: dict[str, object]) -> None:
    for more in ({}, {"xms_mirid": ...}):
        error = judged_badly(fa.managed_identity({**claims, **more}))
        assert error.step is Step.DECODE
        assert "made for a person" in error.detail
    assert judge(fa.managed_identity(idtyp=...)).facts["vm_name"] == "vm-1"


def test_resource_ids_are_compared_without_case() -> None:
    identity = judge(fa.managed_identity(xms_mirid=machine_id(group="PROD.Group_(1)", name="VM-A").upper()))
    assert (identity.facts["resource_group"], identity.facts["vm_name"]) == ("prod.group_(1)", "vm-a")


# Times and facts


def test_an_explanation_names_the_vm_of_stale_unbound_evidence() -> None:
    claims = authenticate(fa.managed_identity({"exp": 1, "iat": 0, "nbf": 0}, content=fa.document("0123456789")))
    assert VERIFIER.identify(claims).facts["vm_name"] == "vm-1"
    assert VERIFIER.identify(authenticate(GOOD)) == judge(GOOD)


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
    error = judged_badly(fa.managed_identity(claims))
    assert error.step is Step.FRESHNESS
    assert sentence in error.detail


def test_a_token_that_was_kept_for_a_day_is_good() -> None:
    assert judge(fa.managed_identity(iat=NOW - 86460, nbf=NOW - 86460, exp=NOW - 59)).times["exp"] == NOW - 59
    assert judge(fa.managed_identity(iat=NOW + 60, nbf=NOW + 60)).times["iat"] == NOW + 60


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
        judge(evidence)
    assert refused.value.step in (Step.DECODE, Step.SIGNATURE)
    assert name in refused.value.detail


def test_claims_that_a_parser_could_read_in_two_ways_are_refused() -> None:
    good = fa.managed_identity()
    head, payload, signature = good.fields["evidence"].split(".")
    text = json.dumps(fa.claims())[:-1] + f', "tid": "{OTHER_TENANT}"}}'
    twice = forge.base64url(text.encode())
    error = refusal(Evidence(good.format, {**good.fields, "evidence": f"{head}.{twice}.{signature}"}))
    assert error.step is Step.DECODE
    assert payload != twice


# Any bytes


@given(
    st.dictionaries(
        st.sampled_from(("evidence", "attested", "intermediates", "document")), st.text(max_size=80), max_size=4
    )
)
def test_no_fields_do_worse_than_a_refusal(fields: dict[str, str]) -> None:
    assert refusal(Evidence(VERIFIER.format, fields)).detail


@given(data=st.data())
def test_mutated_tokens_never_authenticate_other_claims(data: st.DataObject) -> None:
    text = forge.mutated(GOOD.fields["evidence"].encode(), data.draw).decode("latin-1")
    try:
        document = authenticate(Evidence(GOOD.format, {**GOOD.fields, "evidence": text})).document
    except AttestationError:
        document = fa.claims()
    assert document == fa.claims()


def test_evidence_of_two_keys_is_believed_as_long_as_both_are_trusted() -> None:
    believed_by = judge(fa.managed_identity()).believed_by
    assert fa.trust().still_believes(believed_by, "test", NOW)
    assert not fa.root_only().still_believes(believed_by, "test", NOW)
    mine = fa.trust().part(AzureTrust)
    no_root = TrustStore((replace(mine, anchors=trusting(google=False).part(AzureTrust).anchors),))
    assert not no_root.still_believes(believed_by, "test", NOW)
