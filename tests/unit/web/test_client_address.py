"""Whose request it is, behind proxies that are trusted to say so."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import CA

from acme_iid.web.remote import client_address

PROXIES = (ipaddress.ip_network("127.0.0.1"), ipaddress.ip_network("10.0.0.0/8"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("192.0.2.1", "", "192.0.2.1"),
        ("192.0.2.1", "198.51.100.7", "192.0.2.1"),
        ("127.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("127.0.0.1", "203.0.113.9, 198.51.100.7", "198.51.100.7"),
        ("127.0.0.1", "203.0.113.9,198.51.100.7 , 10.1.2.3", "198.51.100.7"),
        ("127.0.0.1", "2001:db8:0:0::1", "2001:db8::1"),
        ("127.0.0.1", "nonsense", "127.0.0.1"),
        ("127.0.0.1", "198.51.100.7, nonsense, 10.1.2.3", "10.1.2.3"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("", "198.51.100.7", ""),
        ("::ffff:192.0.2.1", "198.51.100.7", "192.0.2.1"),
        ("127.0.0.1", "198.51.100.7:50123", "198.51.100.7"),
        ("127.0.0.1", "203.0.113.9:1, 198.51.100.7:65535,10.1.2.3:443", "198.51.100.7"),
        ("127.0.0.1", "[2001:db8::7]:443", "2001:db8::7"),
        ("127.0.0.1", "[2001:db8:0:1::8]", "2001:db8:0:1::8"),
        ("127.0.0.1", "[::ffff:198.51.100.7]:8080", "198.51.100.7"),
        ("127.0.0.1", "2001:db8::7:443", "2001:db8::7:443"),
        ("127.0.0.1", "198.51.100.7, 203.0.113.9:", "127.0.0.1"),
        ("127.0.0.1", "198.51.100.7, 203.0.113.9:65536", "127.0.0.1"),
        ("127.0.0.1", "198.51.100.7, 203.0.113.9:-1", "127.0.0.1"),
        ("127.0.0.1", "198.51.100.7, [203.0.113.9]:80", "127.0.0.1"),
        ("127.0.0.1", "198.51.100.7, [2001:db8::7", "127.0.0.1"),
        ("127.0.0.1", "198.51.100.7, [2001:db8::7]80", "127.0.0.1"),
        ("127.0.0.1", "198.51.100.7, proxy.example:80", "127.0.0.1"),
        ("::ffff:127.0.0.1", "::ffff:198.51.100.7", "198.51.100.7"),
    ],
)
def test_a_proxy_is_believed_about_who_called_it_and_no_more(peer: str, forwarded: str, address: str) -> None:
    assert client_address(peer, forwarded, PROXIES) == address


@given(st.text(max_size=200))
def test_without_proxies_no_header_says_whose_request_it_is(forwarded: str) -> None:
    assert client_address("127.0.0.1", forwarded, ()) == "127.0.0.1"


@pytest.mark.parametrize(("trusted", "port"), [(True, ""), (True, ":50123"), (False, "")])
def test_the_record_has_the_address_that_a_trusted_proxy_gives(own_ca: CA, port: str, *, trusted: bool) -> None:
    if trusted:
        toml = own_ca.home / "ca.toml"
        toml.write_text(toml.read_text().replace("[store]", 'proxies = ["127.0.0.1"]\n\n[store]', 1))
    own_ca.start("--workers", "1")
    wire = own_ca.wire()
    wire.session.headers["X-Forwarded-For"] = "198.51.100.7"
    account = own_ca.account()
    account.wire.session.headers["X-Forwarded-For"] = f"198.51.100.7{port}"
    account.order("outside.example")
    recorded = own_ca.cli("events", "--json").stdout
    assert ('"198.51.100.7"' in recorded) is trusted
