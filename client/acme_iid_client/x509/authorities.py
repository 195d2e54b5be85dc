"""CA certificates: roots, the links from one to the next, and the lists by which a root revokes what it has signed.

Written for the libraries of Debian's certbot too, which has a cryptography that verifies no certificates by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from acme_iid_client.errors import ClientError

_CRL = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)

_SPKI = Encoding.DER, PublicFormat.SubjectPublicKeyInfo

Revocations = tuple[x509.CertificateRevocationList, ...]
"""The newest list of each root that has one."""


def is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether the issuer's name and key are those that the certificate was signed with."""
    if certificate.issuer != issuer.subject:
        return False
    key, digest = issuer.public_key(), certificate.signature_hash_algorithm
    try:
        if hasattr(certificate, "verify_directly_issued_by"):
            certificate.verify_directly_issued_by(issuer)
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(certificate.signature, certificate.tbs_certificate_bytes)
        elif isinstance(key, ec.EllipticCurvePublicKey) and digest is not None:
            key.verify(certificate.signature, certificate.tbs_certificate_bytes, ec.ECDSA(digest))
        elif isinstance(key, rsa.RSAPublicKey) and digest is not None:
            key.verify(certificate.signature, certificate.tbs_certificate_bytes, padding.PKCS1v15(), digest)
        else:
            return False
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def is_root(certificate: x509.Certificate, now: datetime) -> bool:
    """Whether a certificate is a self-signed one of a CA, and valid."""
    return is_authority(certificate, now) and is_issued_by(certificate, certificate)


def is_link(link: x509.Certificate, root: x509.Certificate, former: x509.Certificate, now: datetime) -> bool:
    """Whether a certificate is a link from a root to the next.

    It is for the subject and the key of the next root, and the key of the former one has signed it. That one is itself
    a root: a certificate that an intermediate signed is no link.

    :param former: a root that is trusted.
    """
    return (
        is_authority(link, now)
        and link.subject.public_bytes() == root.subject.public_bytes()
        and link.public_key().public_bytes(*_SPKI) == root.public_key().public_bytes(*_SPKI)
        and is_root(former, now)
        and former.subject != root.subject
        and is_issued_by(link, former)
    )


def is_authority(certificate: x509.Certificate, now: datetime) -> bool:
    """Whether a certificate is of a CA that may sign certificates, and valid."""
    try:
        signs = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        signs = signs and certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound as missing:
        # A root of somebody else's may say nothing of the uses of its key.
        signs = missing.oid == x509.KeyUsage.oid
    except ValueError:
        signs = False
    begins, ends = validity(certificate)
    return signs and begins <= now < ends


def validity(certificate: x509.Certificate) -> tuple[datetime, datetime]:
    """The beginning and the end of a certificate."""
    if hasattr(certificate, "not_valid_after_utc"):
        return certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return certificate.not_valid_before.replace(tzinfo=UTC), certificate.not_valid_after.replace(tzinfo=UTC)


def load_lists(content: bytes) -> Revocations:
    """The revocation lists in a PEM text.

    :raises ClientError: if one cannot be read.
    """
    try:
        return tuple(x509.load_pem_x509_crl(block[0]) for block in _CRL.finditer(content))
    except ValueError as error:
        raise ClientError("A revocation list cannot be read.") from error


def lists_to_pem(lists: Iterable[x509.CertificateRevocationList]) -> bytes:
    """Revocation lists as a PEM text."""
    return b"".join(one.public_bytes(Encoding.PEM) for one in lists)


def list_number(one: x509.CertificateRevocationList) -> int:
    """The number of a list (RFC 5280 section 5.2.3); -1 for one without."""
    try:
        return one.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except (ValueError, x509.ExtensionNotFound):
        return -1


def is_list_of(one: x509.CertificateRevocationList, root: x509.Certificate) -> bool:
    """Whether a root has signed a list."""
    if one.issuer != root.subject:
        return False
    try:
        return one.is_signature_valid(root.public_key())  # type: ignore[arg-type] # a key of another kind raises
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return False


def require_unrevoked(certificates: Iterable[x509.Certificate], lists: Revocations) -> None:
    """Refuse certificates that the list of their issuer names.

    :raises RevokedIssuerError: if one is named.
    """
    for certificate in certificates:
        for one in lists:
            if (
                one.issuer == certificate.issuer
                and one.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None
            ):
                raise RevokedIssuerError(
                    f"{shown(certificate.subject)!r} was revoked by the CA's root: its key may be in other hands. "
                    "Nothing that it has signed is taken."
                )


class RevokedIssuerError(ClientError):
    """A certificate was signed by an issuer that its root has revoked."""

    untrusted = True


def shown(name: x509.Name) -> str:
    """A distinguished name for people (RFC 4514)."""
    return name.rfc4514_string({x509.NameOID.SERIAL_NUMBER: "serialNumber"})
