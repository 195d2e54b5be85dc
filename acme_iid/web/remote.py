"""Whose request it is: the address of the client, also behind proxies that the operator trusts to name it."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from functools import lru_cache

from acme_iid.values import Network

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
        candidate = entry.strip()
        try:
            address = _plain(str(ipaddress.ip_address(candidate)))
        except ValueError:
            break
    return address


@lru_cache(maxsize=4096)
def _plain(address: str) -> str:
    """``address``, as IPv4 if it is an IPv4 address as a listener for both families sees it (``::ffff:192.0.2.1``)."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(found if mapped is None else mapped)


def _is_proxy(address: str, proxies: Collection[Network]) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(found in network for network in proxies)
