"""Identifiers in their one canonical form (RFC 8555 section 9.7.7, RFC 8738).

All code below the wire compares identifiers for equality, so there is one spelling of each: dns
names in lower-case A-labels without a trailing dot, addresses as :mod:`ipaddress` writes them.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import NamedTuple

import idna

from acme_iid.errors import AcmeError, Problem

MAX_NAME_LENGTH = 253
"""Octets of a dns name without the trailing dot (RFC 1035 section 2.3.4)."""

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")


class Identifier(NamedTuple):
    """A name in an order or certificate: ``type`` is "dns" or "ip", ``value`` is canonical."""

    type: str
    value: str

    @property
    def wildcard(self) -> bool:
        """Whether this is a wildcard name (``*.example``)."""
        return self.value.startswith("*.")

    @property
    def base(self) -> Identifier:
        """The identifier an authorization is for: a wildcard's base name, else itself."""
        return Identifier(self.type, self.value[2:]) if self.wildcard else self

    def __str__(self) -> str:
        return self.value


@lru_cache(maxsize=4096)
def dns(value: str) -> Identifier:
    """The canonical dns identifier for ``value``, a wildcard in the leftmost label allowed.

    :raises ValueError: with the fault, in words.
    """
    # Before it is lowered: the Kelvin sign (U+212A) becomes a k then.
    if not value.isascii():
        raise ValueError(f"{value!r} is not ASCII; internationalized names are given as A-labels (xn--...)")
    name = value.lower()
    if name.endswith("."):
        raise ValueError(f"{value!r} ends with a dot; names are given without the trailing dot")
    if len(name) > MAX_NAME_LENGTH:
        raise ValueError(f"the name is {len(name)} characters long; {MAX_NAME_LENGTH} is the limit")
    rest = name.removeprefix("*.")
    if "*" in rest:
        raise ValueError(f"{value!r} has a '*' that is not the whole leftmost label")
    labels = rest.split(".")
    for label in labels:
        if not _LABEL.match(label):
            raise ValueError(f"{value!r} has the label {label!r}, which is not a host name label")
        if label[2:4] == "--":
            _check_a_label(value, label)
    if labels[-1].isdigit():
        raise ValueError(f"{value!r} ends in a number; addresses have the identifier type 'ip'")
    return Identifier("dns", name)


def _check_a_label(value: str, label: str) -> None:
    if not label.startswith("xn--"):
        raise ValueError(f"{value!r} has the label {label!r}, whose '--' prefix is reserved (RFC 5891)")
    try:
        idna.ulabel(label)
    except idna.IDNAError as error:
        raise ValueError(f"{value!r} has the label {label!r}, which is not a valid A-label") from error


def lowered(text: str) -> str:
    """Text in lower case for a comparison: ASCII is lowered, and any other text stays as it is."""
    return text.lower() if text.isascii() else text


@lru_cache(maxsize=4096)
def ip(value: str) -> Identifier:
    """The canonical ip identifier for an IPv4 or IPv6 address in text form (RFC 8738 section 3).

    :raises ValueError: with the fault, in words.
    """
    address = ipaddress.ip_address(value)
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id:
        raise ValueError(f"{value!r} has a zone, which is not part of an address in a certificate")
    return Identifier("ip", str(address))


def from_text(value: str) -> Identifier:
    """The identifier of a text that a person or a rule wrote: an address if it reads as one, else a name.

    :raises ValueError: if it is neither.
    """
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return dns(value)
    return ip(value)


def from_wire(obj: object) -> Identifier:
    """The identifier in an ACME identifier object ``{"type": ..., "value": ...}``.

    :raises AcmeError: ``malformed``, ``unsupportedIdentifier`` or ``rejectedIdentifier``.
    """
    if not isinstance(obj, dict):
        raise AcmeError(Problem.MALFORMED, "an identifier is an object with 'type' and 'value'")
    kind, value = obj.get("type"), obj.get("value")
    if not isinstance(kind, str) or not isinstance(value, str):
        raise AcmeError(Problem.MALFORMED, "an identifier's 'type' and 'value' are strings")
    if kind not in ("dns", "ip"):
        raise AcmeError(
            Problem.UNSUPPORTED_IDENTIFIER,
            f"identifiers of type {kind[:32]!r} are not supported; this server issues for 'dns' and 'ip'",
        )
    try:
        return dns(value) if kind == "dns" else ip(value)
    except ValueError as error:
        # The value is the sender's: a short prefix is enough for a person to find it again.
        raise AcmeError(Problem.REJECTED_IDENTIFIER, str(error)[:300]) from error
