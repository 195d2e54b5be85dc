"""ca.toml, read into frozen facts; whatever cannot be meant is an error that says what would be right.

Nothing is guessed and nothing is ignored: a misspelt key in a security setting must not quietly leave
the default in force, so an unknown key is an error that names the nearest known one.
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from cryptography import x509

from acme_iid.admission import Provisioner
from acme_iid.protocol.identifiers import Identifier, dns, from_text
from acme_iid.tables import ConfigError, Table

FILE_NAME = "ca.toml"
HOME_VARIABLE = "ACME_IID_CA_HOME"
MAX_FILE_BYTES = 1024 * 1024
MAX_NAME_LENGTH = 48
"""Characters in a CA's or a provisioner's name: "<name> Intermediate CA" must fit a common name's 64 (RFC 5280)."""

FORMATS: Mapping[str, tuple[str, ...]] = {"AWS": ("aws-rsa2048", "aws-signature", "aws-pkcs7")}
"""The formats of evidence that each type of provisioner knows."""
DEFAULT_FORMATS: Mapping[str, tuple[str, ...]] = {"AWS": ("aws-rsa2048", "aws-signature")}
"""Those accepted unless ``formats`` says otherwise. aws-pkcs7 is DSA with SHA-1, so it must be named."""

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_MAX_LIFETIME = 825 * _DAY  # what TLS clients accept at most, even from private CAs
_MAX_DURATION = 3650 * _DAY
_DURATION = re.compile(r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?\Z", re.ASCII)
_AWS_ACCOUNT = re.compile(r"[0-9]{12}\Z")
_PATH_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)*\Z")
_DEFAULT_PORTS = {"https": 443, "http": 80}

__all__ = ["Config", "ConfigError", "load"]


class Listen(NamedTuple):
    """Where the server listens: an address or host name, and a port (0 for any free one)."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class CASettings:
    """The table ``[ca]``.

    :ivar domains: canonical dns names; custom names stay inside these.
    :ivar lifetime: seconds a certificate is valid unless its order says otherwise.
    :ivar minimum_lifetime: the shortest an order may ask for, seconds.
    :ivar maximum_lifetime: the longest, seconds.
    """

    name: str
    domains: tuple[str, ...]
    lifetime: int = _DAY
    minimum_lifetime: int = 5 * _MINUTE
    maximum_lifetime: int = _DAY


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
class Config:
    """One ca.toml, complete and checked."""

    home: Path
    ca: CASettings
    server: ServerSettings
    store: StoreSettings
    provisioners: tuple[Provisioner, ...] = ()


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
    provisioners = top.tables("provisioner")
    top.done()
    return Config(home, _ca(ca), _server(server), _store(store, home), _provisioners(provisioners, home))


def duration(text: str) -> int:
    """Return the seconds in a duration such as "1h", "90m", "7d" or "1h30m".

    :raises ValueError: if it is none, or not between one second and ten years.
    """
    match = _DURATION.match(text)
    seconds = 0
    if match:
        for count, unit in zip(match.groups(), (_DAY, _HOUR, _MINUTE, 1), strict=True):
            seconds += int(count or 0) * unit
    if not 0 < seconds <= _MAX_DURATION:
        raise ValueError(f'{text!r} is no duration; write for example "1h", "90m", "7d" or "1h30m"')
    return seconds


def listen_address(text: str) -> Listen:
    """Return the address in "host:port", an IPv6 address in brackets.

    :raises ValueError: with what is wrong, in words.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f'{text!r} is no address to listen on; write for example "0.0.0.0:443" or "[::]:443"')
    if host.startswith("[") and host.endswith("]"):
        return Listen(str(ipaddress.IPv6Address(host[1:-1])), int(port))
    if ":" in host:
        raise ValueError(f"{text!r} has an IPv6 address without brackets; write [address]:port")
    return Listen(from_text(host).value, int(port))


def server_url(text: str) -> str:
    """Return the canonical form of the URL that clients use: lower-case host, no default port, no trailing slash.

    Every URL in the protocol begins with it and is compared as text (RFC 8555 section 6.4).

    :raises ValueError: with what is wrong, in words.
    """
    if not text.isprintable() or " " in text:  # urlsplit would drop some of them silently
        raise ValueError(f"{text!r} has blanks or control characters in it")
    parts = urlsplit(text)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise ValueError(f'{text!r} is no URL to serve; write for example "https://ca.local"')
    if parts.query or parts.fragment or "?" in text or "#" in text or "@" in parts.netloc:
        raise ValueError(f"{text!r} has a query, fragment or user; the URL is scheme, host, port and path only")
    path = parts.path.rstrip("/")
    if not _PATH_PREFIX.match(path) or any(segment in (".", "..") for segment in path.split("/")):
        raise ValueError(f"{text!r} has a path that is not plain; use letters, digits, '-', '.', '_' and '~'")
    host = from_text(parts.hostname)
    if host.wildcard:
        raise ValueError(f"{text!r} names a wildcard; a server has one name")
    if parts.scheme == "http" and not _is_loopback(host):
        raise ValueError(
            f"{text!r} is plain HTTP; write https. (Behind a proxy that ends TLS, the URL is the proxy's https one "
            "and 'serve --plain-http' says the rest)"
        )
    port = parts.port  # ValueError with a sentence of its own if it is out of range
    where = f"[{host.value}]" if ":" in host.value else host.value
    if port not in (None, _DEFAULT_PORTS[parts.scheme]):
        where += f":{port}"
    return f"{parts.scheme}://{where}{path}"


def _is_loopback(host: Identifier) -> bool:
    return ipaddress.ip_address(host.value).is_loopback if host.type == "ip" else host.value == "localhost"


def _ca(table: Table) -> CASettings:
    defaults = CASettings("", ())
    settings = CASettings(
        name=table.text("name", "the CA's name", name),
        domains=table.texts("domains", 'a list of domains such as ["local"]', domain) or (),
        lifetime=table.text("lifetime", "a duration", duration, defaults.lifetime),
        minimum_lifetime=table.text("minimum_lifetime", "a duration", duration, defaults.minimum_lifetime),
        maximum_lifetime=table.text("maximum_lifetime", "a duration", duration, defaults.maximum_lifetime),
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


def _provisioners(tables: list[Table], home: Path) -> tuple[Provisioner, ...]:
    found: dict[str, Provisioner] = {}
    for table in tables:
        provisioner = _provisioner(table, home)
        if provisioner.name in found:
            raise table.error("name", "another provisioner has this name; names are unique")
        found[provisioner.name] = provisioner
    return tuple(found.values())


def _provisioner(table: Table, home: Path) -> Provisioner:
    def known_type(text: str) -> str:
        if text not in FORMATS:
            raise ValueError(f"{text!r} is not a known type; the types are {', '.join(FORMATS)}")
        return text

    def known_format(text: str) -> str:
        if text not in FORMATS[kind]:
            raise ValueError(f"{text!r} is not a format of type {kind}; the formats are {', '.join(FORMATS[kind])}")
        return text

    title = table.text("name", "the provisioner's name", name)
    kind = table.text("type", f"one of {', '.join(FORMATS)}", known_type)
    formats = table.texts("formats", "a list of formats of evidence", known_format)
    age = table.take("instance_age", str, 'a duration such as "1h"')
    roots = table.take("iid_roots", str, "a file name")
    provisioner = Provisioner(
        name=title,
        type=kind,
        accounts=table.texts("accounts", 'a list of AWS account ids such as ["123456789042"]', aws_account) or (),
        instance_age=None if age is None else table.parsed("instance_age", age, duration),
        iid_roots=None if roots is None else table.parsed("iid_roots", roots, lambda text: _roots_file(home / text)),
        formats=DEFAULT_FORMATS[kind] if formats is None else formats,
        disable_custom_sans=table.flag("disable_custom_sans"),
        disable_trust_on_first_use=table.flag("disable_trust_on_first_use"),
    )
    table.done()
    if not provisioner.accounts:
        # Any customer of the cloud passes a signature check, so no list can only mean nobody.
        raise table.error("accounts", "is empty, so nobody would be admitted; list the AWS accounts that own instances")
    if not provisioner.formats:
        raise table.error("formats", "is empty, so no evidence would be accepted; leave it out for the usual ones")
    return provisioner


def name(text: str) -> str:
    """Return a name that people give the CA or a provisioner, as it is.

    :raises ValueError: if it is empty, too long, has blanks around it or characters that do not print.
    """
    if not text or text != text.strip() or not text.isprintable():
        raise ValueError(f"{text!r} is no name; a name is printable, not empty, and has no blanks around it")
    if len(text) > MAX_NAME_LENGTH:
        raise ValueError(f"the name is {len(text)} characters long; {MAX_NAME_LENGTH} is the limit")
    return text


def aws_account(text: str) -> str:
    """Return an AWS account id as it is.

    :raises ValueError: if it is not twelve digits.
    """
    if not _AWS_ACCOUNT.match(text):
        raise ValueError(f"{text!r} is no AWS account id; that is twelve digits, in quotes")
    return text


def domain(text: str) -> str:
    """Return a domain that names may be issued in, canonical.

    :raises ValueError: if it is no dns name, or a wildcard.
    """
    found = dns(text)
    if found.wildcard:
        raise ValueError(f"{text!r} is a wildcard; name the domain itself, all names below it are inside")
    return found.value


def _roots_file(path: Path) -> Path:
    """``path`` if certificates can be read from it now: an operator should learn that here, not from a refused VM."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"{path} is larger than {MAX_FILE_BYTES} bytes")
    try:
        x509.load_pem_x509_certificates(data)
    except ValueError as error:
        raise ValueError(f"{path} holds no readable PEM certificates") from error
    return path
