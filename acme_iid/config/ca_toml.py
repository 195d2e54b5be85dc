"""The reader of ca.toml: text in, settings out; an invalid value is an error that says what would be right.

Nothing is guessed and nothing is ignored: a misspelt key in a security setting must not quietly leave
the default in force, so an unknown key is an error that names the nearest known one.
"""

from __future__ import annotations

import tomllib
from functools import partial
from pathlib import Path

from acme_iid.config import (
    admin_settings,
    former_keys,
    host_provisioners,
    instance_provisioners,
    limit_settings,
    metrics_settings,
    profiles,
    setting_reader,
    sink_settings,
    status_settings,
    store_settings,
)
from acme_iid.config.locations import FILE_NAME
from acme_iid.config.parsers import one_of
from acme_iid.config.settings import DEFAULT_LIFETIMES, CASettings, Config, Retention, ServerSettings
from acme_iid.config.table import ConfigError, Table
from acme_iid.policy.hosts import PERSISTENT
from acme_iid.policy.setting import Setting, settings_of
from acme_iid.protocol.public_keys import KEY_TYPES, RSA_BITS, KeyPolicy

MAX_FILE_BYTES = 1024 * 1024


def load(home: Path, file: Path | None = None) -> Config:
    """Return the configuration of the CA in ``home``.

    :param file: its ca.toml; None for the one in the home.
    :raises ConfigError: if it is missing, unreadable, or is invalid.
    """
    file = (file or home / FILE_NAME).absolute()
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise ConfigError(
            f"{file} does not exist; 'acme-iid-ca init' makes a CA, --home and --config say where one is"
        ) from error
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from error
    return parse(data, home, file)


def parse(data: bytes, home: Path, file: Path | None = None) -> Config:
    """Return the configuration that ``data``, the bytes of a ca.toml, would give the CA in ``home``.

    Relative paths in it are the home's, wherever the file is.

    :param file: the ca.toml; None for the one in the home.
    :raises ConfigError: if it is invalid.
    """
    home = home.absolute()
    file = (file or home / FILE_NAME).absolute()
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"{file} is larger than {MAX_FILE_BYTES} bytes, the limit of a configuration")
    try:
        document = tomllib.loads(data.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{file} is not TOML: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{file} is not TOML: its values are nested too deep") from error
    former = former_keys.take_up(str(file), document)
    top = Table(str(file), "", document)
    ca, server, store = top.table("ca"), top.table("server"), top.table("store")
    limits, retention = limit_settings.read(top.table("limits")), _retention(top.table("retention"), home)
    status, metrics, admin = top.table("status"), top.table("metrics"), top.table("admin")
    tables, profile_tables = top.tables("provisioner"), top.named_tables("profile")
    sink_tables = top.tables("sink")
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
        file,
        *settings,
        limits=limits,
        retention=retention,
        status=status_settings.read(status, is_shown=settings[0].crl),
        metrics=metrics_settings.read(metrics),
        admin=admin_settings.read(admin, home, settings[0].alternate_chains),
        sinks=sink_settings.read_all(sink_tables, home),
        provisioners=instances,
        hosts=hosts,
        names=tuple(map(str, names)),
        profiles=tuple(profiles.read(name, table, settings[0].lifetimes) for name, table in profile_tables.items()),
        former_keys=former,
    )
    _check_profiles(top, config)
    _check_issuer(top, config)
    return config


def _check_profiles(top: Table, config: Config) -> None:
    """Refuse provisioners that name profiles without a table."""
    for entry in config.all_provisioners:
        for name in entry.profiles or ():
            if config.profile(name) is None:
                listed = ", ".join(str(profile.name) for profile in config.profiles) or "none"
                raise top.file_error(
                    f"{entry} names the profile {name!r} in profiles, and there is no [profile.{name}]; "
                    f"the profiles are: {listed}"
                )


def _check_issuer(top: Table, config: Config) -> None:
    """Refuse provisioners that go by this CA's name where it has none."""
    for host in config.hosts:
        if config.issuer_domain is None and (host.caa or PERSISTENT in host.challenges):
            raise top.file_error(
                f"{host} has {'caa' if host.caa else PERSISTENT}, which needs a name of this CA, and [server] url has "
                "only an address; give [ca] issuer_domain"
            )


KEY_SETTINGS = (
    Setting(
        "key_types",
        "list",
        "a list of kinds of keys",
        f"The kinds of keys that certificates may have, of {', '.join(KEY_TYPES)}.",
        partial(one_of, words=KEY_TYPES),
        absent="all of them",
    ),
    Setting(
        "minimum_rsa_bits",
        "number",
        "a number of bits",
        "The shortest RSA keys that certificates may have, at least 2048.",
        int,
        default=RSA_BITS[0],
    ),
    Setting(
        "maximum_rsa_bits",
        "number",
        "a number of bits",
        "The longest RSA keys that certificates may have, at most 8192.",
        int,
        default=RSA_BITS[1],
    ),
)
"""The settings of ``[ca]`` that are read into one :class:`~acme_iid.protocol.public_keys.KeyPolicy`."""


def _ca(table: Table, home: Path) -> CASettings:
    values = setting_reader.read(table, settings_of(CASettings))
    values["alternate_chains"] = tuple(home / path for path in values.get("alternate_chains", ()))
    settings = CASettings(lifetimes=profiles.lifetimes(table, DEFAULT_LIFETIMES), keys=_key_policy(table), **values)
    table.done()
    if not settings.account_algorithms:
        raise table.error("account_algorithms", "is empty, so no request could be signed; leave it out for all")
    return settings


def _key_policy(table: Table) -> KeyPolicy:
    values = setting_reader.read(table, KEY_SETTINGS)
    types = values.get("key_types", KEY_TYPES)
    bits = (values.get("minimum_rsa_bits", RSA_BITS[0]), values.get("maximum_rsa_bits", RSA_BITS[1]))
    if not types:
        raise table.error("key_types", "is empty, so no certificate could be issued; leave it out for all kinds")
    if not RSA_BITS[0] <= bits[0] <= bits[1] <= RSA_BITS[1]:
        raise table.error(
            "minimum_rsa_bits",
            f"{bits[0]} to {bits[1]} (maximum_rsa_bits) is no range between {RSA_BITS[0]} and {RSA_BITS[1]} bits",
        )
    return KeyPolicy(types, bits)


def _server(table: Table) -> ServerSettings:
    settings = ServerSettings(**setting_reader.read(table, settings_of(ServerSettings)))
    table.done()
    if settings.url in settings.former_urls:
        raise table.error("former_urls", f"lists {settings.url}, which is the present 'url'")
    return settings


def _retention(table: Table, home: Path) -> Retention:
    values = setting_reader.read(table, settings_of(Retention))
    if "events_export" in values:
        values["events_export"] = home / values["events_export"]
    settings = Retention(**values)
    table.done()
    if settings.events is not None and settings.events_export is None:
        raise table.error("events_export", "is missing; events go only once they are in a file in this directory")
    if settings.events is None and settings.events_export is not None:
        raise table.error("events_export", "is of no use without events, which says how long they stay")
    return settings


def _check_names(tables: list[Table], names: list[object]) -> None:
    for number, table in enumerate(tables):
        if names[number] in names[:number]:
            raise table.error("name", "another provisioner has this name; names are unique")
