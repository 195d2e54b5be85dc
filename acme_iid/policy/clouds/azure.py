"""Microsoft Azure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from acme_iid.policy.clouds.cloud_type import (
    DOCUMENT_ROOTS,
    INSTANCE_ID,
    TOKEN_KEYS,
    AllowList,
    CloudType,
    EvidenceFormat,
    Setting,
    uuid,
)
from acme_iid.protocol.identifiers import Identifier, dns

_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_DOCUMENT = (
    *("subscription", "vm_id", "instance_id", "environment", "signer_region"),
    *("sku", "license_type", "plan_name", "plan_product", "plan_publisher"),
)
_TOKEN = ("tenant", "object_id", "resource_group", "resource_id", "vm_name", "scale_set")


def _describe(given: Mapping[str, str]) -> tuple[Mapping[str, str], tuple[Identifier, ...]]:
    facts = dict(given)
    for one, other in (("vm_id", "instance_id"), ("instance_id", "vm_id")):
        if one in facts:
            facts.setdefault(other, facts[one])
    return facts, (dns(facts["vm_id"]),) if "vm_id" in facts else ()


CLOUD_TYPE = CloudType(
    type="AZURE",
    cloud="azure",
    lists={
        "tenants": AllowList(("tenant",), uuid),
        "subscriptions": AllowList(("subscription",), uuid),
        "resource_groups": AllowList(("resource_group",)),
        "object_ids": AllowList(("object_id",), uuid),
        "instance_ids": AllowList(("vm_id",), uuid),
    },
    owners=("tenants", "subscriptions"),
    owner="Azure subscription",
    sources={"iid_roots": "file", "jwks": "key set", "audience": "the audience of tokens for this CA"},
    formats={
        "azure-managed-identity": EvidenceFormat(
            (*_DOCUMENT, *_TOKEN), needs=("tenants", "audience"), needed="tenants and audience"
        ),
        "azure-attested": EvidenceFormat(_DOCUMENT, default=True),
    },
    placeholders=("tenant", "subscription", "resource_group", "vm_id", "vm_name", "instance_id"),
    settings=(
        Setting("azure-tenant", "tenants", "list", "ID", "A tenant whose managed identities are believed."),
        Setting("azure-subscription-id", "subscriptions", "list", "ID", "A subscription whose VMs are admitted."),
        Setting("azure-resource-group", "resource_groups", "list", "NAME", "A resource group."),
        Setting("azure-object-id", "object_ids", "list", "ID", "A managed identity, by its object id."),
        Setting(
            "azure-audience",
            "audience",
            "text",
            "RESOURCE",
            "The resource of this CA's own that managed identity tokens must be for.",
        ),
        INSTANCE_ID,
        DOCUMENT_ROOTS,
        TOKEN_KEYS,
    ),
    own_name=re.compile(rf"{_UUID}\Z|(?:.+\.)?internal\.cloudapp\.net\Z"),
    own_domains=("internal.cloudapp.net",),
    instance_id=re.compile(rf"azure:(?P<owner>{_UUID}):{_UUID}"),
    id_form="azure:SUBSCRIPTION:VM-ID",
    extension_number=5,
    describe=_describe,
)
