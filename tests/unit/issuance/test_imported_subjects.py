"""Issuers that were signed elsewhere: their names and key identifiers are copied byte by byte, never made anew.

A name that is encoded anew is another name to Go's verifier (puppetlabs/puppetserver issue 2907), and a key identifier
need not be the SHA-1 of the key.
"""

from __future__ import annotations

import hashlib
import time
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from acme_iid.issuance import ceremony, crl, responder, root_crl
from acme_iid.issuance.issuer import Issuer, Signer
from acme_iid.issuance.leaf import LeafRequest
from acme_iid.issuance.ocsp import read
from acme_iid.policy.namespace import Namespace
from acme_iid.protocol.identifiers import dns

NOW = int(time.time())


def attribute(oid: x509.ObjectIdentifier, text: str, kind: _ASN1Type) -> x509.NameAttribute[str]:
    return x509.NameAttribute(oid, text, kind)


SUBJECTS = {
    "PrintableString": x509.Name([attribute(NameOID.COMMON_NAME, "Issuing CA", _ASN1Type.PrintableString)]),
    "UTF8String": x509.Name([attribute(NameOID.COMMON_NAME, "Issuing CA \u00e9", _ASN1Type.UTF8String)]),
    "BMPString": x509.Name([attribute(NameOID.COMMON_NAME, "Issuing CA", _ASN1Type.BMPString)]),
    "T61String": x509.Name([attribute(NameOID.COMMON_NAME, "Issuing CA", _ASN1Type.T61String)]),
    "IA5String": x509.Name(
        [
            attribute(NameOID.DOMAIN_COMPONENT, "example", _ASN1Type.IA5String),
            attribute(NameOID.COMMON_NAME, "Issuing CA", _ASN1Type.PrintableString),
        ]
    ),
    "several values in one": x509.Name(
        [
            x509.RelativeDistinguishedName(
                [
                    attribute(NameOID.COMMON_NAME, "Issuing CA", _ASN1Type.UTF8String),
                    attribute(NameOID.ORGANIZATION_NAME, "Company", _ASN1Type.PrintableString),
                ]
            ),
            x509.RelativeDistinguishedName([attribute(NameOID.COUNTRY_NAME, "DE", _ASN1Type.PrintableString)]),
        ]
    ),
    "two of a kind": x509.Name(
        [
            attribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "PKI", _ASN1Type.UTF8String),
            attribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "PKI", _ASN1Type.PrintableString),
        ]
    ),
}
SPKI_BITS = hashlib.sha256(b"key").digest()
IDENTIFIERS = {"random": bytes(range(20)), "a truncated SHA-256": SPKI_BITS[:20], "a whole SHA-256": SPKI_BITS}


def signed_elsewhere(subject: x509.Name, identifier: bytes = b"\x01" * 20, above: Signer | None = None) -> Signer:
    """A CA certificate as a root elsewhere signs it, or such a root."""
    key = ec.generate_private_key(ec.SECP256R1())
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if above is None else above.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(NOW - 60, UTC))
        .not_valid_after(datetime.fromtimestamp(NOW + 86400 * 365, UTC))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier(identifier), critical=False)
    )
    return Signer(builder.sign(key if above is None else above.key, hashes.SHA256()), key)


def parts(sequence: bytes) -> list[bytes]:
    """The elements of a DER sequence, each with its tag and length."""
    found, rest = [], contents(sequence)
    while rest:
        size = len(rest) - len(contents(rest, rest=True))
        found.append(rest[:size])
        rest = rest[size:]
    return found


def contents(der: bytes, *, rest: bool = False) -> bytes:
    """What is inside the first element, or what follows it."""
    length, start = der[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(der[2:start])
    return der[start + length :] if rest else der[start : start + length]


def subject_of(certificate: x509.Certificate) -> bytes:
    """The octets of a certificate's subject, as they stand."""
    return parts(certificate.tbs_certificate_bytes)[5]


def issuer_of(certificate: x509.Certificate) -> bytes:
    return parts(certificate.tbs_certificate_bytes)[3]


def leaf_of(signer: Signer) -> x509.Certificate:
    issuer = Issuer(signer, ceremony.create_root("Root", NOW).certificate, ())
    request = LeafRequest(ec.generate_private_key(ec.SECP256R1()).public_key(), [dns("foo.local")], NOW + 3600)
    return x509.load_der_x509_certificate(issuer.issue(request, Namespace(("local",), frozenset()), NOW).der)


@pytest.mark.parametrize("kind", SUBJECTS)
def test_leaf_list_and_responder_have_the_issuers_name_byte_by_byte(kind: str) -> None:
    signer = signed_elsewhere(SUBJECTS[kind], above=ceremony.create_root("Root", NOW))
    expected = subject_of(signer.certificate)
    assert issuer_of(leaf_of(signer)) == expected
    assert issuer_of(responder.create(signer, NOW, NOW + 3600).certificate) == expected
    signed = x509.load_der_x509_crl(crl.sign(signer, [], 1, NOW, NOW + 3600))
    assert parts(signed.tbs_certlist_bytes)[2] == expected


@pytest.mark.parametrize("kind", SUBJECTS)
def test_link_and_roots_list_have_the_roots_name_byte_by_byte(kind: str) -> None:
    root, new = signed_elsewhere(SUBJECTS[kind]), ceremony.create_root("My CA", NOW)
    expected = subject_of(root.certificate)
    link = ceremony.link(root, new.certificate, NOW)
    assert (issuer_of(link), subject_of(link)) == (expected, subject_of(new.certificate))
    back = ceremony.link(new, root.certificate, NOW)
    assert subject_of(back) == expected
    assert issuer_of(ceremony.create_intermediate(root, "My CA", NOW).certificate) == expected
    signed = x509.load_der_x509_crl(root_crl.sign(root, [], "superseded", None, NOW))
    assert parts(signed.tbs_certlist_bytes)[2] == expected


@pytest.mark.parametrize("kind", IDENTIFIERS)
def test_the_issuers_key_identifier_is_copied_as_it_stands(kind: str) -> None:
    signer = signed_elsewhere(SUBJECTS["UTF8String"], IDENTIFIERS[kind])
    signed = x509.load_der_x509_crl(crl.sign(signer, [], 1, NOW, NOW + 3600))
    responding = responder.create(signer, NOW, NOW + 3600).certificate
    for found in (leaf_of(signer).extensions, signed.extensions, responding.extensions):
        identifier = found.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
        assert identifier == IDENTIFIERS[kind]


@pytest.mark.parametrize("kind", IDENTIFIERS)
@pytest.mark.parametrize("algorithm", [hashes.SHA1(), hashes.SHA256()], ids=lambda entry: entry.name)  # noqa: S303
def test_a_question_finds_its_issuer_by_the_hash_of_its_key(kind: str, algorithm: hashes.HashAlgorithm) -> None:
    issuer = signed_elsewhere(SUBJECTS["several values in one"], IDENTIFIERS[kind]).certificate
    bits = issuer.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    named = [hashlib.new(algorithm.name, data).digest() for data in (subject_of(issuer), bits)]
    asked = ocsp.OCSPRequestBuilder().add_certificate_by_hash(named[0], named[1], 1, algorithm).build()
    question = read(asked.public_bytes(Encoding.DER))
    assert question.is_about(issuer)
