"""Constraints in two certificates of a chain, and links, in the versions of verifiers that have had faults with them.

The faults that remain are stated exactly: a test fails as well when a verifier has been mended.
"""

from __future__ import annotations

import ipaddress
import time
from dataclasses import dataclass

import pytest
from company_cas import POLICY_KEY, Company, adding, pem
from cryptography import x509
from forged_leaves import forged
from pki.conftest import Show
from pki.verifiers.java import BouncyCastle, Java, of_version
from pki.verifiers.openssl import OpenSSL
from pki.verifiers.openssl_library import WHEELS, OpenSSLLibrary
from pki.verifiers.verifier import ChainVerifier

from acme_iid.issuance import ceremony, imports, keys
from acme_iid.issuance.issuer import Signer
from acme_iid.issuance.name_constraints import PRIVATE_NETWORKS, constraints
from acme_iid.protocol.addresses import Network

NOW = int(time.time())
JAVAS = {"Java 11": "11.0.13.1", "Java 17": "17.0.9.2", "Java 21": "21.0.8.2"}
DEBIANS = "Debian's Java"
OTHERS = ("Bouncy Castle", "OpenSSL", *(f"OpenSSL {version}" for version in WHEELS))


@pytest.fixture(scope="session")
def versions(tmp_path_factory: pytest.TempPathFactory, java: Java, openssl: OpenSSL) -> dict[str, ChainVerifier]:
    javas = {name: of_version(tmp_path_factory.mktemp("java"), version) for name, version in JAVAS.items()}
    libraries = [OpenSSLLibrary(tmp_path_factory.mktemp("library"), version) for version in WHEELS]
    others = (BouncyCastle(java), openssl, *libraries)
    return {**javas, DEBIANS: java, **{other.name: other for other in others}}


@pytest.fixture(params=[*JAVAS, DEBIANS, *OTHERS])
def version(request: pytest.FixtureRequest, versions: dict[str, ChainVerifier]) -> tuple[str, ChainVerifier]:
    return str(request.param), versions[str(request.param)]


def networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


def address(text: str) -> x509.IPAddress:
    return x509.IPAddress(ipaddress.ip_address(text))


@dataclass(frozen=True)
class Limits:
    """The networks that a policy CA permits and those that the issuing CA below it does; none for no address at all.

    :ivar good: addresses that both permit, ``bad`` some that one of them does not.
    """

    above: tuple[Network, ...]
    below: tuple[Network, ...]
    good: tuple[str, ...]
    bad: tuple[str, ...]


BOTH = ("10.1.2.3", "fd00::1")
PUBLIC = ("192.0.2.1", "2001:db8::1")
LIMITS = {
    "the same": Limits(PRIVATE_NETWORKS, PRIVATE_NETWORKS, BOTH, PUBLIC),
    "wider above": Limits(
        networks("10.0.0.0/8", "fc00::/7"), networks("10.1.0.0/16", "fd00::/8"), BOTH, ("10.2.0.1", "fc00::1")
    ),
    "wider below": Limits(
        networks("10.1.0.0/16", "fd00::/8"), networks("10.0.0.0/8", "fc00::/7"), BOTH, ("10.2.0.1", "fc00::1")
    ),
    "v4 alone above": Limits(networks("10.0.0.0/8"), PRIVATE_NETWORKS, ("10.1.2.3",), ("192.168.0.1", "fd00::1")),
    "v6 alone above": Limits(networks("fc00::/7"), PRIVATE_NETWORKS, ("fd00::1",), ("10.1.2.3", "2001:db8::1")),
    "all excluded above": Limits((), PRIVATE_NETWORKS, (), BOTH),
    "all excluded below": Limits(PRIVATE_NETWORKS, (), (), BOTH),
    "all excluded in both": Limits((), (), (), BOTH),
}
DOMAINS = {"narrower below": ("foo.local",), "the same": ("local",)}
"""The issuing CA's domains; the policy CA's is local."""
MERGES_NO_EXCLUSIONS = {"Java 11", "Java 17"}
"""They refuse all that is below exclusions of both kinds of addresses in two certificates (openjdk/jdk pull request
11459); Debian's Java 17 is a later one."""
TAKES_WORDS_FOR_HOSTS = {*JAVAS, DEBIANS}
"""They hold a common name of one word against the constraints above, as if it were a host's."""
TAKES_EQUALS_FOR_STRANGERS = {"Bouncy Castle"}
"""It refuses names in a domain that two certificates permit alike (bcgit/bc-java pull request 2260)."""


def issuer_under_policy(
    limits: Limits, domains: tuple[str, ...], subject: str = "Issuing CA"
) -> tuple[x509.Certificate, Signer, x509.Certificate]:
    """A root, the issuing CA, and the policy CA between them; both have constraints."""
    key = keys.generate()
    company = Company(key.public_key(), NOW)
    policy = company.policy(change=adding(constraints(["local"], limits.above), critical=True))
    below = adding(constraints(domains, limits.below), critical=True)
    issuing = company.certificate(subject, key.public_key(), "Policy", POLICY_KEY, change=below)
    return company.root(), Signer(issuing, key), policy


@pytest.mark.parametrize("domains", DOMAINS)
@pytest.mark.parametrize("kind", LIMITS)
def test_addresses_are_held_against_the_constraints_of_two_cas(
    version: tuple[str, ChainVerifier], show: Show, kind: str, domains: str
) -> None:
    name, verifier = version
    limits = LIMITS[kind]
    root, signer, policy = issuer_under_policy(limits, DOMAINS[domains])
    host = x509.DNSName("a.foo.local")

    def said(*names: x509.GeneralName) -> str | None:
        chain = pem(forged(signer, NOW, *names), signer.certificate, policy).decode()
        return verifier.chain(show(chain, pem(root).decode(), ""))

    good = said(host, *map(address, limits.good))
    if domains == "the same" and name in TAKES_EQUALS_FOR_STRANGERS:
        assert "DNS is not from a permitted subtree" in (good or "")
    elif kind == "all excluded in both" and name in MERGES_NO_EXCLUSIONS:
        assert "ArrayIndexOutOfBoundsException" in (good or "")
    else:
        assert good is None
    for text in limits.bad:
        assert said(host, address(text)) is not None, text


@pytest.mark.parametrize("subject", ["Issuing", "Issuing CA", "issuing.local"])
def test_a_common_name_of_one_word_below_constraints(
    version: tuple[str, ChainVerifier], show: Show, subject: str
) -> None:
    name, verifier = version
    root, signer, policy = issuer_under_policy(LIMITS["wider above"], DOMAINS["narrower below"], subject)
    chain = pem(forged(signer, NOW, x509.DNSName("a.foo.local")), signer.certificate, policy).decode()
    is_good = verifier.chain(show(chain, pem(root).decode(), "")) is None
    assert is_good == (subject != "Issuing" or name not in TAKES_WORDS_FOR_HOSTS)
    # Whoever imports such a chain is told.
    told = list(imports.common_names_as_hosts([signer.certificate, policy, root]))
    assert told == ([signer.certificate] if subject == "Issuing" else [])


def test_a_uri_whose_host_is_an_address_is_refused(version: tuple[str, ChainVerifier], show: Show) -> None:
    root = ceremony.create_root("My CA", NOW)
    issuer = ceremony.create_intermediate(root, "My CA", NOW, constraints=constraints(["local"], PRIVATE_NETWORKS))
    host, uri = x509.DNSName("a.local"), x509.UniformResourceIdentifier("https://192.0.2.1/x")
    for names, good in (((host,), True), ((host, uri), False)):
        chain = pem(forged(issuer, NOW, *names), issuer.certificate).decode()
        assert (version[1].chain(show(chain, pem(root.certificate).decode(), "")) is None) == good


def chain_over_link(new: Signer, link: x509.Certificate) -> str:
    issuer = ceremony.create_intermediate(new, "My CA", NOW)
    return pem(forged(issuer, NOW, x509.DNSName("a.local")), issuer.certificate, link).decode()


def test_a_link_between_roots_of_one_ca_is_followed(version: tuple[str, ChainVerifier], show: Show) -> None:
    old, new = (ceremony.create_root("My CA", NOW) for _ in range(2))
    chain = chain_over_link(new, ceremony.link(old, new.certificate, NOW))
    for root in (old, new):
        assert version[1].chain(show(chain, pem(root.certificate).decode(), "")) is None


def test_between_roots_of_one_name_no_link_would_do(versions: dict[str, ChainVerifier], show: Show) -> None:
    """Why each root has a name of its own: these take the link for a self-signed certificate."""
    old = ceremony.create_root("My CA", NOW)
    new = ceremony.create_root("My CA", NOW, itself=old.certificate.subject)
    identifier = new.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = ceremony._builder(new.certificate.subject, new.key.public_key(), ceremony.ROOT, identifier, None)
    link = ceremony._sign(builder, old.certificate.subject, old.key_identifier, old.key, NOW, NOW + 86400)
    shown = show(chain_over_link(new, link), pem(old.certificate).decode(), "")
    refused = {name for name, verifier in versions.items() if verifier.chain(shown) is not None}
    assert refused == {f"OpenSSL {version}" for version in WHEELS}
