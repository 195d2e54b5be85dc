"""``provisioner test`` with names alone: the challenges by which hosts in no cloud can prove them."""

from __future__ import annotations

import json

import click

from acme_iid.config.settings import Config
from acme_iid.policy.hosts import OF_DNS, HostProvisioner
from acme_iid.policy.namespace import Namespace
from acme_iid.protocol.identifiers import Identifier


def tell(config: Config, names: tuple[Identifier, ...], *, as_json: bool) -> bool:
    """Print which provisioners let each name be proven, by which challenges; returns whether each has one."""
    offers = {
        name.value: {host.name: list(host.offers(config.namespace, name)) for host in config.hosts} for name in names
    }
    if as_json:
        click.echo(json.dumps({"names": offers}, indent=2))
    else:
        for name in names:
            click.echo(f"{name}:")
            for host in config.hosts:
                challenges = offers[name.value][host.name]
                answer = f"by {' or '.join(challenges)}" if challenges else _reason(host, config.namespace, name)
                click.echo(f"  {'ok' if challenges else 'NO':<4}{host.name!r}: {answer}")
    return all(any(by_host.values()) for by_host in offers.values())


def _reason(host: HostProvisioner, namespace: Namespace, name: Identifier) -> str:
    if (reason := namespace.refusal(name)) is not None:
        return reason
    if name.type == "ip":
        return "an address is proven only inside its networks, by http-01 or tls-alpn-01"
    if not namespace.contains(name):
        return f"outside this CA's domains ({', '.join(namespace.domains) or 'none'})"
    if name.wildcard and not host.allow_wildcards:
        return "a wildcard, and allow_wildcards is off"
    if name.wildcard and not set(host.challenges) & set(OF_DNS):
        return f"a wildcard, which only {' or '.join(OF_DNS)} can prove"
    return f"not among its names ({', '.join(map(str, host.allow or ()))})"
