"""Google Cloud."""

from __future__ import annotations

import re
from collections.abc import Mapping

from acme_iid.attestation import gcp
from acme_iid.policy.clouds.cloud_type import (
    INSTANCE_ID,
    REGION,
    TOKEN_KEYS,
    ZONE,
    CloudType,
    EvidenceFormat,
    allow_list,
)
from acme_iid.protocol.identifiers import Identifier

_PLACE = re.compile(r"(?:africa|asia|australia|europe|me|northamerica|southamerica|us)-[a-z]+[0-9]{1,2}(-[a-z])?\Z")


def _describe(stated: Mapping[str, str]) -> tuple[Mapping[str, str], tuple[Identifier, ...]]:
    facts = dict(stated)
    if "zone" in facts:
        facts.setdefault("region", facts["zone"].rpartition("-")[0])
    if not {"instance_name", "zone", "project"} <= facts.keys():
        return facts, ()
    return facts, gcp.names(facts["instance_name"], facts["zone"], facts["project"])


def _knows_place(fact: str, value: str) -> bool:
    match = _PLACE.match(value)
    return match is not None and (match[1] is not None) == (fact == "zone")


CLOUD_TYPE = CloudType(
    type="GCP",
    cloud="gcp",
    settings=(
        allow_list(
            "projects",
            ("project", "project_number"),
            "gcp-project",
            "ID",
            "A project, by id or number, whose instances are admitted.",
        ),
        allow_list(
            "service_accounts",
            ("service_account", "subject"),
            "gcp-service-account",
            "EMAIL",
            "A service account, by address or number.",
        ),
        REGION,
        ZONE,
        INSTANCE_ID,
        TOKEN_KEYS,
    ),
    owners=("projects", "service_accounts"),
    owner="GCP project number",
    owner_id=re.compile(r"[1-9][0-9]*"),
    formats={
        "gcp-identity": EvidenceFormat(
            (
                *("project", "project_number", "zone", "region", "instance_id", "instance_name"),
                *("subject", "service_account"),
            ),
            default=True,
            dated=True,
        ),
    },
    placeholders=("project", "project_number", "region", "zone", "instance_id", "instance_name"),
    own_name=re.compile(r"(?:.+\.)?c\.(?:[a-z0-9-]+\.)+internal\Z|(?:.+\.)?google\.internal\Z"),
    # c.PROJECT.internal; no domain below "internal" covers those of all projects.
    own_domains=("internal",),
    instance_id=re.compile(r"gcp:(?P<owner>[1-9][0-9]*):[1-9][0-9]*"),
    id_form="gcp:PROJECT-NUMBER:INSTANCE",
    extension_number=3,
    describe=_describe,
    knows_place=_knows_place,
)
