"""The settings of a CA, frozen: what one ca.toml says, complete and checked."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from acme_iid.attestation.trust import GivenKeys
from acme_iid.config.limit_settings import Limits
from acme_iid.issuance.leaf import StatusURLs
from acme_iid.issuance.profiles import Lifetimes, Profile
from acme_iid.policy.hosts import HostProvisioner
from acme_iid.policy.instances import Provisioner
from acme_iid.policy.namespace import Namespace
from acme_iid.policy.policy import Policy
from acme_iid.protocol import jwk
from acme_iid.protocol.addresses import Listen, Network
from acme_iid.protocol.identifiers import Identifier, dns, from_text
from acme_iid.protocol.public_keys import CERTIFIED, KeyPolicy
from acme_iid.store.settings import StoreSettings

_LIFETIMES = Lifetimes(usual=24 * 3600, minimum=5 * 60, maximum=24 * 3600)


@dataclass(frozen=True, slots=True)
class CASettings:
    """The table ``[ca]``.

    :ivar domains: canonical dns names; custom names stay inside these.
    :ivar reserved: further names and addresses of the CA itself, such as those of proxies in front of it.
    :ivar lifetimes: of certificates, and of those profiles that do not give their own.
    :ivar keys: which keys get certificates.
    :ivar crl: whether certificates say where their status can be seen, and the server shows it: list and OCSP.
    :ivar alternate_chains: files with chains from the intermediate to other roots.
    :ivar account_algorithms: the JWS algorithms that requests of accounts are signed with (RFC 7518, RFC 8037).
    :ivar terms_of_service: the URL of the terms that accounts must have agreed to; None where there are none.
    :ivar website: what tells people about this CA.
    :ivar external_account_required: whether an account takes a key from the operator.
    :ivar issuer_domain: the CA's own name in CAA and dns-persist-01 records; None for the server's.
    """

    name: str
    domains: tuple[str, ...]
    lifetimes: Lifetimes = _LIFETIMES
    keys: KeyPolicy = CERTIFIED
    account_algorithms: tuple[str, ...] = jwk.ALGORITHMS
    terms_of_service: str | None = None
    website: str | None = None
    external_account_required: bool = False
    issuer_domain: str | None = None
    crl: bool = False
    alternate_chains: tuple[Path, ...] = ()
    reserved: tuple[Identifier, ...] = ()


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The table ``[server]``.

    :ivar url: the URL that clients use, canonical and without a trailing slash.
    :ivar proxies: where proxies are that are believed about whose request it is (X-Forwarded-For).
    :ivar former_urls: what ``url`` was before; clients that know accounts and orders by these find them again.
    :ivar keep_alive: seconds that a connection is kept on which no further request comes.
    """

    url: str
    listen: Listen
    proxies: tuple[Network, ...] = ()
    former_urls: tuple[str, ...] = ()
    keep_alive: int = 75

    @property
    def names(self) -> tuple[Identifier, ...]:
        """The identifiers for the server's own TLS certificate: the host of now first, then the former ones."""
        hosts = [urlsplit(url).hostname or "" for url in (self.url, *self.former_urls)]
        return tuple(dict.fromkeys(map(from_text, hosts)))


@dataclass(frozen=True, slots=True)
class Retention:
    """The table ``[retention]``: seconds that things stay in the store after their end.

    :ivar orders: orders that led to no certificate, authorizations that no order took, and external keys.
    :ivar certificates: certificates with their orders, and enrolments.
    """

    orders: int = 7 * 86400
    certificates: int = 90 * 86400


@dataclass(frozen=True, slots=True)
class Config:
    """One ca.toml, complete and checked.

    :ivar provisioners: those for instances of a cloud.
    :ivar hosts: the provisioners of type ACME.
    :ivar names: the names of all provisioners, in the order of ca.toml.
    :ivar profiles: the certificates that orders ask for by name, the default first; none if there is one kind only.
    :ivar policy: what follows from domains and provisioners: who is given which name.
    """

    home: Path
    ca: CASettings
    server: ServerSettings
    store: StoreSettings
    provisioners: tuple[Provisioner, ...] = ()
    hosts: tuple[HostProvisioner, ...] = ()
    limits: Limits = field(default_factory=Limits)
    retention: Retention = Retention()
    names: tuple[str, ...] = ()
    profiles: tuple[Profile, ...] = ()
    policy: Policy = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names = _namespace(
            self.ca.domains, self.server.names, self.server.listen, self.ca.issuer_domain, self.ca.reserved
        )
        object.__setattr__(self, "policy", Policy(names, self.provisioners, self.hosts))

    def status_urls(self, issuer: str) -> StatusURLs | None:
        """What certificates say of where their status can be seen; None if it is not shown.

        :param issuer: the short id of the one that signs them.
        """
        url = self.server.url
        return StatusURLs(f"{url}/crl/{issuer}", f"{url}/ocsp", f"{url}/issuer/{issuer}.cer") if self.ca.crl else None

    @property
    def all_provisioners(self) -> tuple[Provisioner | HostProvisioner, ...]:
        """Those for instances, and then those for hosts."""
        return (*self.provisioners, *self.hosts)

    @property
    def given_keys(self) -> Mapping[str, Sequence[GivenKeys]]:
        """The keys that provisioners' operators give, by the cloud that they are for."""
        given: dict[str, list[GivenKeys]] = {}
        for entry in self.provisioners:
            given.setdefault(entry.cloud_type.cloud, []).append(entry.keys)
        return given

    @property
    def default_profile(self) -> Profile:
        """The first profile, or what a CA without profiles issues."""
        return self.profiles[0] if self.profiles else Profile(None, "", self.ca.lifetimes)

    def profile(self, name: str | None) -> Profile | None:
        """The profile of this name, or None if there is none; for None as a name the default one."""
        if name is None:
            return self.default_profile
        return next((profile for profile in self.profiles if profile.name == name), None)

    @property
    def namespace(self) -> Namespace:
        """The names that certificates may hold: those in the domains, and no name or address of the CA itself."""
        return self.policy.namespace

    @property
    def issuer_domain(self) -> str | None:
        """The CA's own name in CAA and dns-persist-01 records; None if it has but an address."""
        server = self.server.names[0]
        return self.ca.issuer_domain or (server.value if server.type == "dns" else None)


def _namespace(
    domains: tuple[str, ...],
    server: tuple[Identifier, ...],
    listen: Listen,
    issuer_domain: str | None,
    reserved: tuple[Identifier, ...],
) -> Namespace:
    # An interface's zone is no part of an address in a certificate.
    listening = from_text(listen.host.partition("%")[0])
    everywhere = listening.type == "ip" and ipaddress.ip_address(listening.value).is_unspecified
    own = {*server, *reserved, *([] if everywhere else [listening]), *([dns(issuer_domain)] if issuer_domain else [])}
    return Namespace(domains, frozenset(own))
