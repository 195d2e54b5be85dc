"""The names that this CA issues at all: those in its domains that its certificates permit, and none of its own.

Decision 17 has the reasons for the last part.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

from acme_iid.errors import AcmeError, Fault, Problem, Remedy
from acme_iid.policy.clouds import is_cloud_name
from acme_iid.policy.name_constraints import NameConstraints
from acme_iid.protocol.identifiers import Identifier


@dataclass(frozen=True, slots=True)
class Namespace:
    """The names of one CA.

    :ivar domains: canonical dns names; a name that somebody chooses is one of these or below one.
    :ivar reserved: the names and addresses of the CA itself. Its serving certificate holds them, and no other does.
    :ivar constraints: returns those of the certificates above a leaf, each of which must permit its names. It is asked
        each time, since the issuer that signs can become another one.
    """

    domains: tuple[str, ...] = ()
    reserved: frozenset[Identifier] = frozenset()
    constraints: Callable[[], Sequence[NameConstraints]] = tuple

    def contains(self, identifier: Identifier) -> bool:
        """Whether a name, or the base of a wildcard, is one of the domains or below one."""
        value = identifier.value
        return any(identifier.base.value == domain or value.endswith("." + domain) for domain in self.domains)

    def outside(self, identifier: Identifier) -> str:
        """The reason to refuse a name that no domain contains."""
        reason = f"{identifier} is outside this CA's domains ({', '.join(self.domains) or 'none'}); an operator "
        closed = self._closed_by(identifier)
        if not closed:
            return f"{reason}adds a domain to [ca] domains in ca.toml"
        if not closed[-1].rotates:
            return f"{reason}cannot add it: {closed[-1].refusal(identifier)}"
        return (
            f"{reason}makes an issuer for a further domain (acme-iid-ca issuer rotate prepare --domain DOMAIN), "
            "activates it, and adds the domain to [ca] domains in ca.toml"
        )

    def refuses(self, identifier: Identifier) -> bool:
        """Whether no certificate is issued for a name, whatever a provisioner says."""
        return self.refusal(identifier) is not None

    def refusal(self, identifier: Identifier) -> str | None:
        """The reason to refuse a name that is the CA's own or covers one, or that its chain does not permit.

        None for any other name.
        """
        own = self._reserved_by(identifier)
        if own is None:
            return self._refusal_of_chain(identifier)
        what = "it is" if not identifier.wildcard else f"it covers {own},"
        thing = "an address" if own.type == "ip" else "a name"
        return (
            f"{identifier} is reserved: {what} {thing} of this CA itself, and nobody else gets a certificate for it; "
            "order another name. (For a proxy in front of the CA, its operator runs 'acme-iid-ca serving-certificate')"
        )

    def require_issuable(self, identifiers: Collection[Identifier]) -> None:
        """Refuse names that are the CA's own or cover one, and names that its chain does not permit.

        :raises AcmeError: ``rejectedIdentifier``, with a subproblem for each of them.
        """
        faults = [
            Fault(Problem.REJECTED_IDENTIFIER, reason, identifier, Remedy.OPERATOR)
            for identifier in identifiers
            if (reason := self.refusal(identifier)) is not None
        ]
        if faults:
            raise AcmeError(
                Problem.REJECTED_IDENTIFIER,
                "; ".join(fault.detail for fault in faults[:5]),
                subproblems=faults,
                remedy=Remedy.OPERATOR,
            )

    def _refusal_of_chain(self, identifier: Identifier) -> str | None:
        """The reason why the CA's chain does not permit a name, and the remedy; None if it does."""
        closed = self._closed_by(identifier)
        if not closed:
            return None
        of_cloud = identifier.type == "dns" and is_cloud_name(identifier.value)
        if identifier.type == "dns" and not of_cloud and not self.contains(identifier):
            return self.outside(identifier)
        if of_cloud and "." not in identifier.value:
            remedy = "a bare instance id is in no domain, so a CA with name constraints offers none; order another name"
        else:
            # The one that is nearest to the root is the hardest to replace.
            remedy = closed[-1].remedy(identifier)
        return f"{closed[0].refusal(identifier)}; {remedy}"

    def _closed_by(self, identifier: Identifier) -> list[NameConstraints]:
        """The constraints that do not permit a name, from the issuer up."""
        return [entry for entry in self.constraints() if entry.refusal(identifier) is not None]

    def _reserved_by(self, identifier: Identifier) -> Identifier | None:
        for own in self.reserved:
            if own.type == identifier.type and _speaks_for(identifier, own):
                return own
        return None


def _speaks_for(identifier: Identifier, own: Identifier) -> bool:
    if identifier.type == "ip":
        return _address(identifier.value) == _address(own.value)
    if identifier.wildcard:
        # It stands for exactly one label (RFC 6125 section 6.4.3): *.local covers ca.local, *.ca.local does not.
        return own.value.partition(".")[2] == identifier.base.value
    return identifier == own


@lru_cache(maxsize=1024)
def _address(value: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The address, an IPv4 one also where it is written as IPv6 (RFC 4291 section 2.5.5.2): both reach one host."""
    address = ipaddress.ip_address(value)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return address if mapped is None else mapped
