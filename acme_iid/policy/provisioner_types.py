"""The types of provisioners: what each may demand of an instance, and what its cloud's evidence proves."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from acme_iid.policy.hosts import TYPE

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@()-]{0,255}\Z")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")
_AWS_ACCOUNT = re.compile(r"[0-9]{12}\Z")
_PCR = re.compile(r"[0-9a-fA-F]{96}\Z")
PCRS = tuple(f"pcr{index}" for index in range(24))
"""The platform configuration registers that a NitroTPM document proves, as facts and as keys."""


def aws_account(text: str) -> str:
    """Return an AWS account id as it is.

    :raises ValueError: if it is not twelve digits.
    """
    if not _AWS_ACCOUNT.match(text):
        raise ValueError(f"{text!r} is no AWS account id; that is twelve digits, in quotes")
    return text


def _plain(text: str) -> str:
    if not _PLAIN.match(text):
        raise ValueError(f"{text!r} has characters that none of these names has")
    return text


def _uuid(text: str) -> str:
    if not _UUID.match(text):
        raise ValueError(f"{text!r} is no id such as 8a205152-b25a-417f-a676-80465535a6c9")
    return text


def _pcr(text: str) -> str:
    if not _PCR.match(text):
        raise ValueError(f"{text!r} is no SHA-384 value: 96 hexadecimal digits")
    return text


@dataclass(frozen=True, slots=True)
class Listed:
    """A list that a type of provisioner may have: the facts it is about, and how a value in it is read."""

    facts: tuple[str, ...]
    parse: Callable[[str], str] = _plain


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of provisioner.

    :ivar lists: by their key in ca.toml.
    :ivar owners: the lists of which at least one says whose instances are admitted.
    :ivar sources: the keys in ca.toml that say where its further signing keys come from.
    :ivar formats: the formats of evidence that it knows, most preferred first, with the facts that each may prove.
    :ivar default_formats: those that it accepts unless ``formats``, or a list that takes others, says otherwise.
    :ivar placeholders: the facts that names may be made of.
    """

    lists: Mapping[str, Listed]
    owners: tuple[str, ...]
    sources: tuple[str, ...]
    formats: Mapping[str, tuple[str, ...]]
    default_formats: tuple[str, ...]
    placeholders: tuple[str, ...]


_AWS_DOCUMENT = (
    *("account", "partition", "region", "zone", "image", "instance_id", "instance_type", "architecture"),
    *("private_ip", "private_name"),
)
_AWS_TOKEN = (
    *("account", "organization", "principal", "partition", "region", "vpc", "instance_id"),
    *("private_ip", "private_name"),
)
_GCP_TOKEN = (
    *("project", "project_number", "zone", "region", "instance_id", "instance_name"),
    *("subject", "service_account"),
)
_AZURE_DOCUMENT = (
    *("subscription", "vm_id", "instance_id", "environment", "signer_region"),
    *("sku", "license_type", "plan_name", "plan_product", "plan_publisher"),
)
_AZURE_TOKEN = ("tenant", "object_id", "resource_group", "resource_id", "vm_name", "scale_set")

KINDS: Mapping[str, Kind] = {
    "AWS": Kind(
        lists={
            "accounts": Listed(("account",), aws_account),
            "organizations": Listed(("organization",)),
            "regions": Listed(("region",)),
            "zones": Listed(("zone",)),
            "images": Listed(("image",)),
            "instance_types": Listed(("instance_type",)),
            "instance_ids": Listed(("instance_id",)),
            "vpcs": Listed(("vpc",)),
            **{pcr: Listed((pcr,), _pcr) for pcr in PCRS},
        },
        owners=("accounts", "organizations"),
        sources=("iid_roots", "nitro_roots", "web_identity"),
        formats={
            "aws-nitrotpm": (*_AWS_DOCUMENT, *PCRS),
            "aws-web-identity": _AWS_TOKEN,
            "aws-rsa2048": _AWS_DOCUMENT,
            "aws-signature": _AWS_DOCUMENT,
            "aws-pkcs7": _AWS_DOCUMENT,
        },
        # aws-pkcs7 is DSA with SHA-1, so it must be named.
        default_formats=("aws-rsa2048", "aws-signature"),
        placeholders=(
            "account",
            "partition",
            "region",
            "zone",
            "image",
            "instance_id",
            "instance_type",
            "architecture",
            "vpc",
            "organization",
            "private_ip",
            "private_name",
        ),
    ),
    "GCP": Kind(
        lists={
            "projects": Listed(("project", "project_number")),
            "service_accounts": Listed(("service_account", "subject")),
            "regions": Listed(("region",)),
            "zones": Listed(("zone",)),
            "instance_ids": Listed(("instance_id",)),
        },
        owners=("projects", "service_accounts"),
        sources=("jwks",),
        formats={"gcp-identity": _GCP_TOKEN},
        default_formats=("gcp-identity",),
        placeholders=("project", "project_number", "region", "zone", "instance_id", "instance_name"),
    ),
    "AZURE": Kind(
        lists={
            "tenants": Listed(("tenant",), _uuid),
            "subscriptions": Listed(("subscription",), _uuid),
            "resource_groups": Listed(("resource_group",)),
            "object_ids": Listed(("object_id",), _uuid),
            "instance_ids": Listed(("vm_id",), _uuid),
        },
        owners=("tenants", "subscriptions"),
        sources=("iid_roots", "jwks", "audience"),
        formats={
            "azure-managed-identity": (*_AZURE_DOCUMENT, *_AZURE_TOKEN),
            "azure-attested": _AZURE_DOCUMENT,
        },
        default_formats=("azure-attested",),
        placeholders=("tenant", "subscription", "resource_group", "vm_id", "vm_name", "instance_id"),
    ),
}

UNDATED = ("aws-web-identity", "azure-managed-identity", "azure-attested")
"""Formats that do not say when an instance was started, so that no ``instance_age`` could let it in."""


def kind(text: str) -> str:
    """A type of provisioner, in capitals.

    :raises ValueError: if there is none of this name.
    """
    if text.upper() not in KINDS:
        raise ValueError(f"{text!r} is not a known type; the types are {', '.join((*KINDS, TYPE))}")
    return text.upper()
