"""Name constraints are read out of certificates as OpenSSL reads them."""

from __future__ import annotations

import ipaddress
import re
import ssl
import time
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from acme_iid.issuance import alternates, ceremony, keys, name_constraints
from acme_iid.issuance.home import shown
from acme_iid.issuance.issuer import Signer
from acme_iid.issuance.keys import CAFileError
from acme_iid.policy.name_constraints import NameConstraints
from acme_iid.policy.namespace import Namespace
from acme_iid.protocol.identifiers import Identifier, from_text

NOW = int(time.time())
ROOT = ceremony.create_root("My CA", NOW)
ISSUER = ceremony.create_intermediate(ROOT, "My CA", NOW)
LEAF_KEY = keys.generate()


def names(*texts: str) -> list[x509.GeneralName]:
    return [x509.IPAddress(ipaddress.ip_network(text)) if "/" in text else x509.DNSName(text) for text in texts]


def constrained(
    certificate: x509.Certificate, by: Signer, permitted: tuple[str, ...], excluded: tuple[str, ...] = ()
) -> x509.Certificate:
    """A CA certificate, signed again with constraints."""
    builder = x509.CertificateBuilder(
        certificate.issuer, certificate.subject, certificate.public_key(), certificate.serial_number,
        certificate.not_valid_before_utc, certificate.not_valid_after_utc, list(certificate.extensions),
    )  # fmt: skip
    extension = x509.NameConstraints(names(*permitted) or None, names(*excluded) or None)
    return builder.add_extension(extension, critical=True).sign(by.key, hashes.SHA256())


def leaf(identifier: Identifier) -> x509.Certificate:
    value = identifier.value
    name = x509.DNSName(value) if identifier.type == "dns" else x509.IPAddress(ipaddress.ip_address(value))
    builder = x509.CertificateBuilder(
        ISSUER.certificate.subject, x509.Name([]), LEAF_KEY.public_key(), 7,
        ISSUER.certificate.not_valid_before_utc, ISSUER.certificate.not_valid_after_utc,
    )  # fmt: skip
    return builder.add_extension(x509.SubjectAlternativeName([name]), critical=True).sign(ISSUER.key, hashes.SHA256())


def is_valid(folder: Path, chain: list[x509.Certificate], root: x509.Certificate) -> bool:
    """Whether OpenSSL takes a chain of a server."""
    (folder / "key.pem").write_bytes(keys.to_pem(LEAF_KEY))
    (folder / "chain.pem").write_bytes(b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain))
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(folder / "chain.pem", folder / "key.pem")
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.load_verify_locations(cadata=root.public_bytes(Encoding.PEM).decode())
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(to_client, to_server)
    server = serving.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(10):
        try:
            with suppress(ssl.SSLWantReadError):
                client.do_handshake()
                return True
        except ssl.SSLCertVerificationError as error:
            if "subtree violation" not in error.verify_message:
                raise
            return False
        with suppress(ssl.SSLWantReadError):
            server.do_handshake()
    raise AssertionError("no handshake")


CONSTRAINTS: list[tuple[tuple[str, ...], tuple[str, ...]]] = [
    (("example.com",), ()),
    ((".example.com",), ()),
    (("EXAMPLE.com", "b.example.org"), ()),
    (("a.example.com",), ("b.a.example.com",)),
    ((), ("example.com",)),
    ((), (".example.com",)),
    ((), ("a.example.com",)),
    (("",), ()),
    ((), ("",)),
    (("10.0.0.0/8",), ()),
    (("10.0.0.0/8", "fd00::/8", "example.com"), ("10.1.0.0/16",)),
    ((), ("0.0.0.0/0", "::/0")),
]
NAMES = [
    *("com", "example.com", "xexample.com", "a.example.com", "b.a.example.com", "ba.example.com", "example.com.org"),
    *("*.example.com", "*.a.example.com", "*.com", "b.example.org", "example.org", "*.b.example.org"),
    *("10.0.0.1", "10.1.0.1", "192.0.2.1", "fd00::1", "2001:db8::1", "::ffff:10.0.0.1"),
]
STRICTER = {(((), ("a.example.com",)), "*.example.com"), (((), ("example.com",)), "*.com"),
            ((("a.example.com",), ("b.a.example.com",)), "*.a.example.com")}  # fmt: skip
"""A wildcard that covers an excluded name: OpenSSL compares texts and takes it, others refuse it (CVE-2025-61727)."""


@pytest.mark.parametrize("subtrees", CONSTRAINTS, ids=str)
def test_openssl_permits_the_same_names(subtrees: tuple[tuple[str, ...], tuple[str, ...]], tmp_path: Path) -> None:
    intermediate = constrained(ISSUER.certificate, ROOT, *subtrees)
    (read,) = name_constraints.of_chain(intermediate, (), ROOT.certificate)
    for name in NAMES:
        identifier = from_text(name)
        permitted = read.refusal(identifier) is None
        expected = is_valid(tmp_path, [leaf(identifier), intermediate], ROOT.certificate)
        assert permitted is (expected and (subtrees, name) not in STRICTER), (name, read.refusal(identifier))


def test_a_chain_without_constraints_permits_every_name() -> None:
    assert name_constraints.of_chain(ISSUER.certificate, (), ROOT.certificate) == ()
    assert Namespace().refusal(from_text("foo.local")) is None


def chain(folder: Path, *certificates: x509.Certificate) -> alternates.AlternateChain:
    path = folder / "chain.pem"
    path.write_bytes(b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates))
    return alternates.load(path, [ISSUER.certificate])


def test_the_constraints_of_a_chain_are_those_of_all_its_certificates(tmp_path: Path) -> None:
    other = ceremony.create_root("Other CA", NOW)
    crossed = constrained(ceremony.cross_sign(other, ISSUER.certificate, NOW), other, ("example.com",))
    above = constrained(other.certificate, other, ("com",))
    root = constrained(ROOT.certificate, ROOT, (), ("internal",))
    named = [f"the certificate {shown(entry.subject)} of an alternate chain" for entry in (crossed, above)]
    assert all(re.search(r" serialNumber=[0-9a-f]{8},CN=(My Intermediate|Other Root) CA of ", name) for name in named)
    assert name_constraints.of_chain(crossed, [above], root) == (
        NameConstraints("the CA's certificate", permitted_domains=("example.com",), rotates=True),
        NameConstraints("a CA above this one", permitted_domains=("com",)),
        NameConstraints("the CA's root", excluded_domains=("internal",)),
    )
    assert chain(tmp_path, crossed, above).constraints == (
        NameConstraints(named[0], permitted_domains=("example.com",)),
        NameConstraints(named[1], permitted_domains=("com",)),
    )


def test_constraints_that_cannot_be_read_are_an_error_and_not_ignored() -> None:
    certificate = constrained(ISSUER.certificate, ROOT, ("10.0.0.0/8",))
    der = certificate.public_bytes(Encoding.DER)
    mask = bytes.fromhex("0a000000ff000000")
    assert der.count(mask) == 1
    broken = x509.load_der_x509_certificate(der.replace(mask, bytes.fromhex("0a000000ff00ff00")))
    with pytest.raises(CAFileError, match="the CA's certificate has extensions that cannot be read"):
        name_constraints.of_chain(broken, (), ROOT.certificate)
