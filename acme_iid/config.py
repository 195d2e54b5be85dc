"""ca.toml, read into frozen facts; whatever cannot be meant is an error that says what would be right.

Nothing is guessed and nothing is ignored: a misspelt key in a security setting must not quietly leave
the default in force, so an unknown key is an error that names the nearest known one.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from acme_iid import host_provisioners, provisioners
from acme_iid.admission import Provisioner
from acme_iid.hosts import HostProvisioner
from acme_iid.protocol.identifiers import Identifier, from_text
from acme_iid.sources import TrustSources
from acme_iid.tables import ConfigError, Table
from acme_iid.values import Listen, Rate, domain, duration, listen_address, name, page_url, rate, server_url

FILE_NAME = "ca.toml"
HOME_VARIABLE = "ACME_IID_CA_HOME"
MAX_FILE_BYTES = 1024 * 1024
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_MAX_LIFETIME = 825 * _DAY  # what TLS clients accept at most, even from private CAs


@dataclass(frozen=True, slots=True)
class CASettings:
    """The table ``[ca]``.

    :ivar domains: canonical dns names; custom names stay inside these.
    :ivar lifetime: seconds a certificate is valid unless its order says otherwise.
    :ivar minimum_lifetime: the shortest an order may ask for, seconds.
    :ivar maximum_lifetime: the longest, seconds.
    :ivar terms_of_service: the URL of the terms that accounts must have agreed to; None where there are none.
    :ivar website: what tells people about this CA.
    :ivar external_account_required: whether an account takes a key from the operator.
    """

    name: str
    domains: tuple[str, ...]
    lifetime: int = _DAY
    minimum_lifetime: int = 5 * _MINUTE
    maximum_lifetime: int = _DAY
    terms_of_service: str | None = None
    website: str | None = None
    external_account_required: bool = False


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The table ``[server]``.

    :ivar url: the URL that clients use, canonical and without a trailing slash.
    """

    url: str
    listen: Listen

    @property
    def names(self) -> tuple[Identifier, ...]:
        """The identifiers for the server's own TLS certificate."""
        host = urlsplit(self.url).hostname
        assert host is not None
        return (from_text(host),)


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """The table ``[store]``: ``url`` is ``sqlite:`` and an absolute path."""

    url: str

    @property
    def path(self) -> Path:
        """The database file."""
        return Path(self.url.removeprefix("sqlite:"))


@dataclass(frozen=True, slots=True)
class Limits:
    """The table ``[limits]``; None for no limit.

    :ivar open_orders_per_account: how many orders an account may have that can still lead to a certificate.
    """

    accounts_per_address: Rate | None = None
    orders_per_account: Rate | None = None
    open_orders_per_account: int | None = None
    certificates_per_instance: Rate | None = None
    certificates_per_name: Rate | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """One ca.toml, complete and checked.

    :ivar provisioners: those for instances of a cloud.
    :ivar trust: where each provisioner's further keys come from, in the provisioners' order.
    :ivar hosts: the provisioners of type ACME.
    :ivar names: the names of all provisioners, in the order of ca.toml.
    """

    home: Path
    ca: CASettings
    server: ServerSettings
    store: StoreSettings
    provisioners: tuple[Provisioner, ...] = ()
    trust: tuple[TrustSources, ...] = ()
    hosts: tuple[HostProvisioner, ...] = ()
    limits: Limits = Limits()
    names: tuple[str, ...] = ()


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
    limits = _limits(top.table("limits"))
    tables = top.tables("provisioner")
    top.done()
    settings = _ca(ca), _server(server), _store(store, home)
    names = [table.look("name") for table in tables]
    of_hosts = [table for table in tables if host_provisioners.is_of_hosts(table)]
    of_clouds = [table for table in tables if not host_provisioners.is_of_hosts(table)]
    hosts = tuple(host_provisioners.read(table) for table in of_hosts)
    read = _provisioners(of_clouds, home)
    _check_names(tables, names)
    return Config(
        home,
        *settings,
        limits=limits,
        provisioners=tuple(provisioner for provisioner, _ in read),
        trust=tuple(sources for _, sources in read),
        hosts=hosts,
        names=tuple(map(str, names)),
    )


def _ca(table: Table) -> CASettings:
    defaults = CASettings("", ())
    settings = CASettings(
        name=table.text("name", "the CA's name", name),
        domains=table.texts("domains", 'a list of domains such as ["local"]', domain) or (),
        lifetime=table.text("lifetime", "a duration", duration, defaults.lifetime),
        minimum_lifetime=table.text("minimum_lifetime", "a duration", duration, defaults.minimum_lifetime),
        maximum_lifetime=table.text("maximum_lifetime", "a duration", duration, defaults.maximum_lifetime),
        terms_of_service=_page(table, "terms_of_service"),
        website=_page(table, "website"),
        external_account_required=table.flag("external_account_required"),
    )
    table.done()
    if settings.minimum_lifetime < _MINUTE:
        raise table.error("minimum_lifetime", "is below a minute, which no client can work with")
    if settings.maximum_lifetime > _MAX_LIFETIME:
        raise table.error("maximum_lifetime", "is above 825 days, which TLS clients refuse")
    if not settings.minimum_lifetime <= settings.lifetime <= settings.maximum_lifetime:
        raise table.error(
            "lifetime",
            f"{settings.lifetime} seconds is not between minimum_lifetime ({settings.minimum_lifetime} seconds) "
            f"and maximum_lifetime ({settings.maximum_lifetime} seconds)",
        )
    return settings


def _page(table: Table, key: str) -> str | None:
    value = table.take(key, str, "the URL of a page")
    return None if value is None else table.parsed(key, value, page_url)


def _server(table: Table) -> ServerSettings:
    settings = ServerSettings(
        url=table.text("url", 'the URL that clients use, such as "https://ca.local"', server_url),
        listen=table.text("listen", 'an address such as "0.0.0.0:443"', listen_address, Listen("0.0.0.0", 443)),  # noqa: S104 - a server's default
    )
    table.done()
    return settings


def _store(table: Table, home: Path) -> StoreSettings:
    def sqlite(text: str) -> StoreSettings:
        scheme, _, path = text.partition(":")
        if scheme != "sqlite" or not path or path.startswith("//") or "\0" in path:
            raise ValueError(f'{text!r} is no store; write "sqlite:" and a file, for example "sqlite:ca.db"')
        return StoreSettings(f"sqlite:{home / path}")

    settings = table.text("url", 'a store such as "sqlite:ca.db"', sqlite, StoreSettings(f"sqlite:{home / 'ca.db'}"))
    table.done()
    return settings


def _limits(table: Table) -> Limits:
    def limit(key: str) -> Rate | None:
        value = table.take(key, str, 'a rate such as "300/1h"')
        return None if value is None else table.parsed(key, value, rate)

    most = table.take("open_orders_per_account", int, "a number of orders, such as 100")
    if most is not None and most < 1:
        raise table.error("open_orders_per_account", "is below 1, so nobody could order anything")
    settings = Limits(
        accounts_per_address=limit("accounts_per_address"),
        orders_per_account=limit("orders_per_account"),
        open_orders_per_account=most,
        certificates_per_instance=limit("certificates_per_instance"),
        certificates_per_name=limit("certificates_per_name"),
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
