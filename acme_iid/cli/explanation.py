"""Explanations of admission and of names: the policy's own answers, each with its rule."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from acme_iid.attestation.identity import InstanceIdentity
from acme_iid.config.settings import Config
from acme_iid.policy import instances
from acme_iid.policy.clouds import of_cloud
from acme_iid.policy.instances import Provisioner
from acme_iid.policy.name_rules import NameRule
from acme_iid.policy.namespace import Namespace
from acme_iid.protocol.identifiers import Identifier, dns


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, whether the instance meets it, and that in words."""

    rule: str
    met: bool
    said: str


@dataclass(frozen=True, slots=True)
class Wish:
    """A name that was asked for, and why it is given or not."""

    name: str
    given: bool
    why: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """One provisioner's.

    :ivar rules: those about admission and, if it admits, those about names.
    :ivar listed: all names that can be listed.
    :ivar further: a remark on names that cannot be listed.
    """

    name: str
    type: str
    admits: bool
    rules: tuple[Rule, ...]
    names: tuple[Wish, ...] = ()
    listed: tuple[str, ...] = ()
    further: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The verdicts of all provisioners on an instance.

    :ivar given_by: the provisioner under which an order for all of the names would be proven; None without one.
    """

    identity: InstanceIdentity
    provisioners: tuple[Verdict, ...]
    given_by: str | None
    outcome: str

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "instance": self.identity.id or None,
            "facts": dict(self.identity.facts),
            "names": [name.value for name in self.identity.names],
            "provisioners": [asdict(entry) for entry in self.provisioners],
            "given_by": self.given_by,
            "outcome": self.outcome,
        }


def identity_of(cloud: str, facts: Mapping[str, str], format_: str) -> InstanceIdentity:
    """An instance as facts given by hand describe it, with what follows from them.

    :raises ValueError: if a fact is not one that could be proven.
    """
    if "private_ip" in facts:
        facts = {**facts, "private_ip": str(ipaddress.IPv4Address(facts["private_ip"]))}
    facts, names = of_cloud(cloud).describe(facts)
    return InstanceIdentity(
        cloud=cloud,
        id="",
        owner="",
        instance_id=facts.get("instance_id", ""),
        credential_id="",
        format=format_,
        key_id="",
        binding="",
        facts=facts,
        names=names,
    )


def explain(
    config: Config, identity: InstanceIdentity, names: Sequence[Identifier], *, now: int, as_preferred: bool = False
) -> Explanation:
    """Ask every provisioner, in the order in which they are tried.

    :param names: the names of one order.
    :param now: seconds.
    :param as_preferred: take the instance to be proven in each provisioner's most preferred format.
    """
    verdicts = tuple(
        _verdict(
            entry,
            config.namespace,
            replace(identity, format=entry.formats[0]) if as_preferred and _same_cloud(entry, identity) else identity,
            names,
            now,
        )
        for entry in config.provisioners
    )
    giving = next((entry.name for entry in verdicts if entry.admits and all(name.given for name in entry.names)), None)
    return Explanation(identity, verdicts, giving, _outcome(verdicts, giving, names))


def _same_cloud(entry: Provisioner, identity: InstanceIdentity) -> bool:
    return entry.cloud_type.cloud == identity.cloud


def _outcome(verdicts: Sequence[Verdict], giving: str | None, names: Sequence[Identifier]) -> str:
    listed = ", ".join(name.value for name in names)
    if not verdicts:
        return "This CA has no provisioner, so it admits nobody; acme-iid-ca provisioner add adds one."
    if giving is not None:
        return f"Provisioner {giving!r} would give {listed}." if names else f"Provisioner {giving!r} would admit it."
    if not any(entry.admits for entry in verdicts):
        return "No provisioner would admit it."
    return f"No provisioner would give {'all of ' if len(names) > 1 else ''}{listed}."


def _verdict(
    entry: Provisioner, namespace: Namespace, identity: InstanceIdentity, names: Sequence[Identifier], now: int
) -> Verdict:
    checks = list(instances.checks(entry, identity))
    rules = [
        Rule(key, refusal is None, f"{key}: {refusal or _met(entry, key, identity)}")
        for key, refusal in checks
        if key != "key" or identity.key_id  # facts given by hand are signed by nobody
    ]
    if any(refusal is not None for _, refusal in checks):
        if not _same_cloud(entry, identity):
            rules = rules[:1]  # another cloud's lists explain nothing about it
        return Verdict(entry.name, entry.type, admits=False, rules=tuple(rules))
    rules += [*_first_use(entry, identity, now), *_later_orders(entry)]
    rules += [_name_rule(entry, "allow", rule, namespace, identity) for rule in entry.allow or ()]
    rules += [_name_rule(entry, "allow_wildcards", rule, namespace, identity) for rule in entry.allow_wildcards]
    return Verdict(
        entry.name,
        entry.type,
        admits=True,
        rules=tuple(rules),
        names=tuple(_wish(entry, namespace, identity, name) for name in names),
        listed=tuple(name.value for name in instances.names(entry, namespace, identity)),
        further=_further(entry, namespace),
    )


def _met(entry: Provisioner, key: str, identity: InstanceIdentity) -> str:
    match key:
        case "type":
            return entry.type
        case "formats":
            return identity.format if identity.key_id else f"as if it proved itself with {identity.format}"
        case "key":
            return "the cloud's own" if identity.scope is None else "one that this provisioner is configured with"
        case "owner":
            return "the provisioner lists owners, and the document proves this instance's"
    demand = next(demand for demand in entry.demands if demand.key == key)
    proven = [f"{fact} {identity.facts[fact]}" for fact in demand.facts if fact in identity.facts]
    return " and ".join(proven) + " is listed"


def _first_use(entry: Provisioner, identity: InstanceIdentity, now: int) -> list[Rule]:
    """The rule on first use, as far as it does not depend on earlier uses, which only the store has."""
    if entry.instance_age is None or identity.started_at is None:
        return []
    age = now - identity.started_at
    said = f"the instance was started {age} seconds ago, and a first use may come {entry.instance_age} after its start"
    return [Rule("instance_age", age <= entry.instance_age, f"instance_age: {said}")]


def _later_orders(entry: Provisioner) -> list[Rule]:
    if not entry.proof_lifetime:
        return []
    said = f"what it proves serves further orders of its account for {entry.proof_lifetime} seconds"
    return [Rule("proof_lifetime", met=True, said=f"proof_lifetime: {said}")]


def _name_rule(entry: Provisioner, key: str, rule: NameRule, namespace: Namespace, identity: InstanceIdentity) -> Rule:
    """The names that one rule gives to the instance, by the answers that an order would get."""
    prefix = "*." if key == "allow_wildcards" else ""
    title = f"{key} {prefix}{rule}"
    for demand in rule.when:
        if (refusal := demand.refusal(identity.facts)) is not None:
            return Rule(key, met=False, said=f"{title}: {refusal.partition(';')[0]}")
    facts = instances.believed_facts(entry, identity)
    for fact in rule.template.placeholders:
        if fact not in facts:
            return Rule(key, met=False, said=f"{title}: {fact} is not proven, so it gives nothing")
    text = rule.template.filled(facts)
    try:
        # A label stands for the star: any one would do.
        example = None if text is None else dns(text.replace("*", "a"))
    except ValueError:
        example = None
    if text is None or example is None:
        return Rule(key, met=False, said=f"{title}: a fact cannot stand in a name, so it gives nothing")
    refusal = instances.refusal_to_name(entry, namespace, identity, Identifier("dns", prefix + example.value))
    if refusal is not None:
        return Rule(key, met=False, said=f"{title}: {refusal}")
    star = ", with any one label for *" if "*" in text else ""
    return Rule(key, met=True, said=f"{title}: gives {prefix}{text}{star}")


def _wish(entry: Provisioner, namespace: Namespace, identity: InstanceIdentity, name: Identifier) -> Wish:
    refusal = instances.refusal_to_name(entry, namespace, identity, name)
    if refusal is not None:
        return Wish(name.value, given=False, why=refusal)
    if name in instances.own_names(entry, namespace, identity):
        return Wish(name.value, given=True, why="follows from its evidence")
    facts = instances.believed_facts(entry, identity)
    rules, prefix = (entry.allow_wildcards, "*.") if name.wildcard else (entry.allow or (), "")
    for rule in rules:
        if rule.applies(facts) and rule.template.gives(name.base, facts):
            return Wish(name.value, given=True, why=f"allowed by {prefix}{rule}")
    return Wish(name.value, given=True, why="there is no allow, so any name inside the CA's domains is given")


def _further(entry: Provisioner, namespace: Namespace) -> str:
    if entry.allow is None and not entry.disable_custom_sans and namespace.domains:
        unissued = "the CA's own" + (
            " and those that its certificates do not permit" if namespace.constraints() else ""
        )
        return f"; and any name in {', '.join(namespace.domains)} but {unissued}, as there is no allow"
    return ""
