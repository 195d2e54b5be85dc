"""Evidence of Azure's formats: documents and tokens that prove a VM, and ones with a single fault each."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from vectors.case import Case, Identity
from vectors.fixed import NOW, authority, bound, rsa, token, token_key

from acme_iid.simulator import azure
from acme_iid.simulator.azure import Signer

VM = azure.Vm(
    subscription="8a205152-b25a-417f-a676-80465535a6c9",
    vm_id="b1310a36-d400-46f6-82cb-6217df846586",
    name="vm-1",
    resource_group="Servers",
    tenant="72f988bf-86f1-41af-91ab-2d7cd011db47",
    object_id="11111111-2222-3333-4444-555555555555",
    client_id="66666666-7777-8888-9999-000000000000",
)
AUDIENCE = "api://ca.example"
_OTHER = "ffffffff-b25a-417f-a676-80465535a6c9"

_ATTESTED = Identity(
    id="azure:8a205152-b25a-417f-a676-80465535a6c9:b1310a36-d400-46f6-82cb-6217df846586",
    owner="8a205152-b25a-417f-a676-80465535a6c9",
    instance_id="b1310a36-d400-46f6-82cb-6217df846586",
    credential_id="8a205152-b25a-417f-a676-80465535a6c9",
    binding="nonce",
    facts={
        "subscription": "8a205152-b25a-417f-a676-80465535a6c9",
        "vm_id": "b1310a36-d400-46f6-82cb-6217df846586",
        "instance_id": "b1310a36-d400-46f6-82cb-6217df846586",
        "environment": "public",
        "signer_region": "eastus",
        "sku": "22_04-lts-gen2",
    },
    names=(("dns", "b1310a36-d400-46f6-82cb-6217df846586"),),
    times={"createdOn": NOW - 10, "expiresOn": NOW - 10 + 6 * 3600},
)
_MANAGED = replace(
    _ATTESTED,
    credential_id="72f988bf-86f1-41af-91ab-2d7cd011db47",
    facts={
        **_ATTESTED.facts,
        "tenant": "72f988bf-86f1-41af-91ab-2d7cd011db47",
        "object_id": "11111111-2222-3333-4444-555555555555",
        "resource_group": "servers",
        "resource_id": "/subscriptions/8a205152-b25a-417f-a676-80465535a6c9/resourcegroups/servers"
        "/providers/microsoft.compute/virtualmachines/vm-1",
        "vm_name": "vm-1",
    },
    times={**_ATTESTED.times, "iat": NOW - 310, "exp": NOW - 10 + 24 * 3600},
)


def cases() -> Iterator[Case]:
    """All of them."""
    yield from _attested()
    yield from _managed_identity()


def _signer(name: str = "azure-signer") -> Signer:
    return Signer(rsa(name), authority(name).chain[0])


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _document(challenge: str = "example", created: int = NOW - 10) -> bytes:
    return VM.document(bound(challenge).nonce, created)


def _intermediates() -> str:
    return authority("azure-signer").chain[1].public_bytes(Encoding.PEM).decode()


def _attested() -> Iterator[Case]:
    good, signer, impostor = _document(), _signer(), _signer("azure-impostor")
    signed = azure.signed_data(good, signer)

    def case(name: str, outcome: str, data: bytes, identity: Identity | None = None) -> Case:
        fields = {"evidence": _text(data), "intermediates": _intermediates()}
        return Case(name, "azure-attested", fields, outcome, identity)

    yield case("as the metadata service gives it, with the issuing authority", "proven", signed, _ATTESTED)
    beside = {"evidence": _text(signed), "document": _text(good)}
    yield Case("another document beside the signed one", "azure-attested", beside, "malformed")
    members = json.loads(good)
    del members["subscriptionId"]
    lacking = azure.signed_data(json.dumps(members).encode(), signer)
    yield case("a document of an old version, without subscriptionId", "decoding", lacking)
    yield Case("without the issuing authority", "azure-attested", {"evidence": _text(signed)}, "signature")
    changed = signed.replace(VM.vm_id.encode(), b"c" + VM.vm_id.encode()[1:], 1)
    yield case("another vmId", "signature", changed)
    yield case("signed in the name metadata.azure.com.example.net", "signature", azure.signed_data(good, impostor))
    # The genuine certificate is there, and first; the SignerInfo names the other one.
    info = azure.signer_info(impostor.certificate, impostor.key.sign(good, PKCS1v15(), SHA256()))
    both = azure.content_info(good, [signer.certificate, impostor.certificate], info)
    yield case("a genuine certificate before the signer's", "signature", both)
    yield case(
        "sixteen minutes and one second old", "freshness", azure.signed_data(_document(created=NOW - 961), signer)
    )
    other = azure.signed_data(_document("another challenge"), signer)
    yield case("the nonce of another challenge", "binding", other)
    key = azure.signed_data(_document("another account"), signer)
    yield case("the nonce of another account key", "binding", key)


def _managed_identity() -> Iterator[Case]:
    attested = {
        "attested": _text(azure.signed_data(_document(), _signer())),
        "intermediates": _intermediates(),
    }
    tenant = token_key("azure-tenant")

    def case(name: str, outcome: str, identity: Identity | None = None, vm: azure.Vm = VM, **changed: Any) -> Case:
        claims = {**vm.claims(AUDIENCE, NOW - 10), **changed}
        fields = {"evidence": token(claims, tenant), **attested}
        return Case(name, "azure-managed-identity", fields, outcome, identity)

    assigned = replace(VM, user_identity="shared")
    yield case("of the VM's own identity", "proven", _MANAGED)
    yield case("of an identity that is assigned to many", "proven", _MANAGED, assigned)
    alone = {"evidence": token(VM.claims(AUDIENCE, NOW - 10), tenant)}
    yield Case("without the attested document", "azure-managed-identity", alone, "malformed")
    yield case("of an assigned identity that names no VM", "decoding", vm=assigned, xms_az_rid=VM.identity_id + "/x")
    other_tenant = f"https://sts.windows.net/{_OTHER}/"
    yield case("of another tenant", "signature", iss=other_tenant, tid=_OTHER)
    yield case("expired", "freshness", exp=NOW - 61)
    yield case("for another service", "binding", aud="https://management.azure.com/")
    yield case("of a VM in another subscription", "binding", vm=replace(VM, subscription=_OTHER))
