"""Certificate requests of all kinds, and what they are refused with."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from acme_iid.errors import AcmeError, Problem
from acme_iid.protocol import csr
from acme_iid.protocol.identifiers import Identifier, dns

KEY = ec.generate_private_key(ec.SECP256R1())
FOO = [dns("foo.local")]
AnyKey = (
    ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
    | rsa.RSAPrivateKey
    | dsa.DSAPrivateKey
)


def request(
    names: Sequence[x509.GeneralName] | None = (x509.DNSName("foo.local"),),
    *,
    common_names: Sequence[str] = (),
    key: AnyKey = KEY,
    extensions: Sequence[x509.ExtensionType] = (),
    other: Sequence[x509.NameAttribute[str]] = (),
) -> bytes:
    subject = [*other, *(x509.NameAttribute(NameOID.COMMON_NAME, name) for name in common_names)]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    if names is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    no_hash = isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
    return builder.sign(key, None if no_hash else hashes.SHA256()).public_bytes(Encoding.DER)


def refusal(der: bytes, identifiers: Sequence[Identifier] = FOO, forbidden: frozenset[bytes] = frozenset()) -> str:
    with pytest.raises(AcmeError) as caught:
        csr.check(der, identifiers, forbidden)
    assert caught.value.problem is Problem.BAD_CSR
    return caught.value.detail
