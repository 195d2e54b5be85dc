"""The reader of ca.toml: text in, settings out; an invalid value is an error that says what would be right.

Nothing is guessed and nothing is ignored: a misspelt key in a security setting must not quietly leave
the default in force, so an unknown key is an error that names the nearest known one.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path

from acme_iid.config import host_provisioners, instance_provisioners, limit_settings, profiles, store_settings
from acme_iid.config.parsers import domain, duration, listen_address, name, network, own_name, page_url, server_url
from acme_iid.config.settings import CASettings, Config, Retention, ServerSettings
from acme_iid.config.table import ConfigError, Table
from acme_iid.policy.hosts import PERSISTENT
from acme_iid.protocol import jwk
from acme_iid.protocol.addresses import Listen
from acme_iid.protocol.public_keys import KEY_TYPES, RSA_BITS, KeyPolicy

FILE_NAME = "ca.toml"
_KEEP_ALIVE = (5, 3600)
HOME_VARIABLE = "ACME_IID_CA_HOME"
MAX_FILE_BYTES = 1024 * 1024


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
    instances = instance_provisioners.read_all(of_clouds, home)
    _check_names(tables, names)
    config = Config(
        home,
        *settings,
        limits=limits,
        retention=retention,
        provisioners=instances,
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
