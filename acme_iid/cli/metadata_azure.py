"""``acme-iid-ca metadata --cloud azure``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import click

from acme_iid.attestation.azure import Environment
from acme_iid.cli.stand_in import Cloud, StandIn
from acme_iid.simulator.azure import Keys, Vm
from acme_iid.simulator.azure_service import KEY_SET, AzureService, recorded

_FACTS = {
    "subscription": "subscription",
    "instance_id": "vm_id",
    "vm_name": "name",
    "resource_group": "resource_group",
    "location": "location",
    "environment": "environment",
    "tenant": "tenant",
    "scale_set": "scale_set",
    "user_identity": "user_identity",
    "private_ip": "private_ip",
}
"""The VM's facts, by the names of the options that give them."""

_OPTIONS = (
    click.option("--subscription", help="Azure: the VM's subscription."),
    click.option("--vm-name", help="Azure: the VM's name."),
    click.option("--resource-group", help="Azure: the VM's resource group."),
    click.option("--location", help="Azure: the VM's region, in whose name documents are signed."),
    click.option("--environment", type=click.Choice(get_args(Environment)), help="Azure: which of its clouds to be."),
    click.option("--tenant", help="Azure: the tenant that issues the managed identity's tokens."),
    click.option("--scale-set", help="Azure: the scale set that the VM is an instance of; --vm-name is its number."),
    click.option("--user-identity", help="Azure: a user-assigned identity that the tokens are for, not the VM's own."),
    click.option(
        "--stale-nonces",
        type=click.IntRange(0, 100),
        help="Azure: how many requests are answered with a document that has an older nonce.",
    ),
)


def _make(keys: Path | None, options: Mapping[str, Any]) -> StandIn:
    vm = Vm(**{field: options[option] for option, field in _FACTS.items() if option in options})
    signers = Keys.open(keys) if keys is not None else Keys.generate()
    summary = {"instance_id": vm.vm_id, "subscription": vm.subscription, "tenant": vm.tenant}
    for option, name, content in (
        ("iid_roots_out", "iid_roots", signers.roots),
        ("jwks_out", "jwks", signers.key_set),
    ):
        if option in options:
            options[option].write_bytes(content)
            summary[name] = str(options[option])
    return StandIn(
        AzureService(vm, signers, stale_nonces=options.get("stale_nonces", 0)),
        lambda url: {**summary, "jwks_url": url + KEY_SET},
        lambda url: _lines(summary, url),
    )


def _lines(summary: Mapping[str, str], url: str) -> list[str]:
    roots = summary.get("iid_roots")
    return [
        f"It is the VM {summary['instance_id']} of the subscription {summary['subscription']}.",
        "A CA believes it with: acme-iid-ca provisioner add NAME --type AZURE "
        f"--azure-subscription-id {summary['subscription']} --iid-roots {roots}"
        if roots
        else "No CA believes its keys: give --iid-roots-out FILE, and that file to the CA as --iid-roots.",
        f"Its managed identity's tokens are of the tenant {summary['tenant']}, with the keys at {url}{KEY_SET}",
        f"A client uses it with: acme-iid order NAME --metadata-url {url}",
    ]


def _replay(recording: bytes, _given: Mapping[str, Any]) -> StandIn:
    return StandIn(recorded(recording))


AZURE = Cloud(
    options=_OPTIONS,
    takes=frozenset({*_FACTS, "iid_roots_out", "jwks_out", "stale_nonces"}),
    make=_make,
    replay=_replay,
)
