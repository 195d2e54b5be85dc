"""Microsoft Azure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from acme_iid.policy.clouds.cloud_type import (
    DOCUMENT_ROOTS,
    INSTANCE_ID,
    TOKEN_KEYS,
    CloudType,
    EvidenceFormat,
    allow_list,
    uuid,
)
from acme_iid.policy.setting import Setting
from acme_iid.protocol.identifiers import Identifier, dns

_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_DOCUMENT = (
    *("subscription", "vm_id", "instance_id", "environment", "signer_region"),
    *("sku", "license_type", "plan_name", "plan_product", "plan_publisher"),
)
_TOKEN = ("tenant", "object_id", "resource_group", "resource_id", "vm_name", "scale_set")


def _describe(stated: Mapping[str, str]) -> tuple[Mapping[str, str], tuple[Identifier, ...]]:
    facts = dict(stated)
    for one, other in (("vm_id", "instance_id"), ("instance_id", "vm_id")):
        if one in facts:
            facts.setdefault(other, facts[one])
    return facts, (dns(facts["vm_id"]),) if "vm_id" in facts else ()


CLOUD_TYPE = CloudType(
    type="AZURE",
    cloud="azure",
    settings=(
        allow_list(
            "tenants", ("tenant",), "azure-tenant", "ID", "A tenant whose managed identities are believed.", uuid
        ),
        allow_list(
            "subscriptions",
            ("subscription",),
            "azure-subscription-id",
            "ID",
            "A subscription whose VMs are admitted.",
            uuid,
        ),
        allow_list("resource_groups", ("resource_group",), "azure-resource-group", "NAME", "A resource group."),
        allow_list(
            "object_ids", ("object_id",), "azure-object-id", "ID", "A managed identity, by its object id.", uuid
        ),
        Setting(
            "audience",
            "text",
            "the audience of tokens for this CA",
            "The resource of this CA's own that managed identity tokens must be for.",
            flag="azure-audience",
            metavar="RESOURCE",
        ),
        replace(INSTANCE_ID, facts=("vm_id",), parse=uuid),
        DOCUMENT_ROOTS,
        TOKEN_KEYS,
    ),
    owners=("tenants", "subscriptions"),
    owner="Azure subscription",
    owner_id=re.compile(_UUID),
    formats={
        "azure-managed-identity": EvidenceFormat(
            (*_DOCUMENT, *_TOKEN), needs=("tenants", "audience"), needed="tenants and audience"
        ),
        "azure-attested": EvidenceFormat(_DOCUMENT, default=True),
    },
    placeholders=("tenant", "subscription", "resource_group", "vm_id", "vm_name", "instance_id"),
    own_name=re.compile(rf"{_UUID}\Z|(?:.+\.)?internal\.cloudapp\.net\Z"),
    own_domains=("internal.cloudapp.net",),
    instance_id=re.compile(rf"azure:(?P<owner>{_UUID}):{_UUID}"),
    id_form="azure:SUBSCRIPTION:VM-ID",
    extension_number=5,
    describe=_describe,
)
