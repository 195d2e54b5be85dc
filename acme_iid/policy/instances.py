"""Provisioners for instances: the rules of one, on who is admitted and which names an instance may hold."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from acme_iid.attestation.identity import InstanceIdentity
from acme_iid.attestation.trust import GivenKeys
from acme_iid.policy.clouds import CLOUD_TYPES, is_cloud_name
from acme_iid.policy.clouds.cloud_type import CloudType
from acme_iid.policy.name_rules import Demand, NameRule
from acme_iid.policy.namespace import Namespace
from acme_iid.protocol.addresses import Network
from acme_iid.protocol.identifiers import Identifier

ENROLMENT_LIFETIME = 7 * 86400
"""Seconds that a proof serves delegates, unless a provisioner says otherwise."""
_NO_KEYS = GivenKeys("")


@dataclass(frozen=True, slots=True)
class Provisioner:
    """One ``[[provisioner]]`` of ca.toml.

    :ivar name: its name for operators; unique, and in every certificate that is issued under it.
    :ivar type: a key of :data:`~acme_iid.policy.clouds.CLOUD_TYPES`.
    :ivar demands: the lists that an instance must be on, a list of owners among them.
    :ivar formats: the formats of evidence that are accepted, most preferred first.
    :ivar instance_age: the time after its start in which an instance may prove itself first, in seconds;
        None for ever.
    :ivar allow: the names that instances may hold; None for any name inside the CA's domains.
    :ivar allow_wildcards: the wildcard names that instances may hold; the templates are without their ``*.``.
    :ivar networks: private addresses, and names made of them, count inside these only; None for all.
    :ivar disable_custom_sans: only names that follow from the document, none that the client chose.
    :ivar disable_trust_on_first_use: an instance is not tied to the first account that proves it.
    :ivar profiles: the certificate profiles that instances may have; None for all.
    :ivar enrolment_lifetime: the time that an instance's proof serves its delegates, in seconds.
    :ivar proof_lifetime: the time that its proof serves further orders of its account, in seconds; 0 if each order is
        proven anew.
    :ivar keys: the further keys that its evidence is believed under, and what its tokens must say.
    """

    name: str
    type: str
    demands: tuple[Demand, ...]
    formats: tuple[str, ...]
    instance_age: int | None = None
    allow: tuple[NameRule, ...] | None = None
    allow_wildcards: tuple[NameRule, ...] = ()
    networks: tuple[Network, ...] | None = None
    disable_custom_sans: bool = False
    disable_trust_on_first_use: bool = False
    profiles: tuple[str, ...] | None = None
    enrolment_lifetime: int = ENROLMENT_LIFETIME
    proof_lifetime: int = 0
    keys: GivenKeys = _NO_KEYS

    @property
    def cloud_type(self) -> CloudType:
        """The cloud whose instances it is for."""
        return CLOUD_TYPES[self.type]

    def gives_profile(self, profile: str | None) -> bool:
        """Whether certificates of this profile are given; None stands for the profile of a CA without profiles."""
        return profile is None or self.profiles is None or profile in self.profiles

    def __str__(self) -> str:
        return f"provisioner {self.name!r}"


_UNOWNED = (
    "{} does not list the owner of this instance, {}, and the token beside its document names no resource of it; "
    "an operator adds the owner to subscriptions"
)
OWN_NAME = "own name"
ANY_NAME = "any name in the domains"


def checks(provisioner: Provisioner, identity: InstanceIdentity) -> Iterator[tuple[str, str | None]]:
    """A provisioner's rules on admission by their names in ca.toml, each with the reason why an instance fails it."""
    refusal = None
    if provisioner.cloud_type.cloud != identity.cloud:
        refusal = f"{provisioner} is for {provisioner.type} instances"
    yield "type", refusal
    refusal = None
    if identity.format not in provisioner.formats:
        refusal = (
            f"{provisioner} does not accept evidence of format {identity.format}; an operator allows it by naming it "
            "in formats"
        )
    yield "formats", refusal
    refusal = None
    if identity.scope is not None and provisioner.name not in identity.scope:
        refusal = f"{provisioner} does not trust the key that signed this evidence; it is configured for another one"
    yield "key", refusal
    if identity.unbound:
        # A thief of a token could otherwise show it with an instance of any owner in the world.
        owned = any(
            identity.facts.get(fact) == identity.owner for demand in provisioner.demands for fact in demand.facts
        )
        yield "owner", None if owned else _UNOWNED.format(provisioner, identity.owner)
    for demand in provisioner.demands:
        if (refusal := demand.refusal(identity.facts)) is not None:
            yield demand.key, f"{provisioner} {refusal}"
        else:
            yield demand.key, None


def refusal_to_admit(provisioner: Provisioner, identity: InstanceIdentity) -> str | None:
    """The reason why a provisioner does not admit an instance; None if it does."""
    return next((refusal for _, refusal in checks(provisioner, identity) if refusal is not None), None)


def own_names(provisioner: Provisioner, namespace: Namespace, identity: InstanceIdentity) -> tuple[Identifier, ...]:
    """The names and addresses that follow from an instance's facts, as far as the provisioner believes them.

    A name of the CA itself is not among them: facts repeat, and another instance may have the CA's private address. Nor
    is a name that the CA's chain does not permit.
    """
    believed = believed_facts(provisioner, identity)
    unbelieved = {value for name, value in identity.facts.items() if name not in believed}
    return tuple(name for name in identity.names if name.value not in unbelieved and not namespace.refuses(name))


def believed_facts(provisioner: Provisioner, identity: InstanceIdentity) -> Mapping[str, str]:
    """The facts that names may be made of: private addresses, and names made of them, repeat across networks."""
    address = identity.facts.get("private_ip")
    if provisioner.networks is None or address is None:
        return identity.facts
    if any(ipaddress.ip_address(address) in network for network in provisioner.networks):
        return identity.facts
    return {name: fact for name, fact in identity.facts.items() if name not in ("private_ip", "private_name")}


def names(provisioner: Provisioner, namespace: Namespace, identity: InstanceIdentity) -> tuple[Identifier, ...]:
    """All the names that can be listed: those that follow from the facts, and those that rules give exactly."""
    listed, facts = list(own_names(provisioner, namespace, identity)), believed_facts(provisioner, identity)
    for rule in () if provisioner.disable_custom_sans else provisioner.allow or ():
        name = rule.template.name(facts) if rule.applies(facts) else None
        if name is not None and namespace.contains(name) and not namespace.refuses(name):
            listed.append(name)
    return tuple(dict.fromkeys(listed))


def rule_giving(
    provisioner: Provisioner, namespace: Namespace, identity: InstanceIdentity, identifier: Identifier
) -> str | None:
    """The rule by which a provisioner lets an instance that it admits hold a name; None if it does not.

    :returns: :data:`OWN_NAME` for a name that follows from the facts, :data:`ANY_NAME` where nothing is ruled, or
        the entry of ``allow`` or ``allow_wildcards`` as it stands in ca.toml.
    """
    if namespace.refuses(identifier):
        return None
    if identifier in own_names(provisioner, namespace, identity):
        return OWN_NAME
    if identifier.type == "ip" or provisioner.disable_custom_sans or not namespace.contains(identifier):
        return None
    facts = believed_facts(provisioner, identity)
    if identifier.wildcard:
        named = (rule for rule in provisioner.allow_wildcards if rule.template.name(facts) == identifier.base)
        return next((f"*.{rule}" for rule in named if rule.applies(facts)), None)
    for rule in provisioner.allow or ():
        if rule.applies(facts) and rule.template.gives(identifier, facts):
            return str(rule)
    return ANY_NAME if provisioner.allow is None and not is_cloud_name(identifier.value) else None


def refusal_to_name(
    provisioner: Provisioner, namespace: Namespace, identity: InstanceIdentity, identifier: Identifier
) -> str | None:
    """The reason why a provisioner does not give a name to an instance that it admits; None if it does."""
    if rule_giving(provisioner, namespace, identity, identifier) is not None:
        return None
    if (reason := namespace.refusal(identifier)) is not None:
        return reason
    listed = ", ".join(name.value for name in own_names(provisioner, namespace, identity)) or "none"
    if identifier.type == "ip":
        return f"{provisioner} does not give {identifier}: an instance's addresses follow from its evidence ({listed})"
    if provisioner.disable_custom_sans:
        return (
            f"{provisioner} has disable_custom_sans, so it gives only the names that follow from the document: {listed}"
        )
    if not identifier.wildcard and is_cloud_name(identifier.value):
        return (
            f"{provisioner} does not give {identifier}: it is the cloud's name for another instance; "
            f"this one's are {listed}"
        )
    if not namespace.contains(identifier):
        return namespace.outside(identifier)
    if identifier.wildcard:
        wildcards = ", ".join(f"*.{rule}" for rule in provisioner.allow_wildcards) or "empty"
        return f"{provisioner} does not give the wildcard {identifier}: its allow_wildcards is {wildcards}"
    rules = ", ".join(str(rule) for rule in provisioner.allow or ()) or "nothing"
    return f"{provisioner} does not give {identifier}: its allow is {rules}; this instance's own names are {listed}"
