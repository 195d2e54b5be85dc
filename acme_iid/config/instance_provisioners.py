"""The ``[[provisioner]]`` tables of ca.toml for instances of a cloud, read into rules and keys."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from acme_iid.attestation.keysets import KeySource, key_set, published
from acme_iid.attestation.registry import TRUST
from acme_iid.attestation.trust import GivenKeys, TokenIssuer
from acme_iid.config import provisioner_settings, setting_reader
from acme_iid.config.table import Table
from acme_iid.policy.clouds import CLOUD_TYPES
from acme_iid.policy.clouds.cloud_type import CloudType
from acme_iid.policy.instances import Provisioner
from acme_iid.policy.name_rules import Demand
from acme_iid.protocol.identifiers import lowered

MAX_FILE_BYTES = 1024 * 1024


def read_one(table: Table, home: Path) -> Provisioner:
    """Read one ``[[provisioner]]``: its rules and its keys.

    :raises ConfigError: if it is invalid.
    """
    values = setting_reader.read(table, provisioner_settings.of_all())
    cloud = CLOUD_TYPES[values["type"]]
    demands = _demands(table, cloud)
    keys = _keys(table, values["name"], cloud, home, demands)
    values |= setting_reader.read(table, provisioner_settings.of_instances(cloud))
    values.setdefault("formats", _usual_formats(cloud, demands, keys.given))
    provisioner = Provisioner(demands=demands, keys=keys, **values)
    table.done()
    _check(table, provisioner)
    return provisioner


def read_all(tables: Sequence[Table], home: Path) -> tuple[Provisioner, ...]:
    """Read several of one CA.

    :raises ConfigError: if one is invalid, or contradicts another one.
    """
    read: list[Provisioner] = []
    accounts: dict[str, str] = {}
    for table in tables:
        provisioner = read_one(table, home)
        for issuer in provisioner.keys.issuers:
            if accounts.setdefault(issuer.issuer, issuer.account) != issuer.account:
                (key,) = (key for key, setting in provisioner.cloud_type.sources.items() if setting.shape == "issuers")
                raise table.error(key, f"another provisioner has {issuer.issuer} as another account's")
        read.append(provisioner)
    return tuple(read)


def _demands(table: Table, cloud: CloudType) -> tuple[Demand, ...]:
    lists = cloud.lists
    values = setting_reader.read(table, lists.values())
    return tuple(Demand(key, lists[key].facts, tuple(map(lowered, listed))) for key, listed in values.items())


def _check(table: Table, provisioner: Provisioner) -> None:
    cloud = provisioner.cloud_type
    owners = [demand for demand in provisioner.demands if demand.key in cloud.owners]
    if not owners:
        # Any customer of the cloud passes a signature check, so no list can only mean nobody.
        raise table.error(cloud.owners[0], f"is missing; without {' or '.join(cloud.owners)} nobody would be admitted")
    for demand in provisioner.demands:
        if not demand.values:
            raise table.error(demand.key, "is empty, so nobody would be admitted; list values, or leave it out")
    if provisioner.profiles is not None and not provisioner.profiles:
        raise table.error("profiles", "is empty, so no certificate would be given; leave it out for all profiles")
    if not provisioner.formats:
        raise table.error("formats", "is empty, so no evidence would be accepted; leave it out for the usual ones")
    if provisioner.disable_custom_sans and (provisioner.allow is not None or provisioner.allow_wildcards):
        raise table.error(
            "disable_custom_sans", "leaves only names that follow from the evidence; take allow and allow_wildcards out"
        )
    for format_ in provisioner.formats:
        entry = cloud.formats[format_]
        missing = [key for key in entry.needs if key not in provisioner.keys.given]
        if missing:
            raise table.error(missing[0], f"is missing; evidence of format {format_} needs {entry.needed}")
    for format_ in provisioner.formats:
        _check_format(table, provisioner, format_)


def _check_format(table: Table, provisioner: Provisioner, format_: str) -> None:
    """Refuse an accepted format that lets nobody in: each client that prefers it would be refused, one by one."""
    cloud = provisioner.cloud_type
    for demand in provisioner.demands:
        if not cloud.proves(format_, demand.facts):
            others = [other for other in cloud.formats if cloud.proves(other, demand.facts)]
            raise table.error(
                demand.key,
                f"is not proven by {format_}, so no instance that sends it would be admitted; leave {format_} out of "
                f"formats: {' and '.join(others)} can prove it",
            )
    if provisioner.instance_age is not None and not cloud.formats[format_].dated:
        raise table.error(
            "instance_age",
            f"cannot be checked with {format_}, which does not say when an instance was started; leave one of them out",
        )


def _usual_formats(cloud: CloudType, demands: tuple[Demand, ...], present: Collection[str]) -> tuple[str, ...]:
    """The usual formats and those that a list or a setting asks for, less those that cannot prove all of the lists."""
    usual = set(cloud.default_formats)
    usual |= {name for name, entry in cloud.formats.items() if entry.needs and set(entry.needs) <= set(present)}
    for demand in demands:
        if not any(cloud.proves(format_, demand.facts) for format_ in cloud.default_formats):
            usual |= {format_ for format_ in cloud.formats if cloud.proves(format_, demand.facts)}
    proving = [
        format_
        for format_ in cloud.formats
        if format_ in usual and all(cloud.proves(format_, demand.facts) for demand in demands)
    ]
    return tuple(proving) or cloud.default_formats


def _keys(table: Table, title: str, cloud: CloudType, home: Path, demands: tuple[Demand, ...]) -> GivenKeys:
    """Read further keys. An operator learns now that a key cannot be loaded, and not from a refused VM."""
    present = {demand.key for demand in demands} | {key for key in cloud.sources if table.look(key) is not None}
    files: dict[str, bytes] = {}
    places: dict[str, Path] = {}
    texts: dict[str, str] = {}
    keys: KeySource | None = None
    issuers: tuple[TokenIssuer, ...] = ()
    for key, setting in cloud.sources.items():
        if setting.shape == "file":
            value = table.take(key, str, setting.value)
            if value is not None:
                places[key] = home / value
                files[key] = table.parsed(key, value, lambda text: _content(home / text))
        elif setting.shape == "key set":
            keys = _key_set(table, home, places, key)
        elif setting.shape == "issuers":
            issuers = _issuers(table, key, home, setting.parse, places)
        else:
            texts |= setting_reader.read(table, [setting])
    lists = {demand.key: demand.values for demand in demands}
    given_keys = GivenKeys(title, files, keys, issuers, places, {}, lists, frozenset(present))
    load = TRUST[cloud.cloud]
    try:
        load([given_keys])
    except ValueError as error:
        raise table.file_error(str(error)) from error
    given_keys = replace(given_keys, texts=texts)
    for key in texts:
        try:
            load([given_keys])
        except ValueError as error:
            raise table.error(key, str(error)) from error
    return given_keys


def _key_set(table: Table, home: Path, places: dict[str, Path], place: str) -> KeySource | None:
    """A key set: the URL of one, or a file's bytes.

    :param place: the name under which the file's place is noted.
    """
    value = table.take("jwks", str, "a file name, or an https URL")
    if value is None:
        return None
    source: KeySource = value
    if "://" not in value:
        places[place] = home / value
        source = table.parsed("jwks", value, lambda text: _content(home / text))
    table.parsed("jwks", value, lambda _: key_set(source))
    return source


def _issuers(
    table: Table, key: str, home: Path, account_of: Callable[[str], str], places: dict[str, Path]
) -> tuple[TokenIssuer, ...]:
    issuers: list[TokenIssuer] = []
    for entry in table.tables(key):
        account = entry.text("account", "the account's id", account_of)
        issuer = entry.text("issuer", "the account's own issuer URL", str)
        entry.parsed("issuer", published(issuer), key_set)
        if any(issuer == other.issuer or account == other.account for other in issuers):
            raise entry.error("issuer", "an account has one issuer, and an issuer one account")
        issuers.append(TokenIssuer(issuer, account, _key_set(entry, home, places, f"{key} {account}")))
        entry.done()
    return tuple(issuers)


def _content(path: Path) -> bytes:
    """The content of a file.

    :raises ValueError: if it cannot be read now, or is too large.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"{path} is larger than {MAX_FILE_BYTES} bytes")
    return data
