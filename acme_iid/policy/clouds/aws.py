"""Amazon Web Services."""

from __future__ import annotations

import re
from collections.abc import Mapping

from acme_iid.attestation import aws
from acme_iid.attestation.aws_trust import pinned_keys
from acme_iid.policy.clouds.cloud_type import (
    DOCUMENT_ROOTS,
    INSTANCE_ID,
    REGION,
    ZONE,
    CloudType,
    EvidenceFormat,
    allow_list,
)
from acme_iid.policy.setting import Setting
from acme_iid.protocol.identifiers import Identifier

_ACCOUNT = re.compile(r"[0-9]{12}\Z")
_REGISTER = re.compile(r"[0-9a-fA-F]{96}\Z")
_REGISTERS = tuple(f"pcr{index}" for index in range(24))
# The platform configuration registers that a NitroTPM document proves, as facts and as keys.
_DOCUMENT = (
    *("account", "partition", "region", "zone", "image", "instance_id", "instance_type", "architecture"),
    *("private_ip", "private_name"),
)
_TOKEN = (
    *("account", "organization", "principal", "partition", "region", "vpc", "instance_id"),
    *("private_ip", "private_name"),
)


def account(text: str) -> str:
    """Return an account's id as it is.

    :raises ValueError: if it is not twelve digits.
    """
    if not _ACCOUNT.match(text):
        raise ValueError(f"{text!r} is no AWS account id; that is twelve digits, in quotes")
    return text


def _register(text: str) -> str:
    if not _REGISTER.match(text):
        raise ValueError(f"{text!r} is no SHA-384 value: 96 hexadecimal digits")
    return text


def _describe(stated: Mapping[str, str]) -> tuple[Mapping[str, str], tuple[Identifier, ...]]:
    facts = dict(stated)
    if "region" in facts:
        facts.setdefault("partition", aws.partition_of(facts["region"]))
    if {"region", "private_ip"} <= facts.keys():
        facts.setdefault("private_name", aws.private_name(facts["private_ip"], facts["region"]))
    return facts, aws.names(facts)


def _knows_place(fact: str, value: str) -> bool:
    """A zone is its region with a letter; a local zone has more between (us-west-2-lax-1a)."""
    regions = {region for key in pinned_keys() for region in key.regions or ()}
    if fact == "region":
        return value in regions
    return any(re.fullmatch(rf"{region}(?:-[a-z0-9]+-[0-9]+)?[a-z]", value) for region in regions)


CLOUD_TYPE = CloudType(
    type="AWS",
    cloud="aws",
    settings=(
        allow_list("accounts", ("account",), "aws-account", "ID", "An account whose instances are admitted.", account),
        allow_list(
            "organizations", ("organization",), "organization", "ID", "An organization whose instances are admitted."
        ),
        REGION,
        ZONE,
        allow_list("images", ("image",), "image", "ID", "An image (AMI)."),
        allow_list("instance_types", ("instance_type",), "instance-type", "NAME", "An instance type."),
        INSTANCE_ID,
        allow_list("vpcs", ("vpc",), "vpc", "ID", "A network that the instance is in; proven by aws-web-identity."),
        Setting(
            _REGISTERS[0],
            "registers",
            "a list of SHA-384 values",
            "A measurement of the boot that is admitted; proven by aws-nitrotpm.",
            _register,
            flag="pcr",
            metavar="INDEX=HEX",
            keys=_REGISTERS,
        ),
        Setting(
            "web_identity",
            "issuers",
            "a list of tables with account, issuer and, if need be, jwks",
            "The issuer of an account's web identity tokens.",
            account,
            flag="web-identity-issuer",
            metavar="ACCOUNT=URL",
        ),
        Setting(
            "web_identity",
            "issuer keys",
            "a file name, or an https URL",
            "That issuer's keys, instead of where AWS publishes them.",
            flag="web-identity-jwks",
            metavar="ACCOUNT=FILE|URL",
        ),
        DOCUMENT_ROOTS,
        Setting(
            "nitro_roots",
            "file",
            "a file name",
            "PEM file of further roots of NitroTPM documents.",
            flag="nitro-roots",
            metavar="FILE",
        ),
    ),
    owners=("accounts", "organizations"),
    owner="AWS account",
    owner_id=_ACCOUNT,
    formats={
        "aws-nitrotpm": EvidenceFormat((*_DOCUMENT, *_REGISTERS), dated=True),
        "aws-web-identity": EvidenceFormat(_TOKEN, needs=("web_identity",), needed="each account's issuer"),
        "aws-rsa2048": EvidenceFormat(_DOCUMENT, default=True, dated=True, bound=False, quick=True),
        "aws-signature": EvidenceFormat(_DOCUMENT, default=True, dated=True, bound=False, quick=True),
        # DSA with SHA-1, so it must be named.
        "aws-pkcs7": EvidenceFormat(_DOCUMENT, dated=True, bound=False, quick=True),
    },
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
    own_name=re.compile(r"i-[0-9a-f]+\Z|(?:.+\.)?(?:compute|ec2)\.internal\Z"),
    own_domains=("compute.internal", "ec2.internal"),
    instance_id=re.compile(
        r"aws:aws[a-z-]*:(?P<owner>[0-9]{12}):(?P<region>[a-z]{2,8}(?:-[a-z]+)+-[0-9]+):i-[0-9a-f]{8,32}"
    ),
    id_form="aws:PARTITION:ACCOUNT:REGION:INSTANCE",
    extension_number=4,
    describe=_describe,
    knows_place=_knows_place,
    place_remedy=", or give the region's keys with iid_roots",
)
