"""Provisioners of type ACME: hosts in no cloud, which prove each of their names by the standard challenges."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from acme_iid.policy.name_rules import NameRule
from acme_iid.policy.namespace import Namespace
from acme_iid.protocol.addresses import Listen, Network
from acme_iid.protocol.identifiers import Identifier

TYPE = "ACME"
"""The ``type`` in ca.toml."""

PERSISTENT = "dns-persist-01"
"""The challenge whose answer is the account's, and no order's."""
OF_DNS = ("dns-01", "dns-account-01", PERSISTENT)
"""Challenges that are answered in the DNS: the ones that can prove a wildcard."""
OF_HOSTS = ("http-01", "tls-alpn-01")
"""Challenges that are answered by the host itself: the ones that can prove an address (RFC 8738)."""
CHALLENGES = (*OF_HOSTS[:1], *OF_DNS[:1], *OF_HOSTS[1:], *OF_DNS[1:])


@dataclass(frozen=True, slots=True)
class HostProvisioner:
    """One ``[[provisioner]]`` of type ACME.

    :ivar name: its name for operators; unique, and in every certificate that is issued under it.
    :ivar challenges: the types of challenges that are offered.
    :ivar allow: the names that hosts may prove, as templates without placeholders; None for any in the CA's domains.
    :ivar allow_wildcards: whether a wildcard may be proven, by a challenge in the DNS.
    :ivar networks: the networks of the hosts: validation connects to these addresses only, and an address that is
        certified is in one of them. None for all but loopback, link-local and the like.
    :ivar resolver: the name servers that are asked; none for the system's.
    :ivar http_port: the port on which http-01 is answered.
    :ivar tls_port: the port on which tls-alpn-01 is answered.
    :ivar caa: whether CAA records are heeded (RFC 8659).
    :ivar profiles: the certificate profiles that hosts may have; None for all.
    """

    name: str
    challenges: tuple[str, ...]
    allow: tuple[NameRule, ...] | None = None
    allow_wildcards: bool = False
    networks: tuple[Network, ...] | None = None
    resolver: tuple[Listen, ...] = ()
    http_port: int = 80
    tls_port: int = 443
    caa: bool = False
    profiles: tuple[str, ...] | None = None

    def gives_profile(self, profile: str | None) -> bool:
        """Whether certificates of this profile are given; None stands for the profile of a CA without profiles."""
        return profile is None or self.profiles is None or profile in self.profiles

    def __str__(self) -> str:
        return f"provisioner {self.name!r}"

    def offers(self, namespace: Namespace, identifier: Identifier) -> tuple[str, ...]:
        """The types of challenges by which ``identifier`` can be proven under this provisioner; empty for none."""
        if namespace.refuses(identifier):
            return ()
        if identifier.type == "ip":
            address = ipaddress.ip_address(identifier.value)
            is_inside = self.networks is not None and any(address in network for network in self.networks)
            return tuple(entry for entry in self.challenges if entry in OF_HOSTS) if is_inside else ()
        if not namespace.contains(identifier) or not self._gives(identifier.base):
            return ()
        if identifier.wildcard:
            return tuple(entry for entry in self.challenges if entry in OF_DNS) if self.allow_wildcards else ()
        return self.challenges

    def _gives(self, identifier: Identifier) -> bool:
        return self.allow is None or any(rule.template.gives(identifier, {}) for rule in self.allow)
