"""The settings of a CA, frozen: what one ca.toml says, complete and checked."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from acme_iid.attestation.trust import GivenKeys
from acme_iid.config import parsers
from acme_iid.config.admin_settings import AdminSettings
from acme_iid.config.former_keys import FormerKey
from acme_iid.config.limit_settings import Limits
from acme_iid.config.locations import Location
from acme_iid.config.metrics_settings import MetricsSettings
from acme_iid.config.sink_settings import SinkSettings
from acme_iid.config.status_settings import StatusSettings
from acme_iid.issuance.leaf import StatusURLs
from acme_iid.issuance.profiles import Lifetimes, Profile
from acme_iid.policy.hosts import HostProvisioner
from acme_iid.policy.instances import Provisioner
from acme_iid.policy.name_constraints import NameConstraints
from acme_iid.policy.namespace import Namespace
from acme_iid.policy.policy import Policy
from acme_iid.policy.setting import described
from acme_iid.protocol import jwk
from acme_iid.protocol.addresses import Listen, Network
from acme_iid.protocol.identifiers import Identifier, dns, from_text
from acme_iid.protocol.public_keys import CERTIFIED, KeyPolicy
from acme_iid.store.settings import StoreSettings

DEFAULT_LIFETIMES = Lifetimes(usual=24 * 3600, minimum=5 * 60, maximum=24 * 3600)


@dataclass(frozen=True, slots=True)
class CASettings:
    """The table ``[ca]``.

    :ivar lifetimes: of certificates, and of those profiles that do not give their own.
    :ivar keys: which keys get certificates.
    """

    name: str = field(
        metadata=described(
            "the CA's name", "The CA's name, which its certificates have too: at most 48 characters.", parsers.name
        )
    )
    domains: tuple[str, ...] = field(
        default=(),
        metadata=described(
            'a list of domains such as ["local"]',
            "Names that clients choose stay inside these domains, whatever a provisioner allows.",
            parsers.domain,
            "list",
        ),
    )
    lifetimes: Lifetimes = DEFAULT_LIFETIMES
    keys: KeyPolicy = CERTIFIED
    account_algorithms: tuple[str, ...] = field(
        default=jwk.ALGORITHMS,
        metadata=described(
            "a list of JWS algorithms",
            f"The algorithms that accounts may sign requests with, of {', '.join(jwk.ALGORITHMS)}.",
            partial(parsers.one_of, words=jwk.ALGORITHMS),
            "list",
            absent="all of them",
        ),
    )
    terms_of_service: str | None = field(
        default=None,
        metadata=described(
            "the URL of a page", "Terms that accounts must agree to, and again when this changes.", parsers.page_url
        ),
    )
    website: str | None = field(
        default=None,
        metadata=described("the URL of a page", "A page that tells people about this CA.", parsers.page_url),
    )
    external_account_required: bool = field(
        default=False,
        metadata=described("true or false", "A new account needs a key from the operator.", shape="switch"),
    )
    issuer_domain: str | None = field(
        default=None,
        metadata=described(
            "the CA's own domain name",
            "The CA's name in CAA and dns-persist-01 records.",
            parsers.domain,
            absent="the host in [server] url",
        ),
    )
    crl: bool = field(
        default=False,
        metadata=described(
            "true or false",
            "Certificates say where their status can be seen, and the server shows it: list and OCSP.",
            shape="switch",
        ),
    )
    alternate_chains: tuple[Path, ...] = field(
        default=(),
        metadata=described(
            "a list of files",
            "Chains from the intermediate to other roots, as acme-iid-ca cross-sign makes them.",
            Path,
            "list",
        ),
    )
    reserved: tuple[Identifier, ...] = field(
        default=(),
        metadata=described(
            'a list of names and addresses such as ["ca.local", "10.0.0.5"]',
            "Further names and addresses of the CA itself, such as those of proxies in front of it. "
            "Nobody gets a certificate for them.",
            parsers.own_name,
            "list",
        ),
    )


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The table ``[server]``."""

    url: str = field(
        metadata=described(
            'the URL that clients use, such as "https://ca.local"',
            "Every address in the protocol begins with it.",
            parsers.server_url,
        )
    )
    listen: Listen = field(
        default=Listen("0.0.0.0", 443),  # noqa: S104 - a server's default
        metadata=described(
            'an address such as "0.0.0.0:443"', "The address on which the server listens.", parsers.listen_address
        ),
    )
    proxies: tuple[Network, ...] = field(
        default=(),
        metadata=described(
            'a list of networks such as ["127.0.0.1"]',
            "Proxies in these networks are believed about the sender of a request (X-Forwarded-For).",
            parsers.network,
            "list",
        ),
    )
    former_urls: tuple[str, ...] = field(
        default=(),
        metadata=described(
            'a list of URLs such as ["https://old.local"]',
            "Earlier values of url; clients that know accounts and orders by these find them again.",
            parsers.server_url,
            "list",
        ),
    )
    keep_alive: int = field(
        # Longer than the minute for which proxies and load balancers keep theirs: no request meets a closed connection.
        default=75,
        metadata=described(
            'a duration such as "75s"',
            "The time that an idle connection is kept, from 5s to 1h.",
            partial(parsers.bounded_duration, least=5, most=3600, otherwise="must be from 5s to 1h"),
            "duration",
        ),
    )

    @property
    def names(self) -> tuple[Identifier, ...]:
        """The identifiers for the server's own TLS certificate: the present host first, then the former ones."""
        hosts = [urlsplit(url).hostname or "" for url in (self.url, *self.former_urls)]
        return tuple(dict.fromkeys(map(from_text, hosts)))


@dataclass(frozen=True, slots=True)
class Retention:
    """The table ``[retention]``: seconds that things stay in the store after their end."""

    orders: int = field(
        default=7 * 86400,
        metadata=described(
            'a duration such as "7d"',
            "The time that orders without a certificate, authorizations without an order and external keys stay after "
            "their end, at least 1h.",
            partial(
                parsers.bounded_duration,
                least=3600,
                otherwise="must be at least 1h, because clients still read orders after they end",
            ),
            "duration",
        ),
    )
    certificates: int = field(
        default=90 * 86400,
        metadata=described(
            'a duration such as "7d"',
            "The time that certificates with their orders, and enrolments, stay after their end, at least 1d.",
            partial(
                parsers.bounded_duration,
                least=86400,
                otherwise="must be at least 1d, because revocation lists are relied on for a day",
            ),
            "duration",
        ),
    )

    events: int | None = field(
        default=None,
        metadata=described(
            'a duration such as "400d"',
            "The time that events stay, at least 30d. Older ones go once they are in a file below events_export, and "
            "their place in the chain is signed.",
            partial(
                parsers.bounded_duration,
                least=30 * 86400,
                otherwise="must be at least 30d, because operators look for instances by their events",
            ),
            "duration",
            absent="they stay for good",
        ),
    )
    events_export: Path | None = field(
        default=None,
        metadata=described(
            "a directory",
            "Where events are written before they go from the store; each server that may have them go needs it.",
            Path,
            absent="none; events needs it",
        ),
    )


@dataclass(frozen=True, slots=True)
class Config:
    """One ca.toml, complete and checked.

    :ivar home: where keys and the store are, and what relative paths begin from.
    :ivar file: the ca.toml.
    :ivar provisioners: those for instances of a cloud.
    :ivar hosts: the provisioners of type ACME.
    :ivar sinks: where events are sent to.
    :ivar names: the names of all provisioners, in the order of ca.toml.
    :ivar profiles: the profiles that orders ask for by name, the default first; empty for a CA without profiles.
    :ivar former_keys: the former names of keys that ca.toml has.
    :ivar constraints: returns the name constraints of the certificates above a leaf. They are not in ca.toml: the
        loader of the certificates adds them.
    :ivar policy: the policy that follows from domains, constraints and provisioners.
    """

    home: Path
    file: Path
    ca: CASettings
    server: ServerSettings
    store: StoreSettings
    provisioners: tuple[Provisioner, ...] = ()
    hosts: tuple[HostProvisioner, ...] = ()
    limits: Limits = field(default_factory=Limits)
    retention: Retention = Retention()
    status: StatusSettings = field(default_factory=StatusSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    admin: AdminSettings = field(default_factory=AdminSettings)
    sinks: tuple[SinkSettings, ...] = ()
    names: tuple[str, ...] = ()
    profiles: tuple[Profile, ...] = ()
    former_keys: tuple[FormerKey, ...] = ()
    constraints: Callable[[], Sequence[NameConstraints]] = tuple
    policy: Policy = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        own = _own_names(self.server.names, self.server.listen, self.ca.issuer_domain, self.ca.reserved)
        names = Namespace(self.ca.domains, own, self.constraints)
        object.__setattr__(self, "policy", Policy(names, self.provisioners, self.hosts))

    def status_urls(self, issuer: str) -> StatusURLs | None:
        """What certificates say of where their status can be seen; None if it is not shown.

        :param issuer: the short id of the one that signs them.
        """
        if not self.shows_status:
            return None
        status, base = self.status, self.status.base(self.server.url)
        return StatusURLs(
            (status.crl_url or f"{base}/crl/{{issuer}}").replace("{issuer}", issuer),
            status.ocsp_url or f"{base}/ocsp",
            (status.issuer_url or f"{base}/issuer/{{issuer}}.cer").replace("{issuer}", issuer),
        )

    @property
    def location(self) -> Location:
        """Where the CA's files are."""
        return Location(self.home, self.file)

    @property
    def shows_status(self) -> bool:
        """Whether certificates say where their status can be seen, and the server shows it."""
        return self.ca.crl or self.status.listen is not None

    @property
    def root_crl_url(self) -> str | None:
        """The URL of a root's revocation list, with {root} for its id; None if intermediates do not say it."""
        status = self.status
        by_listener = None if status.listen is None else f"{status.base(self.server.url)}/root-crl/{{root}}"
        return status.root_crl_url or by_listener

    @property
    def all_provisioners(self) -> tuple[Provisioner | HostProvisioner, ...]:
        """Those for instances, and then those for hosts."""
        return (*self.provisioners, *self.hosts)

    @property
    def sink_names(self) -> tuple[str, ...]:
        """The names of the sinks."""
        return tuple(sink.name for sink in self.sinks)

    @property
    def secret_files(self) -> tuple[Path, ...]:
        """The files that hold secrets in place of ca.toml."""
        return tuple(filter(None, (self.store.url_file, *(file for sink in self.sinks for file in sink.secret_files))))

    @property
    def given_keys(self) -> Mapping[str, Sequence[GivenKeys]]:
        """The keys that provisioners' operators give, by the cloud that they are for."""
        by_cloud: dict[str, list[GivenKeys]] = {}
        for entry in self.provisioners:
            by_cloud.setdefault(entry.cloud_type.cloud, []).append(entry.keys)
        return by_cloud

    @property
    def default_profile(self) -> Profile:
        """The first profile, or what a CA without profiles issues."""
        return self.profiles[0] if self.profiles else Profile(None, "", self.ca.lifetimes)

    def profile(self, name: str | None) -> Profile | None:
        """The profile of a name, or None for an unknown name; the default profile for None."""
        if name is None:
            return self.default_profile
        return next((profile for profile in self.profiles if profile.name == name), None)

    @property
    def namespace(self) -> Namespace:
        """The names that certificates may hold."""
        return self.policy.namespace

    @property
    def issuer_domain(self) -> str | None:
        """The CA's own name in CAA and dns-persist-01 records; None if it has only an address."""
        server = self.server.names[0]
        return self.ca.issuer_domain or (server.value if server.type == "dns" else None)


def _own_names(
    server: tuple[Identifier, ...], listen: Listen, issuer_domain: str | None, reserved: tuple[Identifier, ...]
) -> frozenset[Identifier]:
    """The names and addresses of the CA itself."""
    # An interface's zone is no part of an address in a certificate.
    listening = from_text(listen.host.partition("%")[0])
    everywhere = listening.type == "ip" and ipaddress.ip_address(listening.value).is_unspecified
    named = [dns(issuer_domain)] if issuer_domain else []
    return frozenset({*server, *reserved, *([] if everywhere else [listening]), *named})
