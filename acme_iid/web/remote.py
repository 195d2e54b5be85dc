"""The client's address, also behind proxies that the operator trusts to name it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from functools import lru_cache

from acme_iid.protocol.addresses import Network

# An IPv6 address without brackets has no port: its last group would look like one.
_WITH_PORT = re.compile(
    r"(?:(?P<v4>[0-9.]{7,15})|\[(?P<v6>[0-9A-Fa-f:.]{2,45})\])(?::(?P<port>[0-9]{1,5}))?\Z", re.ASCII
)
MAX_HOPS = 20
"""Entries of X-Forwarded-For that are looked at, from the last one on."""


def client_address(peer: str, forwarded: str, proxies: Collection[Network]) -> str:
    """The address of the client, for limits and for the record.

    Each proxy adds the address that it was called from at the end of X-Forwarded-For. So the list is read from its end,
    as long as the address before was a proxy's; what stands further in front anybody may have written.

    :param peer: the address that the connection came from.
    :param forwarded: the header's values, joined with commas.
    :param proxies: the networks of the proxies.
    """
    address = _plain(peer)
    if not proxies:
        return address
    for entry in reversed(forwarded.split(",")[-MAX_HOPS:]):
        if not _is_proxy(address, proxies):
            break
        candidate = _read(entry.strip())
        if candidate is None:
            break
        address = candidate
    return address


@lru_cache(maxsize=4096)
def _read(entry: str) -> str | None:
    """The address in an entry of X-Forwarded-For, also with a port as Azure's gateway writes it; None for others."""
    match = _WITH_PORT.match(entry)
    try:
        if match is None:
            return _plain(str(ipaddress.ip_address(entry)))
        if match["port"] is not None and int(match["port"]) > 65535:
            return None
        address = ipaddress.IPv4Address(match["v4"]) if match["v4"] else ipaddress.IPv6Address(match["v6"])
    except ValueError:
        return None
    return _plain(str(address))


@lru_cache(maxsize=4096)
def _plain(address: str) -> str:
    """``address``, as IPv4 if it is an IPv4 address as a listener for both families sees it (``::ffff:192.0.2.1``)."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(parsed if mapped is None else mapped)


def _is_proxy(address: str, proxies: Collection[Network]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in proxies)
