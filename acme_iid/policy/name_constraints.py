"""Name constraints: which names and addresses a CA certificate permits below it (RFC 5280 section 4.2.1.10)."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from acme_iid.protocol.addresses import Network
from acme_iid.protocol.identifiers import Identifier


@dataclass(frozen=True, slots=True)
class NameConstraints:
    """The constraints of one CA certificate, as far as they are about names and addresses.

    A constraint ``example.com`` is about that name and all below it, ``.example.com`` about those below it only, and an
    empty one about every name.

    :ivar holder: the certificate, in words.
    :ivar permitted_domains: a name is in one of these subtrees; None if any name is permitted.
    :ivar excluded_domains: a name is in none of these subtrees.
    :ivar permitted_networks: an address is in one of these; None if any address is permitted.
    :ivar excluded_networks: an address is in none of these.
    :ivar rotates: whether the CA's operator can replace the certificate by a next issuer.
    """

    holder: str
    permitted_domains: tuple[str, ...] | None = None
    excluded_domains: tuple[str, ...] = ()
    permitted_networks: tuple[Network, ...] | None = None
    excluded_networks: tuple[Network, ...] = ()
    rotates: bool = False

    def refusal(self, identifier: Identifier) -> str | None:
        """The reason why no chain with this certificate is valid for a name or an address; None if one is."""
        if identifier.type == "ip":
            return self._refusal_of_address(identifier)
        # A star is a label like any other: *.example.com is below example.com, and in no subtree below that.
        for domain in self.excluded_domains:
            if _contains(domain, identifier.value):
                return f"{self.holder} excludes {_below(domain)}, and {identifier} is one of them"
            if _covers(identifier, domain):
                return f"{self.holder} excludes {_below(domain)}, and {identifier} covers {domain}"
        permitted = self.permitted_domains
        if permitted is not None and not any(_contains(domain, identifier.value) for domain in permitted):
            return f"{self.holder} permits {' or '.join(map(_below, permitted))}, not {identifier}"
        return None

    def refusal_of_domain(self, domain: str) -> str | None:
        """The reason why a domain is wider than this; None if names below it are permitted.

        Names that are excluded deeper in the domain are refused one by one.

        :param domain: a canonical dns name; the name itself may be left out.
        """
        for excluded in self.excluded_domains:
            if _contains(excluded, domain) or excluded == f".{domain}":
                return f"{self.holder} excludes {_below(excluded)}"
        permitted = self.permitted_domains
        if permitted is None or any(_contains(entry, domain) or entry == f".{domain}" for entry in permitted):
            return None
        return f"{self.holder} permits {' or '.join(map(_below, permitted))}, not {domain}"

    def remedy(self, identifier: Identifier) -> str:
        """What an operator can do for a name or an address that is not permitted, as a clause."""
        if not self.rotates:
            return f"only another certificate in the place of {self.holder} can permit it"
        wider = "--permit-network NETWORK" if identifier.type == "ip" else "--domain DOMAIN"
        return f"an operator permits more by the next issuer (acme-iid-ca issuer rotate prepare {wider})"

    def _refusal_of_address(self, identifier: Identifier) -> str | None:
        address = ipaddress.ip_address(identifier.value)
        # An address is in no network of the other version, IPv4-mapped or not.
        for network in self.excluded_networks:
            if address in network:
                return f"{self.holder} excludes addresses in {network}, and {identifier} is one of them"
        permitted = self.permitted_networks
        if permitted is not None and not any(address in network for network in permitted):
            return f"{self.holder} permits addresses in {' or '.join(map(str, permitted))}, not {identifier}"
        return None


def _contains(domain: str, name: str) -> bool:
    """Whether a subtree contains a name: the domain itself, or the domain with labels before it."""
    if domain.startswith("."):
        return name.endswith(domain)
    return not domain or name == domain or name.endswith(f".{domain}")


def _covers(identifier: Identifier, domain: str) -> bool:
    """Whether a wildcard covers the name at the top of a subtree, so that a certificate for it would speak for that."""
    return identifier.wildcard and not domain.startswith(".") and domain.partition(".")[2] == identifier.base.value


def _below(domain: str) -> str:
    return f"names below {domain.removeprefix('.')}" if domain else "all names"
