"""Which addresses validation connects to: never this machine, its link or a metadata service unless they are named."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acme_iid.config.parsers import network
from acme_iid.validation.network import Address, refusal

METADATA = [
    "169.254.169.254", "169.254.170.2", "169.254.170.23", "168.63.129.16", "100.100.100.200", "192.0.0.192",
    "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254",
]  # fmt: skip


def address(text: str) -> Address:
    return ipaddress.ip_address(text)


@pytest.mark.parametrize(
    "text", [*METADATA, "127.0.0.1", "127.8.8.8", "::1", "169.254.1.1", "fe80::1", "224.0.0.1", "ff02::1", "0.0.0.0",  # noqa: S104 - nothing is bound
             "0.1.2.3", "::", "255.255.255.255", "240.0.0.1", "fec0::1"]
)  # fmt: skip
@pytest.mark.parametrize("networks", [None, ("0.0.0.0/0", "::/0"), ("0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1")])
def test_closed_addresses_stay_closed_even_in_a_network_of_everything(
    text: str, networks: tuple[str, ...] | None
) -> None:
    given_networks = None if networks is None else [network(entry) for entry in networks]
    assert refusal(address(text), given_networks) is not None


@pytest.mark.parametrize(
    ("text", "named"),
    [("127.0.0.1", "127.0.0.0/8"), ("127.0.0.1", "127.0.0.1/32"), ("::1", "::1/128"), ("169.254.7.7", "169.254.0.0/16"),
     ("fe80::1", "fe80::/10"), ("169.254.169.254", "169.254.169.254/32"), ("10.1.2.3", "10.0.0.0/8"),
     ("2001:db8::1", "2001:db8::/32"), ("64:ff9b::7f00:1", "64:ff9b::/96")],
)  # fmt: skip
def test_what_is_named_is_open(text: str, named: str) -> None:
    assert refusal(address(text), [network(named)]) is None


def test_a_link_that_is_named_does_not_open_the_metadata_service_on_it() -> None:
    assert refusal(address("169.254.169.254"), [network("169.254.0.0/16")]) is not None


@pytest.mark.parametrize("text", ["10.0.0.1", "192.168.1.1", "172.16.0.1", "8.8.8.8", "fd12::1", "2001:db8::1"])
def test_other_addresses_are_open_unless_outside_configured_networks(text: str) -> None:
    assert refusal(address(text), None) is None
    assert refusal(address(text), [network("203.0.113.0/24")]) == "outside the provisioner's networks"


CLOSED_V4 = st.sampled_from(["127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "0.0.0.0/8", "240.0.0.0/4"]).flatmap(
    lambda text: st.integers(
        int(ipaddress.IPv4Network(text).network_address), int(ipaddress.IPv4Network(text).broadcast_address)
    )
)


@given(CLOSED_V4)
def test_no_ipv6_spelling_opens_a_closed_ipv4_address(number: int) -> None:
    spellings = [
        (0xFFFF << 32) | number,  # ::ffff:a.b.c.d
        (0x64FF9B << 96) | number,  # NAT64
        (0x64FF9B0001 << 80) | number,  # NAT64 of a network's own
        (0x2002 << 112) | (number << 80) | 1,  # 6to4
        (0x20010000 << 96) | (0x01020304 << 64) | (number ^ 0xFFFFFFFF),  # Teredo
        number,  # ::a.b.c.d
    ]
    for spelling in spellings:
        written = ipaddress.IPv6Address(spelling)
        assert refusal(written, None) is not None, written
        assert refusal(written, [network("::/0"), network("0.0.0.0/0")]) is not None, written


@given(st.ip_addresses(), st.lists(st.ip_addresses(), max_size=3), st.integers(0, 32))
def test_nothing_outside_the_networks_is_ever_open(found: Address, bases: list[Address], length: int) -> None:
    networks = [ipaddress.ip_network(f"{base}/{length}", strict=False) for base in bases]
    plain = getattr(found, "ipv4_mapped", None) or found
    if refusal(found, networks) is None:
        assert any(plain in entry for entry in networks)


@given(st.ip_addresses())
def test_what_is_open_to_all_is_neither_this_machine_nor_its_link(found: Address) -> None:
    if refusal(found, None) is None:
        assert not any((found.is_loopback, found.is_link_local, found.is_multicast, found.is_unspecified))
