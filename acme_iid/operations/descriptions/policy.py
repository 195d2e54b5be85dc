"""The rules in ca.toml against the owners, as operators are shown them: who may hold what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypedDict

from acme_iid.config.settings import Config
from acme_iid.policy.hosts import HostProvisioner
from acme_iid.policy.instances import Provisioner


class PolicyRow(TypedDict):
    """What an owner's instances may hold by one rule.

    :ivar owner: the cloud and the owner's id; ``any host`` for hosts in no cloud.
    :ivar provisioner: its name.
    :ivar only_if: the conditions, in words.
    :ivar may_hold: the names, in the rule's words: facts are in braces, and * is any one label.
    :ivar any_name: whether that is any name, for whoever asks first.
    :ivar profiles: the names of the profiles that may be asked for; None for all.
    """

    owner: str
    provisioner: str
    only_if: list[str]
    may_hold: str
    any_name: bool
    profiles: list[str] | None


def rows(config: Config) -> Iterator[PolicyRow]:
    """A row for each owner and rule, in the order in which provisioners are tried."""
    for entry in config.policy.instances:
        rules = list(_of_instances(entry, config.namespace.domains))
        for owner, only_if in _owners(entry):
            for may_hold, conditions, is_any in rules:
                yield _row(owner, entry, [*only_if, *conditions], may_hold, is_any=is_any)
    for host in config.policy.hosts:
        for may_hold, conditions, is_any in _of_hosts(host, config.namespace.domains):
            yield _row("any host", host, conditions, may_hold, is_any=is_any)


def _row(
    owner: str, entry: Provisioner | HostProvisioner, only_if: Sequence[str], may_hold: str, *, is_any: bool
) -> PolicyRow:
    return {
        "owner": owner,
        "provisioner": entry.name,
        "only_if": list(only_if),
        "may_hold": may_hold,
        "any_name": is_any,
        "profiles": None if entry.profiles is None else list(entry.profiles),
    }


def _owners(entry: Provisioner) -> Iterator[tuple[str, list[str]]]:
    """The owners whose instances a provisioner admits, each with what else it demands."""
    listed = [demand for demand in entry.demands if demand.key in entry.cloud_type.owners]
    first, *others = listed
    only_if = [
        f"{demand.key} {' '.join(demand.values)}"
        for demand in (*others, *(demand for demand in entry.demands if demand not in listed))
    ]
    if entry.instance_age is not None:
        only_if.append(f"first use within {entry.instance_age} s of its start")
    for owner in first.values:
        yield f"{entry.cloud_type.cloud} {owner}", only_if


def _of_instances(entry: Provisioner, domains: Sequence[str]) -> Iterator[tuple[str, list[str], bool]]:
    """What a provisioner gives: the names, the conditions, and whether it is any name."""
    inside = [] if entry.networks is None else [f"private addresses in {' '.join(map(str, entry.networks))}"]
    yield "its own names and addresses", inside, False
    if not entry.disable_custom_sans:
        if entry.allow is None:
            yield _any(domains), [], True
        for rule in entry.allow or ():
            yield rule.template.text, [_when(demand.key, demand.values) for demand in rule.when], False
    for rule in entry.allow_wildcards:
        yield f"*.{rule.template.text}", [_when(demand.key, demand.values) for demand in rule.when], False


def _of_hosts(host: HostProvisioner, domains: Sequence[str]) -> Iterator[tuple[str, list[str], bool]]:
    proving = [f"proves it by {' or '.join(host.challenges)}"]
    if host.networks is not None:
        proving.append(f"is in {' '.join(map(str, host.networks))}")
    wildcards = ", wildcards too" if host.allow_wildcards else ""
    if host.allow is None:
        yield _any(domains) + wildcards, proving, True
    for rule in host.allow or ():
        yield rule.template.text + wildcards, proving, False


def _any(domains: Sequence[str]) -> str:
    return f"any name in {', '.join(domains)}" if domains else "no name, since the CA has no domains"


def _when(key: str, values: Sequence[str]) -> str:
    return f"{key} {' '.join(values)}"
