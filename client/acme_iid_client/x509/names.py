"""Names as people type them, in the one form that goes into orders, requests and file names."""

from __future__ import annotations

import ipaddress
import re

from acme_iid_client.errors import ClientError

# Wider than a host name's label on purpose (an underscore passes): the CA decides which names are
# allowed. This keeps out only what could not be a name at all, or would be a path.
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\Z")


def canonical(text: str) -> str:
    """The canonical form of a dns name or an address.

    :param text: a name, internationalized or not, perhaps a wildcard (``*.foo.local``), or an IPv4 or
        IPv6 address.
    :returns: lower-case A-labels without the trailing dot, or the address as :mod:`ipaddress` writes it.
    :raises ClientError: if it is neither.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        pass
    else:
        # A scope, any text after a %, means something on one machine only.
        if getattr(address, "scope_id", None) is not None:
            raise ClientError(f"{text!r} has a scope, the part after %, which no certificate can have.")
        return str(address)
    name = text.removesuffix(".")
    wildcard, rest = ("*.", name[2:]) if name.startswith("*.") else ("", name)
    rest = ".".join(label.lower() if label.isascii() else _a_label(text, label) for label in rest.split("."))
    if len(wildcard + rest) > 253 or not all(_LABEL.match(label) for label in rest.split(".")):
        raise ClientError(f"{text!r} is neither a name nor an address. A name looks like foo.local, or *.foo.local.")
    return wildcard + rest


def _a_label(text: str, label: str) -> str:
    """The A-label of an internationalized label.

    Some characters outside ASCII stand for ASCII ones, as the Kelvin sign does for a k. A label that is an ASCII one
    but for such characters only looks like it; the person may not have meant it.

    :param text: the whole name, for the message.
    """
    import idna  # noqa: PLC0415 - its tables cost every start of the program

    try:
        encoded = idna.encode(label, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise ClientError(f"{text!r} is not an internationalized name: {error}.") from error
    if not encoded.startswith("xn--") or "." in encoded:
        raise ClientError(f"{text!r} is not the name {encoded!r}, which it looks like. Type it in ASCII.")
    return encoded


def is_address(name: str) -> bool:
    """Whether a canonical name is an address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def file_stem(name: str) -> str:
    """A canonical name as the stem of a file name: a wildcard's ``*`` becomes ``_``, an address keeps its colons."""
    return name.replace("*", "_", 1)
