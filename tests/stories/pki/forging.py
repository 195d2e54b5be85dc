"""Leaves that a thief of an issuer's key signs: outside the server, for names that its constraints forbid."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID
from running import CA

from acme_iid.issuance.home import key_file_of

FORBIDDEN: dict[str, x509.GeneralName] = {
    "dns": x509.DNSName("www.example.com"),
    "wildcard": x509.DNSName("*.example.com"),
    "v4": x509.IPAddress(ipaddress.ip_address("192.0.2.1")),
    "v6": x509.IPAddress(ipaddress.ip_address("2001:db8::1")),
    "uri": x509.UniformResourceIdentifier("https://www.example.com/x"),
    "uri of an address": x509.UniformResourceIdentifier("https://192.0.2.1/x"),
}
"""A name of each kind."""


def forged(ca: CA, issuer: str, *names: x509.GeneralName) -> str:
    """A chain, PEM, with a leaf for some names."""
    folder = ca.home / "issuers" / issuer
    above = (folder / "chain.pem").read_text()
    certificate = x509.load_pem_x509_certificate(above.encode())
    signer = load_pem_private_key((ca.home / key_file_of(issuer)).read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    now = datetime.now(UTC).replace(microsecond=0)
    leaf = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(certificate.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(
                certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
            ),
            critical=False,
        )
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(signer, hashes.SHA256())
    )
    return leaf.public_bytes(Encoding.PEM).decode() + above
