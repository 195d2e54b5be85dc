"""The names in certificate requests: they are the order's, or the request is refused."""

from __future__ import annotations

import ipaddress
from contextlib import suppress

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from csr_requests import FOO, KEY, refusal, request
from hypothesis import given
from hypothesis import strategies as st

from acme_iid.errors import AcmeError
from acme_iid.protocol import csr
from acme_iid.protocol.identifiers import Identifier, dns, ip


@pytest.mark.parametrize(
    ("names", "common_names", "identifiers"),
    [
        ([x509.DNSName("foo.local")], [], FOO),
        ([x509.DNSName("FOO.Local")], [], FOO),
        ([x509.DNSName("foo.local")], ["foo.local"], FOO),
        ([x509.DNSName("foo.local")], ["Foo.Local"], FOO),
        (None, ["foo.local"], FOO),
        ([x509.DNSName("bar.local")], ["foo.local"], [dns("foo.local"), dns("bar.local")]),
        ([x509.DNSName("*.foo.local")], [], [dns("*.foo.local")]),
        (
            [x509.DNSName("foo.local"), x509.IPAddress(ipaddress.ip_address("10.0.0.1"))],
            ["10.0.0.1"],
            [dns("foo.local"), ip("10.0.0.1")],
        ),
        ([x509.IPAddress(ipaddress.ip_address("2001:db8::1"))], [], [ip("2001:0db8:0::1")]),
        ([x509.DNSName("foo.local"), x509.DNSName("foo.local")], [], FOO),
    ],
)
def test_names_equal_to_the_orders_are_accepted(
    names: list[x509.GeneralName] | None, common_names: list[str], identifiers: list[Identifier]
) -> None:
    assert csr.check(request(names, common_names=common_names), identifiers).public_key == KEY.public_key()


@pytest.mark.parametrize(
    ("names", "common_names", "reason"),
    [
        ([], [], "the CSR lacks foo.local; its names are exactly the order's"),
        (None, [], "the CSR lacks foo.local"),
        (
            [x509.DNSName("foo.local"), x509.DNSName("bar.local")],
            [],
            "asks for bar.local, which the order does not hold",
        ),
        ([x509.DNSName("foo.local")], ["bar.local"], "asks for bar.local, which the order does not hold"),
        ([x509.DNSName("*.local")], [], "the CSR lacks foo.local"),
        ([x509.DNSName("foo.local")], ["foo", "foo.local"], "asks for foo, which"),
        ([x509.DNSName("foo.local"), x509.IPAddress(ipaddress.ip_address("10.0.0.1"))], [], "asks for 10.0.0.1"),
        ([x509.DNSName("foo.local"), x509.RFC822Name("a@foo.local")], [], "asks for a RFC822Name"),
        ([x509.DNSName("foo.local"), x509.UniformResourceIdentifier("spiffe://x/y")], [], "UniformResourceIdentifier"),
        ([x509.DNSName("foo.local"), x509.DirectoryName(x509.Name([]))], [], "asks for a DirectoryName"),
        (
            [x509.DNSName("foo.local"), x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x01a")],
            [],
            "asks for a OtherName",
        ),
        ([x509.DNSName("foo.local.")], [], "asks for an invalid name: 'foo.local.' ends with a dot"),
        ([x509.DNSName("10.0.0.1")], [], "asks for an invalid name"),
        ([x509.DNSName("foo.local")], ["My server"], "asks for an invalid name: 'My server'"),
        ([x509.DNSName("foo.local")], ["10.0.0.1"], "an address that its subjectAltName does not hold"),
    ],
)
def test_other_names_than_the_orders_are_refused(
    names: list[x509.GeneralName] | None, common_names: list[str], reason: str
) -> None:
    assert reason in refusal(request(names, common_names=common_names))


def test_an_address_in_the_common_name_alone_is_not_proof_of_one() -> None:
    assert "does not hold" in refusal(request(None, common_names=["10.0.0.1"]), [ip("10.0.0.1")])


def test_a_network_is_no_address() -> None:
    network = x509.IPAddress(ipaddress.ip_network("10.0.0.0/8"))
    assert "asks for an invalid name" in refusal(request([x509.DNSName("foo.local"), network]))


def test_many_wrong_names_are_shown_in_part() -> None:
    names = [x509.DNSName(f"n{number}.local") for number in range(9)]
    detail = refusal(request([x509.DNSName("foo.local"), *names]))
    assert "n0.local, n1.local, n2.local, n3.local, n4.local and 4 more" in detail


@given(st.text(max_size=40))
def test_any_common_name_is_the_orders_or_refused(text: str) -> None:
    with suppress(ValueError):  # cryptography will not write every text
        der = request(common_names=[text])
        with suppress(AcmeError):
            csr.check(der, FOO)
            assert text.lower() == "foo.local" or not text.strip(" "), "an empty one is none"


@pytest.mark.filterwarnings("ignore:Attribute's length:UserWarning")
@pytest.mark.parametrize("empty", ["", " "])
def test_an_empty_common_name_is_none(empty: str) -> None:
    nothing = x509.NameAttribute(NameOID.COMMON_NAME, empty, _validate=False)
    assert csr.check(request(other=[nothing]), FOO).public_key == KEY.public_key()
    assert "lacks foo.local" in refusal(request(None, other=[nothing]))
