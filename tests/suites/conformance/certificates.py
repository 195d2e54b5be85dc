"""CSRs, and certificates as they are read: what cannot be read ends a test with a sentence that says why."""

from __future__ import annotations

import ipaddress
from typing import TypeVar

import requests
from conformance.answers import Body, said
from conformance.jose import PrivateKey
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding

Kind = TypeVar("Kind", bound=x509.ExtensionType)


def csr(
    key: PrivateKey | ec.EllipticCurvePrivateKey,
    *names: str,
    identifiers: list[Body] | None = None,
    common_name: str | None = None,
    further: list[x509.GeneralName] | None = None,
    extension: x509.ExtensionType | None = None,
) -> bytes:
    """A CSR in DER for dns names or for identifier objects."""
    general: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    general += map(_general_name, identifiers or ())
    general += further or ()
    subject = [] if common_name is None else [x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    if general:
        builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=False)
    if extension is not None:
        builder = builder.add_extension(extension, critical=False)
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, digest).public_bytes(Encoding.DER)


def _general_name(identifier: Body) -> x509.GeneralName:
    value = identifier["value"]
    try:
        return x509.IPAddress(ipaddress.ip_address(value)) if identifier["type"] == "ip" else x509.DNSName(value)
    except ValueError as error:
        raise AssertionError(f"{identifier} can be in no CSR: {error}") from error


def chain_of(response: requests.Response) -> list[x509.Certificate]:
    """The certificates in an answer, at least one."""
    try:
        return x509.load_pem_x509_certificates(response.content)
    except ValueError as error:
        raise AssertionError(f"expected a chain in PEM ({error}), got {said(response)}") from error


def found_extension(certificate: x509.Certificate, kind: type[Kind]) -> x509.Extension[Kind] | None:
    """An extension of a certificate, if it has it."""
    try:
        return certificate.extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return None
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise AssertionError(f"the certificate's extensions cannot be read: {error}") from error


def extension(certificate: x509.Certificate, kind: type[Kind]) -> x509.Extension[Kind]:
    """An extension of a certificate, which must have it."""
    found = found_extension(certificate, kind)
    assert found is not None, f"the certificate of {certificate.subject.rfc4514_string()!r} has no {kind.__name__}"
    return found


def is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether an issuer's name and key are those that signed a certificate."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, TypeError, ValueError):
        return False
    return True
