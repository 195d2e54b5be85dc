"""ca.toml, read into frozen facts; whatever cannot be meant is an error that says what would be right.

Nothing is guessed and nothing is ignored: a misspelt key in a security setting must not quietly leave
the default in force, so an unknown key is an error that names the nearest known one.
"""

from __future__ import annotations

import ipaddress
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from acme_iid import host_provisioners, limit_settings, provisioners, store_settings
from acme_iid.admission import Provisioner
from acme_iid.hosts import PERSISTENT, HostProvisioner
from acme_iid.issuance import profiles
from acme_iid.issuance.leaf import StatusURLs
from acme_iid.issuance.profiles import Lifetimes, Profile
from acme_iid.limit_settings import Limits
from acme_iid.namespace import Namespace
from acme_iid.protocol import jwk
from acme_iid.protocol.identifiers import Identifier, dns, from_text
from acme_iid.protocol.public_keys import CERTIFIED, KEY_TYPES, RSA_BITS, KeyPolicy
from acme_iid.sources import TrustSources
from acme_iid.store_settings import StoreSettings
from acme_iid.tables import ConfigError, Table
from acme_iid.values import (
    Listen,
    Network,
    domain,
    duration,
    listen_address,
    name,
    network,
    own_name,
    page_url,
    server_url,
)

FILE_NAME = "ca.toml"
_KEEP_ALIVE = (5, 3600)
HOME_VARIABLE = "ACME_IID_CA_HOME"
MAX_FILE_BYTES = 1024 * 1024
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
    :ivar trust: where each provisioner's further keys come from, in the provisioners' order.
    :ivar hosts: the provisioners of type ACME.
    :ivar names: the names of all provisioners, in the order of ca.toml.
    :ivar profiles: the certificates that orders ask for by name, the default first; none if there is one kind only.
    """

    home: Path
    ca: CASettings
    server: ServerSettings
    store: StoreSettings
    provisioners: tuple[Provisioner, ...] = ()
    trust: tuple[TrustSources, ...] = ()
    hosts: tuple[HostProvisioner, ...] = ()
    limits: Limits = field(default_factory=Limits)
    retention: Retention = Retention()
    names: tuple[str, ...] = ()
    profiles: tuple[Profile, ...] = ()

    @property
    def status_urls(self) -> StatusURLs | None:
        """What certificates say of where their status can be seen; None if it is not shown."""
        url = self.server.url
        return StatusURLs(f"{url}/crl", f"{url}/ocsp", f"{url}/intermediate.cer") if self.ca.crl else None

    @property
    def all_provisioners(self) -> tuple[Provisioner | HostProvisioner, ...]:
        """Those for instances, and then those for hosts."""
        return (*self.provisioners, *self.hosts)

    @property
    def default_profile(self) -> Profile:
        """The first profile, or what a CA without profiles issues."""
        return self.profiles[0] if self.profiles else Profile(None, "", self.ca.lifetimes)

    def profile(self, name: str | None) -> Profile | None:
        """The profile of this name, or None if there is none; for None as a name the default one."""
        if name is None:
            return self.default_profile
        return next((profile for profile in self.profiles if profile.name == name), None)

    def giving(self, profile: str | None) -> Config:
        """The configuration with those provisioners only that give certificates of this profile; ``trust`` stays."""
        return replace(
            self,
            provisioners=tuple(entry for entry in self.provisioners if entry.gives_profile(profile)),
            hosts=tuple(entry for entry in self.hosts if entry.gives_profile(profile)),
        )

    @property
    def namespace(self) -> Namespace:
        """The names that certificates may hold: those in the domains, and no name or address of the CA itself."""
        return _namespace(
            self.ca.domains, self.server.names, self.server.listen, self.ca.issuer_domain, self.ca.reserved
        )

    @property
    def issuer_domain(self) -> str | None:
        """The CA's own name in CAA and dns-persist-01 records; None if it has but an address."""
        server = self.server.names[0]
        return self.ca.issuer_domain or (server.value if server.type == "dns" else None)


@lru_cache(maxsize=16)
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


def default_home(environment: Mapping[str, str], uid: int) -> Path:
    """The CA's home: ``ACME_IID_CA_HOME``, else /etc/acme-iid-ca for root, else below the XDG config directory.

    :param uid: the effective user's.
    """
    if chosen := environment.get(HOME_VARIABLE):
        return Path(chosen)
    if uid == 0:
        return Path("/etc/acme-iid-ca")
    base = Path(environment.get("XDG_CONFIG_HOME", ""))
    # A relative XDG_CONFIG_HOME is invalid and to be ignored (XDG Base Directory Specification).
    if not base.is_absolute():
        base = Path(environment.get("HOME") or Path.home()) / ".config"
    return base / "acme-iid-ca"


def load(home: Path) -> Config:
    """Return the configuration in ``home``/ca.toml.

    :raises ConfigError: if it is missing, unreadable, or says what cannot be meant.
    """
    file = home.absolute() / FILE_NAME
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise ConfigError(f"{file} does not exist; 'acme-iid-ca init' makes a CA, --home says where one is") from error
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from error
    return parse(data, home)


def parse(data: bytes, home: Path) -> Config:
    """Return the configuration that ``data``, the bytes of a ca.toml, would give the CA in ``home``.

    :raises ConfigError: if it says what cannot be meant.
    """
    home = home.absolute()
    file = home / FILE_NAME
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"{file} is larger than {MAX_FILE_BYTES} bytes, which no configuration is")
    try:
        document = tomllib.loads(data.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{file} is not TOML: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{file} is not TOML: its values are nested too deep") from error
    top = Table(str(file), "", document)
    ca, server, store = top.table("ca"), top.table("server"), top.table("store")
    limits, retention = limit_settings.read(top.table("limits")), _retention(top.table("retention"))
    tables, kinds = top.tables("provisioner"), top.named_tables("profile")
    top.done()
    settings = _ca(ca, home), _server(server), store_settings.read(store, home)
    names = [table.look("name") for table in tables]
    of_hosts = [table for table in tables if host_provisioners.is_of_hosts(table)]
    of_clouds = [table for table in tables if not host_provisioners.is_of_hosts(table)]
    hosts = tuple(host_provisioners.read(table) for table in of_hosts)
    read = _provisioners(of_clouds, home)
    _check_names(tables, names)
    config = Config(
        home,
        *settings,
        limits=limits,
        retention=retention,
        provisioners=tuple(provisioner for provisioner, _ in read),
        trust=tuple(sources for _, sources in read),
        hosts=hosts,
        names=tuple(map(str, names)),
        profiles=tuple(profiles.read(kind, table, settings[0].lifetimes) for kind, table in kinds.items()),
    )
    _check_profiles(top, config)
    _check_issuer(top, config)
    return config


def _check_profiles(top: Table, config: Config) -> None:
    """Refuse provisioners that name profiles which there are not, and profiles that nobody gives."""
    for entry in config.all_provisioners:
        for wanted in entry.profiles or ():
            if config.profile(wanted) is None:
                listed = ", ".join(str(profile.name) for profile in config.profiles) or "none"
                raise top.refusal(
                    f"{entry} names the profile {wanted!r} in profiles, and there is no [profile.{wanted}]; "
                    f"the profiles are: {listed}"
                )


def _check_issuer(top: Table, config: Config) -> None:
    """Refuse provisioners that go by this CA's name where it has none."""
    for host in config.hosts:
        if config.issuer_domain is None and (host.caa or PERSISTENT in host.challenges):
            raise top.refusal(
                f"{host} has {'caa' if host.caa else PERSISTENT}, which takes a name of this CA, and its url has but "
                "an address; give [ca] issuer_domain"
            )


def _ca(table: Table, home: Path) -> CASettings:
    defaults = CASettings("", ())
    algorithms = table.texts("account_algorithms", "a list of JWS algorithms", lambda text: _of(text, jwk.ALGORITHMS))
    settings = CASettings(
        name=table.text("name", "the CA's name", name),
        domains=table.texts("domains", 'a list of domains such as ["local"]', domain) or (),
        reserved=table.texts("reserved", 'a list of names and addresses such as ["ca.local", "10.0.0.5"]', own_name)
        or (),
        lifetimes=profiles.lifetimes(table, defaults.lifetimes),
        keys=_key_policy(table),
        account_algorithms=jwk.ALGORITHMS if algorithms is None else algorithms,
        terms_of_service=_page(table, "terms_of_service"),
        website=_page(table, "website"),
        external_account_required=table.flag("external_account_required"),
        issuer_domain=table.text("issuer_domain", "the CA's own domain name", domain, "") or None,
        crl=table.flag("crl"),
        alternate_chains=table.texts("alternate_chains", "a list of files", lambda text: home / text) or (),
    )
    table.done()
    if not settings.account_algorithms:
        raise table.error("account_algorithms", "is empty, so no request could be signed; leave it out for all")
    return settings


def _page(table: Table, key: str) -> str | None:
    value = table.take(key, str, "the URL of a page")
    return None if value is None else table.parsed(key, value, page_url)


def _key_policy(table: Table) -> KeyPolicy:
    types = table.texts("key_types", "a list of kinds of keys", lambda text: _of(text, KEY_TYPES))
    least, most = (table.take(key, int, "a number of bits") for key in ("minimum_rsa_bits", "maximum_rsa_bits"))
    bits = (RSA_BITS[0] if least is None else least, RSA_BITS[1] if most is None else most)
    if types is not None and not types:
        raise table.error("key_types", "is empty, so no certificate could be issued; leave it out for all kinds")
    if not RSA_BITS[0] <= bits[0] <= bits[1] <= RSA_BITS[1]:
        raise table.error(
            "minimum_rsa_bits",
            f"{bits[0]} to {bits[1]} (maximum_rsa_bits) is no range between {RSA_BITS[0]} and {RSA_BITS[1]} bits",
        )
    return KeyPolicy(KEY_TYPES if types is None else types, bits)


def _of(text: str, known: Collection[str]) -> str:
    if text not in known:
        raise ValueError(f"{text!r} is not one of {', '.join(known)}")
    return text


def _server(table: Table) -> ServerSettings:
    settings = ServerSettings(
        url=table.text("url", 'the URL that clients use, such as "https://ca.local"', server_url),
        listen=table.text("listen", 'an address such as "0.0.0.0:443"', listen_address, Listen("0.0.0.0", 443)),  # noqa: S104 - a server's default
        proxies=table.texts("proxies", 'a list of networks such as ["127.0.0.1"]', network) or (),
        former_urls=table.texts("former_urls", 'a list of URLs such as ["https://old.local"]', server_url) or (),
        # Longer than the minute for which proxies and load balancers keep theirs: who closes first is not asked again.
        keep_alive=table.text("keep_alive", 'a duration such as "75s"', duration, 75),
    )
    table.done()
    if not _KEEP_ALIVE[0] <= settings.keep_alive <= _KEEP_ALIVE[1]:
        raise table.error("keep_alive", "is not from 5s to 1h")
    if settings.url in settings.former_urls:
        raise table.error("former_urls", f"has {settings.url}, which is the 'url' of now")
    return settings


def _retention(table: Table) -> Retention:
    def stay(key: str, least: int, usual: int, why: str) -> int:
        seconds = table.text(key, 'a duration such as "7d"', duration, usual)
        if seconds < least:
            raise table.error(key, f"is too short: {why}")
        return seconds

    defaults = Retention()
    settings = Retention(
        orders=stay("orders", 3600, defaults.orders, "clients look at what has ended; write at least 1h"),
        certificates=stay(
            "certificates", 86400, defaults.certificates, "revocation lists are relied on for a day; write at least 1d"
        ),
    )
    table.done()
    return settings


def _check_names(tables: list[Table], names: list[object]) -> None:
    for number, table in enumerate(tables):
        if names[number] in names[:number]:
            raise table.error("name", "another provisioner has this name; names are unique")


def _provisioners(tables: list[Table], home: Path) -> list[tuple[Provisioner, TrustSources]]:
    read: list[tuple[Provisioner, TrustSources]] = []
    accounts: dict[str, str] = {}
    for table in tables:
        provisioner, sources = provisioners.read(table, home)
        for issuer in sources.web_identity:
            if accounts.setdefault(issuer.issuer, issuer.account) != issuer.account:
                raise table.error("web_identity", f"another provisioner has {issuer.issuer} as another account's")
        read.append((provisioner, sources))
    return read
