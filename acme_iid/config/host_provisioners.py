"""The ``[[provisioner]]`` tables of type ACME in ca.toml, read."""

from __future__ import annotations

import ipaddress

from acme_iid.config.parsers import listen_address, name, network
from acme_iid.config.table import Table
from acme_iid.policy.hosts import CHALLENGES, OF_DNS, TYPE, HostProvisioner
from acme_iid.policy.name_rules import NameRule, template
from acme_iid.protocol.addresses import Listen

MAX_RESOLVERS = 8
_DNS_PORT = 53


def is_of_hosts(table: Table) -> bool:
    """Whether a ``[[provisioner]]`` is of type ACME."""
    value = table.look("type")
    return isinstance(value, str) and value.upper() == TYPE


def read(table: Table) -> HostProvisioner:
    """Read one ``[[provisioner]]`` of type ACME.

    :raises ConfigError: if it says what cannot be meant.
    """
    defaults = HostProvisioner("", ())
    provisioner = HostProvisioner(
        name=table.text("name", "the provisioner's name", name),
        challenges=table.texts("challenges", f"a list of challenges, of {', '.join(CHALLENGES)}", _challenge) or (),
        allow=table.texts("allow", 'a list of names such as ["*.web.internal"]', _rule),
        allow_wildcards=table.flag("allow_wildcards"),
        networks=table.texts("networks", 'a list of networks such as ["10.0.0.0/8"]', network),
        resolver=table.texts("resolver", 'a list of name servers such as ["10.0.0.53:53"]', name_server) or (),
        http_port=_port(table, "http_port", defaults.http_port),
        tls_port=_port(table, "tls_port", defaults.tls_port),
        caa=table.flag("caa"),
        profiles=table.texts("profiles", "a list of names of [profile.NAME] tables", str),
    )
    table.take("type", str, TYPE)
    table.done()
    _check(table, provisioner)
    return provisioner


def _check(table: Table, provisioner: HostProvisioner) -> None:
    if not provisioner.challenges:
        raise table.error("challenges", f"is missing or empty; say how names are proven, of {', '.join(CHALLENGES)}")
    for key in ("allow", "networks", "profiles"):
        if getattr(provisioner, key) == ():
            raise table.error(key, "is empty, so no host could prove anything; list something, or leave it out")
    if provisioner.allow_wildcards and not set(provisioner.challenges) & set(OF_DNS):
        raise table.error("allow_wildcards", f"takes a challenge that can prove one: {', '.join(OF_DNS)}")
    if len(provisioner.resolver) > MAX_RESOLVERS:
        raise table.error("resolver", f"lists more than {MAX_RESOLVERS} name servers")


def _challenge(text: str) -> str:
    if text not in CHALLENGES:
        raise ValueError(f"{text!r} is no challenge of this type; there are {', '.join(CHALLENGES)}")
    return text


def _rule(text: str) -> NameRule:
    # Nothing is known of a host but its names.
    return NameRule(template(text, ()))


def name_server(text: str) -> Listen:
    """Return the name server in "address:port" or "address"; port 53 if none is given.

    :raises ValueError: if it is none. A name is none: who would resolve it?
    """
    try:
        return Listen(str(ipaddress.ip_address(text)), _DNS_PORT)
    except ValueError:
        pass
    try:
        found = listen_address(text)
        if found.port:
            return Listen(str(ipaddress.ip_address(found.host)), found.port)
    except ValueError:
        pass
    raise ValueError(f"{text!r} is no name server; write its address, for example 10.0.0.53 or [fd00::53]:5353")


def _port(table: Table, key: str, default: int) -> int:
    value = table.take(key, int, "a port such as 80")
    if value is None:
        return default
    if not 0 < value <= 65535:
        raise table.error(key, f"{value} is no port; ports are 1 to 65535")
    return value
