"""Which names are the CA's own, and which certificates would speak for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from acme_iid.config import ca_toml
from acme_iid.config.table import ConfigError
from acme_iid.policy.namespace import Namespace
from acme_iid.protocol.identifiers import Identifier, dns, from_text, ip

HOME = Path("/nowhere/ca")
OWN = Namespace(("local",), frozenset({dns("ca.local"), ip("10.0.0.5"), ip("fd00::5")}))


@pytest.mark.parametrize(
    ("name", "reserved"),
    [
        ("ca.local", True),
        ("CA.Local", True),
        ("*.local", True),
        # It matches no name of one label more or less (RFC 6125 section 6.4.3).
        ("*.ca.local", False),
        ("www.ca.local", False),
        ("local", False),
        ("xca.local", False),
        ("ca.local.example", False),
        ("10.0.0.5", True),
        ("::ffff:10.0.0.5", True),
        ("::FFFF:0a00:0005", True),
        ("fd00:0::5", True),
        ("10.0.0.50", False),
        ("fd00::6", False),
    ],
)
def test_a_name_is_reserved_if_a_certificate_for_it_speaks_for_the_ca(name: str, *, reserved: bool) -> None:
    identifier = from_text(name)
    assert OWN.refuses(identifier) is reserved
    assert (OWN.refusal(identifier) is not None) is reserved


def test_an_address_that_is_reserved_as_ipv6_is_also_the_ipv4_one() -> None:
    assert Namespace((), frozenset({ip("::ffff:192.0.2.1")})).refuses(ip("192.0.2.1"))


def own_names(server: str, ca: str = "") -> set[Identifier]:
    text = f'[ca]\nname = "My CA"\ndomains = ["local"]\n{ca}\n[server]\n{server}\n'
    return set(ca_toml.parse(text.encode(), HOME).namespace.reserved)


@pytest.mark.parametrize(
    ("server", "ca", "own"),
    [
        ('url = "https://ca.local"', "", ["ca.local"]),
        ('url = "https://CA.local:8443/pki"\nlisten = "0.0.0.0:443"', "", ["ca.local"]),
        ('url = "https://ca.local"\nlisten = "[::]:443"', "", ["ca.local"]),
        ('url = "https://ca.local"\nlisten = "10.0.0.5:443"', "", ["ca.local", "10.0.0.5"]),
        ('url = "https://ca.local"\nlisten = "[fe80::1%eth0]:443"', "", ["ca.local", "fe80::1"]),
        ('url = "https://ca.local"\nlisten = "inside.local:443"', "", ["ca.local", "inside.local"]),
        ('url = "https://[fd00::5]"', "", ["fd00::5"]),
        ('url = "https://ca.local"\nformer_urls = ["https://old.local/pki"]', "", ["ca.local", "old.local"]),
        ('url = "https://ca.local"', 'issuer_domain = "Issuer.local"', ["ca.local", "issuer.local"]),
        ('url = "https://ca.local"', 'reserved = ["P.local", "10.0.0.6"]', ["ca.local", "p.local", "10.0.0.6"]),
    ],
)
def test_the_cas_own_names_follow_from_its_settings(server: str, ca: str, own: list[str]) -> None:
    assert own_names(server, ca) == set(map(from_text, own))


@pytest.mark.parametrize(
    ("reserved", "reason"),
    [
        ('["*.local"]', "is a wildcard; list each name of the CA itself"),
        ('["ca.local."]', "names are given without the trailing dot"),
        ('["bücher.local"]', "internationalized names are given as A-labels"),
        ('["10.0.0.0/8"]', "is not a host name label"),
        ('"ca.local"', "is not a list"),
    ],
)
def test_what_cannot_be_reserved_is_a_sentence(reserved: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        own_names('url = "https://ca.local"', f"reserved = {reserved}")
