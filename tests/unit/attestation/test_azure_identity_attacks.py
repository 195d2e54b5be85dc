"""Attacks with tokens of managed identities: of other tenants, issuers, resources, audiences, keys."""

from __future__ import annotations

import json

import forge
import forge_azure as fa
import jwt
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
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from trusting import trusting

from acme_iid.attestation.azure_trust import AzureTenant
from acme_iid.attestation.identity import Evidence
from acme_iid.attestation.trust import TrustStore
from acme_iid.binding import Binding
from acme_iid.errors import MalformedEvidenceError, Step


def test_a_token_of_another_tenant_is_refused() -> None:
    """Anybody has a tenant of their own, with the same issuer's signature; CVE-2025-11621 forgot whose."""
    issuer = f"https://sts.windows.net/{OTHER_TENANT}/"
    error = refusal(fa.managed_identity(iss=issuer, tid=OTHER_TENANT))
    assert error.step is Step.SIGNATURE
    assert "a tenant that is not configured here" in error.detail
    error = refusal(fa.managed_identity(tid=OTHER_TENANT))
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
    error = refusal(fa.managed_identity(iss=issuer))
    assert error.step is Step.SIGNATURE
    assert "not configured here" in error.detail


def test_a_user_assigned_identity_needs_the_vm_in_xms_az_rid() -> None:
    error = judged_badly(fa.managed_identity(xms_mirid=USER_IDENTITY))
    assert error.step is Step.DECODE
    assert "names no virtual machine" in error.detail
    identity = judge(fa.managed_identity(xms_mirid=USER_IDENTITY, xms_az_rid=machine_id(name="vm-9")))
    assert identity.facts["vm_name"] == "vm-9"
    simulated = fa.vm(user_identity="shared").claims(fa.AUDIENCE, NOW)
    assert judge(fa.managed_identity(simulated)).facts["vm_name"] == "vm-1"


@pytest.mark.parametrize(
    "resource",
    [
        None,
        "",
        5,
        USER_IDENTITY,
        f"/subscriptions/{fa.SUBSCRIPTION}/resourcegroups/g/providers/Microsoft.Web/sites/virtualMachines",
        f"/subscriptions/{fa.SUBSCRIPTION}/resourcegroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/",
        machine_id() + "/extensions/x",
        machine_id() + "\n",
        "x" + machine_id(),
        machine_id(name="a/../b"),
        machine_id(group="a/b"),
        machine_id(name=""),
        machine_id(subscription="none"),
        machine_id(name="\u0130"),
        machine_id(name="v\u212a"),  # the Kelvin sign, whose lower case is the letter k
        machine_id(name="v" * 65),
        USER_IDENTITY + machine_id(),
    ],
)
def test_a_resource_that_is_not_a_vm_is_none(resource: object) -> None:
    for claims in ({"xms_mirid": resource}, {"xms_mirid": USER_IDENTITY, "xms_az_rid": resource}):
        assert judged_badly(fa.managed_identity(claims)).step is Step.DECODE


def test_a_token_that_names_two_vms_is_refused() -> None:
    error = judged_badly(fa.managed_identity(xms_az_rid=machine_id(name="vm-2")))
    assert error.step is Step.DECODE
    assert "two virtual machines" in error.detail
    assert judge(fa.managed_identity(xms_az_rid=machine_id().upper())).facts["vm_name"] == "vm-1"


@pytest.mark.parametrize(
    "audience", [..., None, "", "https://management.azure.com/", "API://ca.example", "api://ca.example/", [fa.AUDIENCE]]
)
def test_a_token_for_another_audience_is_refused(audience: object) -> None:
    """Whoever runs another audience sees the tokens for it, and could pass them on."""
    error = refusal(fa.managed_identity(aud=audience))
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
        assert isinstance(refusal(Evidence(VERIFIER.format, fields)), MalformedEvidenceError)


def test_a_token_of_another_subscription_than_the_attested_one_is_refused() -> None:
    elsewhere = machine_id(subscription="00000000-b25a-417f-a676-80465535a6c9")
    for claims in ({"xms_mirid": elsewhere}, {"xms_mirid": USER_IDENTITY, "xms_az_rid": elsewhere}):
        error = judged_badly(fa.managed_identity(claims))
        assert error.step is Step.BINDING
        assert "another subscription" in error.detail
    assert (
        judge(fa.managed_identity(xms_mirid=machine_id(subscription=fa.SUBSCRIPTION.upper()))).owner == fa.SUBSCRIPTION
    )


def test_the_document_beside_the_token_is_judged_as_if_it_stood_alone() -> None:
    good = fa.managed_identity()
    forged = fa.attested(by=fa.self_signed()).fields["evidence"]
    assert refusal(Evidence(good.format, {**good.fields, "attested": forged})).step is Step.SIGNATURE
    assert judged_badly(good, binding=Binding(bytes(32))).step is Step.BINDING
    assert judged_badly(good, NOW + 3600).step is Step.FRESHNESS
    without = fa.managed_identity(content=fa.document_with({"subscriptionId": ...}))
    assert "lacking subscriptionId" in judged_badly(without).detail


def test_a_token_that_nobody_known_signed_is_refused() -> None:
    assert refusal(fa.managed_identity(by=fa.other_keys())).step is Step.SIGNATURE
    good = fa.managed_identity()
    head, payload, signature = good.fields["evidence"].split(".")
    other = forge.base64url(json.dumps(fa.claims(oid="99999999-2222-3333-4444-555555555555")).encode())
    for text in (f"{head}.{other}.{signature}", f"{head}.{payload}.{signature[4:]}AAAA", f"{head}.{payload}."):
        assert refusal(Evidence(good.format, {**good.fields, "evidence": text})).step is Step.SIGNATURE


def test_the_headers_algorithm_chooses_nothing() -> None:
    spki = fa.keys().tokens.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    good = fa.managed_identity()
    for text in (
        jwt.encode(fa.claims(), spki * 2, "HS256", headers={"kid": fa.keys().tokens.kid}),
        jwt.encode(fa.claims(), "", "none", headers={"kid": fa.keys().tokens.kid}) + "AAAA",
    ):
        assert refusal(Evidence(good.format, {**good.fields, "evidence": text})).step is Step.SIGNATURE


def test_a_tenants_key_set_counts_for_its_provisioner_and_audience_only() -> None:
    good = fa.managed_identity()
    roots = {"mine": fa.keys().roots, "yours": fa.keys().roots}

    def tenants(*given: AzureTenant) -> TrustStore:
        return trusting(azure_roots=roots, google=False, azure_tenants=given)

    keys = fa.keys().key_set
    mine = AzureTenant.of("mine", fa.TENANT, fa.AUDIENCE, keys)
    yours = AzureTenant.of("yours", fa.TENANT, "api://other.example", keys)
    assert authenticate(good, tenants(mine, yours)).scope == frozenset({"mine"})
    assert refusal(good, tenants(yours)).step is Step.BINDING
    both = AzureTenant.of("yours", fa.TENANT, fa.AUDIENCE, keys)
    assert authenticate(good, tenants(mine, both)).scope == frozenset({"mine", "yours"})
    assert refusal(good, tenants()).step is Step.SIGNATURE
    only_mine = trusting(azure_roots={"mine": fa.keys().roots}, google=False, azure_tenants=[both])
    assert authenticate(good, only_mine).scope == frozenset()


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
