"""The addresses that validation may connect to: a name that an account orders must not lead this server anywhere.

A private CA is for hosts in private networks, so that private addresses are as good as others. Addresses that mean
this very machine, its link, or a cloud's metadata service are never connected to, unless the operator has named them:
not some network that happens to hold them as well (``0.0.0.0/0``), but one inside their own range.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

from acme_iid.protocol.addresses import Network

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_CLOSED: tuple[tuple[Network, str], ...] = tuple(
    (ipaddress.ip_network(text), what)
    for what, texts in {
        "a metadata or platform service": (
            # The clouds' documentation: AWS (with ECS and EKS), GCP and Azure; Alibaba's and Oracle's.
            *("169.254.169.254", "169.254.170.2", "169.254.170.23", "168.63.129.16", "100.100.100.200", "192.0.0.192"),
            *("fd00:ec2::254", "fd00:ec2::23", "fd00:ec2::253", "fd20:ce::254"),
        ),
        "a loopback address": ("127.0.0.0/8", "::1/128"),
        "a link-local address": ("169.254.0.0/16", "fe80::/10", "fec0::/10"),
        "a multicast address": ("224.0.0.0/4", "ff00::/8"),
        "not an address of a host": ("0.0.0.0/8", "::/128", "240.0.0.0/4"),
    }.items()
    for text in texts
)

# IPv6 addresses that stand for an IPv4 address (RFC 4291 sections 2.5.5.1 and 2.5.5.2, RFC 6052, RFC 8215, RFC 3056),
# and how many bits stand to the right of it.
_EMBEDDING: tuple[tuple[ipaddress.IPv6Network, int], ...] = (
    (ipaddress.IPv6Network("::/96"), 0),
    (ipaddress.IPv6Network("64:ff9b::/96"), 0),
    (ipaddress.IPv6Network("64:ff9b:1::/48"), 0),
    (ipaddress.IPv6Network("2002::/16"), 80),
)
_TEREDO = ipaddress.IPv6Network("2001::/32")


def plain(address: Address) -> Address:
    """``address``, as IPv4 if it is an IPv4 address in IPv6 clothes (``::ffff:127.0.0.1``)."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return address if mapped is None else mapped


def refusal(address: Address, networks: Collection[Network] | None) -> str | None:
    """The reason why validation does not connect to ``address``, or None if it may.

    :param networks: those of the provisioner's hosts; None for any.
    """
    address = plain(address)
    holding = [network for network in networks or () if address in network]
    if networks is not None and not holding:
        return "outside the provisioner's networks"
    for closed, what in _CLOSED:
        if address in closed and not any(_within(network, closed) for network in holding):
            return f"{what}, which no network of the provisioner names"
    for inner in _embedded(address):
        # An operator who names a network of such addresses has a gateway there, which limits what it reaches.
        if not any(network.prefixlen > 0 for network in holding) and (reason := refusal(inner, None)) is not None:
            return f"another way to write {inner}, {reason}"
    return None


def _within(network: Network, closed: Network) -> bool:
    return network.version == closed.version and network.prefixlen >= closed.prefixlen


def _embedded(address: Address) -> list[ipaddress.IPv4Address]:
    """The IPv4 addresses that a gateway could make of an IPv6 address."""
    if not isinstance(address, ipaddress.IPv6Address):
        return []
    embedded = [
        ipaddress.IPv4Address((int(address) >> shift) & 0xFFFFFFFF)
        for network, shift in _EMBEDDING
        if address in network and int(address) > 1
    ]
    if address in _TEREDO:
        embedded.append(ipaddress.IPv4Address(~int(address) & 0xFFFFFFFF))
    return embedded
