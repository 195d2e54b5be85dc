"""The settings of ``[[provisioner]]`` tables, described: those of every cloud, and those of hosts.

What only one cloud has stands in its descriptor (:mod:`acme_iid.policy.clouds`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import MISSING, fields, replace
from functools import partial

from acme_iid.config.parsers import duration, listen_address, name, network, proof_lifetime
from acme_iid.policy.clouds import CLOUD_TYPES
from acme_iid.policy.clouds.cloud_type import CloudType
from acme_iid.policy.hosts import CHALLENGES, TYPE, HostProvisioner
from acme_iid.policy.instances import Provisioner
from acme_iid.policy.name_rules import NameRule, template
from acme_iid.policy.setting import Setting
from acme_iid.protocol.addresses import Listen

_DNS_PORT = 53
_PORT = "a port from 1 to 65535"


def types() -> tuple[str, ...]:
    """All types of provisioners, those of clouds first."""
    return (*CLOUD_TYPES, TYPE)


def of_type(type_: str) -> tuple[Setting, ...]:
    """All settings of provisioners of a type beside ``name`` and ``type``: its cloud's own, then the common ones."""
    if type_ == TYPE:
        return of_hosts()
    return (*CLOUD_TYPES[type_].settings, *of_instances(CLOUD_TYPES[type_]))


def flag_of_list(key: str) -> str | None:
    """The flag that adds a value to a list of provisioners; None if the setting is no list that grows by values."""
    found = (setting for type_ in types() for setting in of_type(type_) if setting.key == key)
    return next((setting.flag if setting.shape == "list" else None for setting in found), None)


def of_all() -> tuple[Setting, Setting]:
    """The two settings of every provisioner."""
    return (
        Setting(
            "name",
            "text",
            "the provisioner's name",
            "The name for operators; unique, and in every certificate that is issued under it: at most 48 characters.",
            name,
            required=True,
        ),
        Setting(
            "type",
            "text",
            f"one of {', '.join(types())}",
            f"The instances' cloud, or {TYPE} for hosts in none.",
            _type,
            required=True,
        ),
    )


def of_instances(cloud: CloudType) -> tuple[Setting, ...]:
    """The settings that provisioners of every cloud have, read by what this cloud proves."""
    facts = tuple(sorted({fact for entry in cloud.lists.values() for fact in entry.facts} | set(cloud.placeholders)))
    settings = (
        Setting(
            "formats",
            "order",
            "a list of formats of evidence",
            "A format of evidence to accept, most preferred first.",
            partial(_format, cloud=cloud),
            absent="the usual ones that prove what is demanded",
            flag="format",
            metavar="FORMAT",
        ),
        Setting(
            "instance_age",
            "duration",
            'a duration such as "1h"',
            "How long after its start an instance may prove itself for the first time, such as 1h.",
            duration,
            flag="instance-age",
            metavar="DURATION",
        ),
        Setting(
            "enrolment_lifetime",
            "duration",
            'a duration such as "7d"',
            "How long an instance's proof serves what it enrolled with 'acme-iid enroll'.",
            duration,
            flag="enrolment-lifetime",
            metavar="DURATION",
        ),
        Setting(
            "proof_lifetime",
            "duration",
            'a duration such as "24h"',
            "How long an instance's proof serves further orders of its account, which then take three requests and no "
            "evidence: at most 30d.",
            proof_lifetime,
            absent="0, each order is proven anew",
            flag="proof-lifetime",
            metavar="DURATION",
        ),
        Setting(
            "allow",
            "rules",
            "a list of names and of tables with names and when",
            "A name that instances may hold, with facts in braces and * for one whole label: "
            '"{instance_id}.vm.internal".',
            partial(template, placeholders=cloud.placeholders),
            absent="any name inside the CA's domains",
            flag="allow",
            metavar="NAME",
            facts=facts,
        ),
        Setting(
            "allow_wildcards",
            "rules",
            "a list of names and of tables with names and when",
            'A wildcard that they may hold: "*.apps.internal".',
            partial(template, placeholders=cloud.placeholders, wildcards=True),
            flag="allow-wildcard",
            metavar="NAME",
            facts=facts,
        ),
        Setting(
            "networks",
            "list",
            'a list of networks such as ["10.0.0.0/8"]',
            "Believe private addresses, and names made of them, inside this only.",
            network,
            flag="network",
            metavar="CIDR",
        ),
        _PROFILES,
        Setting(
            "disable_custom_sans",
            "switch",
            "true or false",
            "Only names that follow from the evidence.",
            flag="disable-custom-sans",
        ),
        Setting(
            "disable_trust_on_first_use",
            "switch",
            "true or false",
            "Do not tie an instance to the first account that proves it.",
            flag="disable-trust-on-first-use",
        ),
    )
    return _with_defaults(settings, Provisioner)


def of_hosts() -> tuple[Setting, ...]:
    """The settings of provisioners for hosts."""
    settings = (
        Setting(
            "challenges",
            "list",
            f"a list of challenges, of {', '.join(CHALLENGES)}",
            f"A challenge by which hosts may prove names: {', '.join(CHALLENGES)}.",
            _challenge,
            flag="challenge",
            metavar="TYPE",
        ),
        Setting(
            "allow",
            "list",
            'a list of names such as ["*.web.internal"]',
            "A name that hosts may prove, with * for one whole label.",
            _rule,
            absent="any name inside the CA's domains",
            flag="allow",
            metavar="NAME",
        ),
        Setting(
            "allow_wildcards",
            "switch",
            "true or false",
            "Wildcards too, by challenges in the DNS.",
            flag="allow-wildcards",
        ),
        Setting(
            "networks",
            "list",
            'a list of networks such as ["10.0.0.0/8"]',
            "Where the hosts are: validation connects to nothing else.",
            network,
            flag="network",
            metavar="CIDR",
        ),
        Setting(
            "resolver",
            "list",
            'a list of name servers such as ["10.0.0.53:53"]',
            "A name server to ask: at most 8.",
            name_server,
            absent="the system's",
            flag="resolver",
            metavar="ADDRESS[:PORT]",
        ),
        Setting("http_port", "port", _PORT, "Where http-01 is answered.", flag="http-port", metavar="PORT"),
        Setting("tls_port", "port", _PORT, "Where tls-alpn-01 is answered.", flag="tls-port", metavar="PORT"),
        Setting("caa", "switch", "true or false", "Heed CAA records (RFC 8659).", flag="caa"),
        _PROFILES,
    )
    return _with_defaults(settings, HostProvisioner)


_PROFILES = Setting(
    "profiles",
    "list",
    "a list of names of [profile.NAME] tables",
    "A certificate profile that they may have.",
    absent="all",
    flag="profile",
    metavar="NAME",
)


def _with_defaults(settings: Iterable[Setting], holder: type[Provisioner | HostProvisioner]) -> tuple[Setting, ...]:
    defaults = {field.name: None if field.default is MISSING else field.default for field in fields(holder)}
    return tuple(replace(setting, default=defaults[setting.key]) for setting in settings)


def _type(text: str) -> str:
    if text.upper() not in types():
        raise ValueError(f"{text!r} is not a known type; the types are {', '.join(types())}")
    return text.upper()


def _format(text: str, cloud: CloudType) -> str:
    if text not in cloud.formats:
        raise ValueError(f"{text!r} is not a format of type {cloud.type}; the formats are {', '.join(cloud.formats)}")
    return text


def _challenge(text: str) -> str:
    if text not in CHALLENGES:
        raise ValueError(f"{text!r} is no challenge of this type; there are {', '.join(CHALLENGES)}")
    return text


def _rule(text: str) -> NameRule:
    # Nothing is known of a host but its names.
    return NameRule(template(text, ()))


def name_server(text: str) -> Listen:
    """Return the name server in "address:port" or "address"; port 53 if none is given.

    :raises ValueError: if the text is no address. A name is refused, since nothing could resolve it.
    """
    try:
        return Listen(str(ipaddress.ip_address(text)), _DNS_PORT)
    except ValueError:
        pass
    try:
        server = listen_address(text)
        if server.port:
            return Listen(str(ipaddress.ip_address(server.host)), server.port)
    except ValueError:
        pass
    raise ValueError(f"{text!r} is no name server; write its address, for example 10.0.0.53 or [fd00::53]:5353")
