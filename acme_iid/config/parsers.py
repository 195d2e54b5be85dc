"""Parsers of single values in ca.toml and on the command line: each reads one value, or says what is wrong with it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from urllib.parse import urlsplit

from acme_iid.protocol.addresses import Listen, Network
from acme_iid.protocol.identifiers import Identifier, dns, from_text
from acme_iid.store.limits import Rate
from acme_iid.terminal import durations

MAX_NAME_LENGTH = 48
"""Characters in a CA's or a provisioner's name: "<name> Intermediate CA" must fit a common name's 64 (RFC 5280)."""

_MAX_DURATION = 3650 * durations.DAY
MAX_PROOF_LIFETIME = 30 * durations.DAY
"""Seconds that a proof may serve further orders."""
_PATH_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)*\Z")
_DEFAULT_PORTS = {"https": 443, "http": 80}


def duration(text: str) -> int:
    """Return the seconds in a duration such as "1h", "90m", "7d" or "1h30m".

    :raises ValueError: if the text is not a duration, or not between one second and ten years.
    """
    seconds = durations.parse(text)
    if seconds is None or not 0 < seconds <= _MAX_DURATION:
        raise ValueError(f'{text!r} is no duration; write for example "1h", "90m", "7d" or "1h30m"')
    return seconds


def bounded_duration(text: str, least: int, otherwise: str, most: int = _MAX_DURATION) -> int:
    """Return the seconds in a duration that has bounds, both inside.

    :param otherwise: the error about a duration outside the bounds, in words.
    :raises ValueError: if the text is not a duration, or is outside the bounds.
    """
    seconds = duration(text)
    if not least <= seconds <= most:
        raise ValueError(otherwise)
    return seconds


def proof_lifetime(text: str) -> int:
    """Return the seconds that a proof serves further orders: a duration, or "0" where each order is proven anew.

    :raises ValueError: if it is neither, or longer than 30 days.
    """
    seconds = 0 if text == "0" else duration(text)
    if seconds > MAX_PROOF_LIFETIME:
        raise ValueError(f'{text!r} is longer than 30 days; write "30d" or less')
    return seconds


def rate(text: str) -> Rate:
    """Return the rate in a text such as "300/1h".

    :raises ValueError: if the text is not a rate.
    """
    most, slash, period = text.partition("/")
    if not slash or not most.isascii() or not most.isdigit() or not 0 < int(most[:10]) <= 1_000_000_000:
        raise ValueError(f'{text!r} is no rate; write for example "300/1h", at most 300 in an hour')
    return Rate(int(most), duration(period))


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
    if not text.isascii():  # urlsplit lowers the host, and some characters become ASCII ones
        raise ValueError(f"{text!r} is not ASCII; an internationalized host is given as A-labels (xn--...)")
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


def page_url(text: str) -> str:
    """Return the URL of a page for people, as it is.

    :raises ValueError: if the text is not a URL, or cannot stand in a header.
    """
    parts = urlsplit(text)
    if not text.isascii() or not text.isprintable() or set(text) & set(' <>"') or not parts.hostname:
        raise ValueError(f'{text!r} is no URL of a page; write for example "https://ca.local/terms"')
    if parts.scheme not in _DEFAULT_PORTS:
        raise ValueError(f"{text!r} is no http or https URL")
    return text


def one_of(text: str, words: Collection[str]) -> str:
    """Return one of several words, as it is.

    :raises ValueError: if the text is another word.
    """
    if text not in words:
        raise ValueError(f"{text!r} is not one of {', '.join(words)}")
    return text


def _is_loopback(host: Identifier) -> bool:
    return ipaddress.ip_address(host.value).is_loopback if host.type == "ip" else host.value == "localhost"


def name(text: str) -> str:
    """Return a name that people give the CA or a provisioner, as it is.

    :raises ValueError: if it is empty, too long, has blanks around it or characters that do not print.
    """
    if not text or text != text.strip() or not text.isprintable():
        raise ValueError(f"{text!r} is no name; a name is printable, not empty, and has no blanks around it")
    if len(text) > MAX_NAME_LENGTH:
        raise ValueError(f"the name is {len(text)} characters long; {MAX_NAME_LENGTH} is the limit")
    return text


def network(text: str) -> Network:
    """Return the network in ``text``, such as 10.0.0.0/8; a single address is one too.

    :raises ValueError: if the text is not a network.
    """
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no network; write for example 10.0.0.0/8") from error


def own_name(text: str) -> Identifier:
    """Return a name or an address of the CA itself.

    :raises ValueError: if it is neither, or a wildcard.
    """
    name = from_text(text)
    if name.wildcard:
        raise ValueError(f"{text!r} is a wildcard; list each name of the CA itself")
    return name


def domain(text: str) -> str:
    """Return a domain that names may be issued in, canonical.

    :raises ValueError: if the text is not a dns name, or is a wildcard.
    """
    identifier = dns(text)
    if identifier.wildcard:
        raise ValueError(f"{text!r} is a wildcard; name the domain itself, all names below it are inside")
    return identifier.value
