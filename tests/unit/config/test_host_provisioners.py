"""``[[provisioner]]`` tables of type ACME: what they mean, and what is wrong with those that mean nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from acme_iid.config import ca_toml
from acme_iid.config.parsers import network
from acme_iid.config.provisioner_settings import name_server
from acme_iid.config.settings import Config
from acme_iid.config.table import ConfigError
from acme_iid.policy.hosts import CHALLENGES
from acme_iid.policy.namespace import Namespace
from acme_iid.protocol.addresses import Listen
from acme_iid.protocol.identifiers import from_text

HOME = Path("/nowhere/ca")
CA = '[ca]\nname = "My CA"\ndomains = ["local"]\n[server]\nurl = "https://ca.local"\n'
HEAD = '[[provisioner]]\nname = "Racks"\ntype = "ACME"\n'


def parse(rest: str, ca: str = CA) -> Config:
    return ca_toml.parse((ca + HEAD + rest).encode(), HOME)


def refusal(rest: str, ca: str = CA) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(rest, ca)
    return str(caught.value).removeprefix("/nowhere/ca/ca.toml: ")


def test_the_defaults_are_those_of_the_internet() -> None:
    (found,) = parse('challenges = ["http-01"]').hosts
    assert (found.name, found.challenges, found.http_port, found.tls_port) == ("Racks", ("http-01",), 80, 443)
    assert (found.allow, found.networks, found.resolver, found.caa, found.allow_wildcards) == (
        None,
        None,
        (),
        False,
        False,
    )


def test_all_settings_are_read() -> None:
    read = parse(
        'challenges = ["dns-01", "http-01"]\nallow = ["*.web.local"]\nallow_wildcards = true\n'
        'networks = ["10.0.0.0/8", "fd00::/8"]\nresolver = ["10.0.0.53", "[fd00::53]:5353"]\nhttp_port = 8080\n'
        "tls_port = 8443\ncaa = true\n"
    )
    (found,) = read.hosts
    assert found.networks == (network("10.0.0.0/8"), network("fd00::/8"))
    assert found.resolver == (Listen("10.0.0.53", 53), Listen("fd00::53", 5353))
    assert (found.http_port, found.tls_port, found.caa, found.allow_wildcards) == (8080, 8443, True, True)
    assert found.offers(Namespace(("local",)), from_text("a.web.local")) == ("dns-01", "http-01")
    assert found.offers(Namespace(("local",)), from_text("a.local")) == ()
    assert read.issuer_domain == "ca.local"


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ("", "challenges: is missing or empty"),
        ("challenges = []", "challenges: is missing or empty"),
        ('challenges = ["dns-02"]', f"'dns-02' is no challenge of this type; there are {', '.join(CHALLENGES)}"),
        ('challenges = ["dns-01"]\nallow = []', "allow: is empty"),
        ('challenges = ["dns-01"]\nallow = ["{instance_id}.local"]', "unknown placeholder"),
        ('challenges = ["dns-01"]\nnetworks = []', "networks: is empty"),
        ('challenges = ["dns-01"]\nnetworks = ["10.0.0.1/8"]', "'10.0.0.1/8' is no network"),
        ('challenges = ["http-01"]\nallow_wildcards = true',
         "allow_wildcards: needs a challenge that can prove a wildcard"),
        ('challenges = ["dns-01"]\nresolver = ["ns.local"]', "'ns.local' is no name server"),
        ('challenges = ["dns-01"]\nresolver = ["10.0.0.1:0"]', "is no name server"),
        ('challenges = ["dns-01"]\nhttp_port = 0', "http_port: 0 is no port"),
        ('challenges = ["dns-01"]\ntls_port = 65536', "tls_port: 65536 is no port"),
        ('challenges = ["dns-01"]\ntls_port = "443"', "tls_port: '443' is not a port from 1 to 65535"),
        ('challenges = ["dns-01"]\nresolvers = []', "unknown key 'resolvers' in [[provisioner]] 'Racks'; the nearest"),
        ('challenges = ["dns-01"]\naccounts = ["123456789042"]', "unknown key 'accounts'"),
        ('challenges = ["dns-01"]\ncaa = "ca.local"', "caa: 'ca.local' is not true or false"),
        (f'challenges = ["dns-01"]\n{HEAD}challenges = ["dns-01"]', "another provisioner has this name"),
        (f'challenges = ["dns-01"]\n{HEAD.replace("ACME", "AWS")}accounts = ["123456789042"]', "another provisioner"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_said(rest: str, message: str) -> None:
    assert message in refusal(rest)


@pytest.mark.parametrize("rest", ['challenges = ["dns-persist-01"]', 'challenges = ["dns-01"]\ncaa = true'])
def test_a_ca_that_is_known_by_an_address_only_takes_a_name(rest: str) -> None:
    by_address = CA.replace("https://ca.local", "https://10.0.0.1")
    assert "give [ca] issuer_domain" in refusal(rest, by_address)
    named = by_address.replace("[server]", 'issuer_domain = "CA.local"\n[server]')
    assert parse(rest, named).issuer_domain == "ca.local"


def test_an_unknown_type_names_this_one_too() -> None:
    with pytest.raises(ConfigError, match="the types are AWS, GCP, AZURE, ACME"):
        ca_toml.parse((CA + HEAD.replace("ACME", "ACNE")).encode(), HOME)


@pytest.mark.parametrize("text", ["", ":53", "10.0.0.1:99999", "::1:53:", "[::1", "https://1.1.1.1/dns-query"])
def test_a_name_server_is_an_address(text: str) -> None:
    with pytest.raises(ValueError, match="is no name server"):
        name_server(text)
