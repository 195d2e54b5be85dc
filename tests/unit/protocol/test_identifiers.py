"""Identifiers have one spelling, and what has none is refused with a reason."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acme_iid.errors import AcmeError, Problem
from acme_iid.protocol.identifiers import Identifier, dns, from_text, from_wire, ip


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Foo.Local", "foo.local"),
        ("i-05e360db6e50b5eda", "i-05e360db6e50b5eda"),
        ("*.foo.local", "*.foo.local"),
        ("xn--bcher-kva.local", "xn--bcher-kva.local"),
        ("a" * 63 + ".local", "a" * 63 + ".local"),
    ],
)
def test_a_name_is_made_canonical(text: str, value: str) -> None:
    assert dns(text) == Identifier("dns", value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        # They lower, or map, to ASCII: the Kelvin sign, a long s, full-width letters, a dotted I, another full stop.
        ("ban\u212a.local", "not ASCII"),
        ("BAN\u212a.LOCAL", "not ASCII"),
        ("\u017fhop.local", "not ASCII"),
        ("\uff46\uff4f\uff4f.local", "not ASCII"),
        ("\u0130nfo.local", "not ASCII"),
        ("foo\u3002local", "not ASCII"),
        ("*.ban\u212a.local", "not ASCII"),
        ("foo.local.", "trailing dot"),
        ("b\u00fccher.local", "A-labels"),
        ("foo.*.local", "leftmost"),
        ("**.local", "leftmost"),
        ("f*o.local", "leftmost"),
        ("foo..local", "label"),
        ("", "label"),
        ("-foo.local", "label"),
        ("foo-.local", "label"),
        ("foo_bar.local", "label"),
        ("a" * 64 + ".local", "label"),
        (".".join(["a" * 60] * 5), "253"),
        ("10.0.0.1", "'ip'"),
        ("xn--a.local", "A-label"),
        ("ab--cd.local", "reserved"),
        ("foo.local\n", "label"),
    ],
)
def test_a_name_that_is_none_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason.replace("*", r"\*")):
        dns(text)


def test_addresses_are_written_in_one_way() -> None:
    assert ip("2001:DB8:0:0::1") == Identifier("ip", "2001:db8::1")
    assert from_text("10.0.0.1") == Identifier("ip", "10.0.0.1")
    with pytest.raises(ValueError, match="zone"):
        ip("fe80::1%eth0")


@pytest.mark.parametrize(
    ("wire", "problem"),
    [
        ("foo.local", Problem.MALFORMED),
        ({"type": "dns"}, Problem.MALFORMED),
        ({"type": "dns", "value": 7}, Problem.MALFORMED),
        ({"type": 7, "value": "foo.local"}, Problem.MALFORMED),
        ({"type": ["dns"], "value": "foo.local"}, Problem.MALFORMED),
        ({"value": "foo.local"}, Problem.MALFORMED),
        ({"type": "email", "value": "a@b"}, Problem.UNSUPPORTED_IDENTIFIER),
        ({"type": "dns", "value": "foo..local"}, Problem.REJECTED_IDENTIFIER),
        ({"type": "ip", "value": "10.0.0.256"}, Problem.REJECTED_IDENTIFIER),
    ],
)
def test_a_wire_identifier_that_is_none_is_refused(wire: object, problem: Problem) -> None:
    with pytest.raises(AcmeError) as caught:
        from_wire(wire)
    assert caught.value.problem is problem


@given(st.text(max_size=80))
def test_a_canonical_name_is_its_own_canonical_form(text: str) -> None:
    try:
        name = dns(text)
    except ValueError:
        return
    assert dns(name.value) == name
    assert name.value.isascii()
    assert name.value == name.value.lower()


@given(st.ip_addresses())
def test_every_address_round_trips(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if getattr(address, "scope_id", None) is None:
        assert ipaddress.ip_address(ip(str(address)).value) == address
