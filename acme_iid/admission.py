"""A provisioner's rules: whose instances are admitted, and which names an instance may hold."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from acme_iid.attestation.identity import InstanceIdentity
from acme_iid.errors import AttestationError, Step
from acme_iid.protocol.identifiers import Identifier

_CLOUDS = {"AWS": "aws"}

# Names that a cloud gives to its instances. They follow from an instance's own facts or not at all: with
# "internal" among the domains, any admitted instance could otherwise take another one's private name.
_CLOUD_NAME = re.compile(r"i-[0-9a-f]+\Z|(?:.+\.)?(?:compute|ec2)\.internal\Z")


@dataclass(frozen=True, slots=True)
class Provisioner:
    """One ``[[provisioner]]`` of ca.toml.

    :ivar name: what an operator calls it; unique, and carried in every certificate issued under it.
    :ivar type: "AWS".
    :ivar accounts: the AWS accounts whose instances are admitted; without one it admits nobody.
    :ivar instance_age: how long after its start an instance may prove itself for the first time, seconds;
        None for ever.
    :ivar iid_roots: a PEM file of further certificates whose keys verify this provisioner's documents.
    :ivar formats: the formats of evidence that are accepted, most preferred first.
    :ivar disable_custom_sans: only names that follow from the document, none that the client chose.
    :ivar disable_trust_on_first_use: an instance is not tied to the first account that proves it.
    """

    name: str
    type: str
    accounts: tuple[str, ...]
    instance_age: int | None
    iid_roots: Path | None
    formats: tuple[str, ...]
    disable_custom_sans: bool = False
    disable_trust_on_first_use: bool = False


@dataclass(frozen=True, slots=True)
class Grant:
    """What admission decided: under which provisioner, and whether first use ties the instance to the account."""

    provisioner: Provisioner
    trust_on_first_use: bool


def formats(provisioners: Sequence[Provisioner]) -> tuple[str, ...]:
    """The formats that some provisioner accepts, most preferred first."""
    return tuple(dict.fromkeys(name for provisioner in provisioners for name in provisioner.formats))


def refusal_to_order(
    provisioners: Sequence[Provisioner], domains: Collection[str], identifier: Identifier
) -> str | None:
    """Why no instance whatever may hold this name, or None: an order for it is refused before evidence is asked for."""
    if identifier.wildcard:
        return f"{identifier} is a wildcard, and no provisioner gives wildcard certificates"
    if identifier.type == "ip" or _CLOUD_NAME.match(identifier.value):
        return None
    if not _inside(identifier, domains):
        return _outside(identifier, domains)
    if all(provisioner.disable_custom_sans for provisioner in provisioners):
        return f"{identifier} is a name of the client's choosing, and every provisioner here has disable_custom_sans"
    return None


def admit(
    provisioners: Sequence[Provisioner],
    domains: Collection[str],
    identity: InstanceIdentity,
    identifier: Identifier,
    *,
    others: Collection[Identifier] = (),
    only: str | None = None,
) -> Grant:
    """The first provisioner that admits this identity and lets it hold ``identifier``.

    :param others: the further names of the order. One that gives them all goes before one that does not,
        since an order is proven under one provisioner.
    :param only: the name of the one provisioner to try.
    :raises AttestationError: step admission or names, with each provisioner's reason.
    """
    tried = [provisioner for provisioner in provisioners if only in (None, provisioner.name)]
    if not tried:
        raise AttestationError(
            Step.ADMISSION,
            f"there is no provisioner named {only!r}"
            if only is not None
            else "this CA has no provisioner, so it admits nobody; an operator adds one with "
            "'acme-iid-ca provisioner add'",
        )
    admitting: list[Provisioner] = []
    reasons: list[str] = []
    for provisioner in tried:
        refusal = _refusal_to_admit(provisioner, identity)
        if refusal is None:
            admitting.append(provisioner)
        else:
            reasons.append(refusal)
    if not admitting:
        raise AttestationError(Step.ADMISSION, "; ".join(reasons))
    giving: list[Provisioner] = []
    reasons = []
    for provisioner in admitting:
        refusal = _refusal_to_name(provisioner, domains, identity, identifier)
        if refusal is None:
            giving.append(provisioner)
        else:
            reasons.append(refusal)
    if not giving:
        raise AttestationError(Step.NAMES, "; ".join(reasons))
    whole = [
        provisioner
        for provisioner in giving
        if all(_refusal_to_name(provisioner, domains, identity, other) is None for other in others)
    ]
    # Of those that admit an instance, all must have turned first use off: one that relies on it would
    # otherwise see its instance taken by an account that came in through another.
    everyone = [provisioner for provisioner in provisioners if _refusal_to_admit(provisioner, identity) is None]
    return Grant(
        provisioner=(whole or giving)[0],
        trust_on_first_use=not all(provisioner.disable_trust_on_first_use for provisioner in everyone),
    )


def _refusal_to_admit(provisioner: Provisioner, identity: InstanceIdentity) -> str | None:
    who = f"provisioner {provisioner.name!r}"
    if _CLOUDS[provisioner.type] != identity.cloud:
        return f"{who} is for {provisioner.type} instances"
    if identity.format not in provisioner.formats:
        return (
            f"{who} does not accept evidence of format {identity.format}; an operator allows it by naming it in formats"
        )
    if identity.scope is not None and provisioner.name not in identity.scope:
        return f"{who} does not trust the key that signed this document; it is not in its iid_roots"
    if identity.owner not in provisioner.accounts:
        return f"{who} does not list account {identity.owner}; an operator admits it by adding it to accounts"
    return None


def _refusal_to_name(
    provisioner: Provisioner, domains: Collection[str], identity: InstanceIdentity, identifier: Identifier
) -> str | None:
    who = f"provisioner {provisioner.name!r}"
    if identifier in identity.names:
        return None
    own = ", ".join(name.value for name in identity.names)
    if identifier.wildcard:
        return f"{who} gives no wildcard names"
    if identifier.type == "ip":
        return f"{who} does not give {identifier}: an instance's addresses follow from its document ({own})"
    if _CLOUD_NAME.match(identifier.value):
        return f"{who} does not give {identifier}: it is the cloud's name for another instance; this one's are {own}"
    if provisioner.disable_custom_sans:
        return f"{who} has disable_custom_sans, so it gives only the names that follow from the document: {own}"
    if not _inside(identifier, domains):
        return _outside(identifier, domains)
    return None


def _inside(identifier: Identifier, domains: Collection[str]) -> bool:
    return any(identifier.value == domain or identifier.value.endswith("." + domain) for domain in domains)


def _outside(identifier: Identifier, domains: Collection[str]) -> str:
    return (
        f"{identifier} is outside this CA's domains ({', '.join(domains) or 'none'}); "
        "an operator adds a domain to [ca] domains in ca.toml"
    )
