"""The ``[[provisioner]]`` tables of type ACME in ca.toml, read."""

from __future__ import annotations

from typing import Any

from acme_iid.config import provisioner_settings, setting_reader
from acme_iid.config.table import Table
from acme_iid.policy.hosts import CHALLENGES, OF_DNS, TYPE, HostProvisioner

MAX_RESOLVERS = 8


def is_of_hosts(table: Table) -> bool:
    """Whether a ``[[provisioner]]`` is of type ACME."""
    value = table.look("type")
    return isinstance(value, str) and value.upper() == TYPE


def read(table: Table) -> HostProvisioner:
    """Read one ``[[provisioner]]`` of type ACME.

    :raises ConfigError: if it is invalid.
    """
    values: dict[str, Any] = {"challenges": ()}
    values |= setting_reader.read(table, (*provisioner_settings.of_all(), *provisioner_settings.of_hosts()))
    del values["type"]
    table.done()
    provisioner = HostProvisioner(**values)
    _check(table, provisioner)
    return provisioner


def _check(table: Table, provisioner: HostProvisioner) -> None:
    if not provisioner.challenges:
        raise table.error("challenges", f"is missing or empty; say how names are proven, of {', '.join(CHALLENGES)}")
    for key in ("allow", "networks", "profiles"):
        if getattr(provisioner, key) == ():
            raise table.error(key, "is empty, so no host could prove anything; list something, or leave it out")
    if provisioner.allow_wildcards and not set(provisioner.challenges) & set(OF_DNS):
        raise table.error("allow_wildcards", f"needs a challenge that can prove a wildcard: {', '.join(OF_DNS)}")
    if len(provisioner.resolver) > MAX_RESOLVERS:
        raise table.error("resolver", f"lists more than {MAX_RESOLVERS} name servers")
