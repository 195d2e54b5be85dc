"""The CA: its root and intermediate, and the certificates that the intermediate issues."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from acme_iid.binding import SERVING_MARK
from acme_iid.errors import AcmeError, Problem
from acme_iid.issuance import keys
from acme_iid.issuance.keys import CAFileError, PrivateKey
from acme_iid.issuance.leaf import LeafRequest, Template, new_serial
from acme_iid.issuance.profiles import extended_key_usage
from acme_iid.policy.namespace import Namespace
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.public_keys import AUTHORITIES, PublicKey

ROOT_CERTIFICATE = Path("certs/root_ca.crt")
INTERMEDIATE_CERTIFICATE = Path("certs/intermediate_ca.crt")
ROOT_KEY = Path("secrets/root_ca_key")
INTERMEDIATE_KEY = Path("secrets/intermediate_ca_key")
"""The files in a CA's home. The root's key is needed for new intermediates only, and may be kept elsewhere."""

BACKDATE = 60
"""Seconds that a certificate is valid before it was issued, for clocks that lag."""
ROOT_LIFETIME = 10 * 365 * 86400
INTERMEDIATE_LIFETIME = 5 * 365 * 86400

_OF_THE_SERVER = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ObjectIdentifier(SERVING_MARK)])
"""The purposes of the CA's own serving certificate; the mark tells it from every other certificate of the CA."""


def _ca_key_usage(*, responder: bool) -> x509.KeyUsage:
    """The key usage of a CA; one that answers about its certificates (OCSP) by itself signs these answers too."""
    return x509.KeyUsage(
        digital_signature=responder,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )


class Issuer(NamedTuple):
    """A CA certificate with its private key."""

    certificate: x509.Certificate
    key: PrivateKey

    @property
    def key_identifier(self) -> x509.AuthorityKeyIdentifier:
        """The authority key identifier of certificates and lists that it signs (RFC 5280 section 4.2.1.1)."""
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(
            self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        )


@dataclass(frozen=True, slots=True)
class UnsignedCertificate:
    """A certificate that lacks its signature; the times are seconds.

    :ivar tbs: the DER that the issuer signs.
    """

    serial: int
    tbs: bytes
    not_before: int
    not_after: int


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """A certificate, signed; the times are seconds, ``chain_pem`` is the leaf and then the intermediate."""

    serial: int
    der: bytes
    chain_pem: str
    not_before: int
    not_after: int


def create_root(name: str, now: int) -> Issuer:
    """Return a new self-signed P-256 root, valid for ten years; ``name`` is the CA's name."""
    key = keys.generate()
    subject = _ca_subject(name, "Root")
    public = key.public_key()
    identifier = x509.SubjectKeyIdentifier.from_public_key(public)
    above = x509.AuthorityKeyIdentifier.from_issuer_public_key(public)
    builder = _ca_builder(subject, public, identifier, above, path_length=1)
    return Issuer(_sign_ca(builder, subject, key, now, now + ROOT_LIFETIME), key)


def create_intermediate(root: Issuer, name: str, now: int) -> Issuer:
    """Return a new P-256 intermediate under ``root``, valid for five years; it issues leaves only."""
    key = keys.generate()
    subject = _ca_subject(name, "Intermediate")
    public = key.public_key()
    identifier = x509.SubjectKeyIdentifier.from_public_key(public)
    builder = _ca_builder(subject, public, identifier, root.key_identifier, path_length=0)
    return Issuer(_sign_ca(builder, root.certificate.subject, root.key, now, now + INTERMEDIATE_LIFETIME), key)


def cross_sign(root: Issuer, intermediate: x509.Certificate, now: int) -> x509.Certificate:
    """Return an intermediate as another root signs it: the same subject, key and key identifier.

    It ends with the intermediate or the root, whichever is first.

    :raises CAFileError: if the root is no CA certificate, its key is another one, or one of the two has run out.
    """
    certificate = root.certificate
    if certificate.public_key() != root.key.public_key():
        raise CAFileError("the root's key is not the key of its certificate")
    try:
        if not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            raise CAFileError("the root's certificate is no CA certificate")
        above = root.key_identifier
        identifier = intermediate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except (ValueError, x509.ExtensionNotFound) as error:
        raise CAFileError(
            "the root's certificate, or the intermediate, lacks what a CA certificate has: basic constraints and a "
            "subject key identifier"
        ) from error
    key = intermediate.public_key()
    assert isinstance(key, PublicKey)  # a CA signs with no other
    ends = min(int(entry.not_valid_after_utc.timestamp()) for entry in (certificate, intermediate))
    if ends <= now:
        raise CAFileError("the root or the intermediate has run out")
    builder = _ca_builder(intermediate.subject, key, identifier, above, path_length=0)
    return _sign_ca(builder, certificate.subject, root.key, now, ends + BACKDATE)


def _ca_subject(name: str, role: str) -> x509.Name:
    # "My CA" has a "My Root CA", not a "My CA Root CA".
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name.removesuffix(' CA')} {role} CA")])


def _ca_builder(
    subject: x509.Name,
    key: PublicKey,
    identifier: x509.SubjectKeyIdentifier,
    above: x509.AuthorityKeyIdentifier,
    *,
    path_length: int,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key)
        .serial_number(new_serial())
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_ca_key_usage(responder=path_length == 0), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(above, critical=False)
    )


def _sign_ca(
    builder: x509.CertificateBuilder, issuer: x509.Name, issuer_key: PrivateKey, now: int, ends: int
) -> x509.Certificate:
    return (
        builder.issuer_name(issuer)
        .not_valid_before(_time(now - BACKDATE))
        .not_valid_after(_time(ends - BACKDATE))
        .sign(issuer_key, signature_hash(issuer_key))
    )


class CertificateAuthority:
    """An intermediate that issues, and the root that clients trust.

    :ivar intermediate_pem: the intermediate, which follows the leaf in the CA's own chain.
    :ivar issuer: the intermediate with its key.
    :ivar root_pem: the root that clients trust.
    :ivar root_fingerprint: the SHA-256 of the root's DER, lower-case hex, for operators to compare.
    :ivar not_after: the end of the intermediate, in seconds; no certificate outlives it.
    :ivar issuer_id: the SHA-256 of the intermediate's SubjectPublicKeyInfo, hex.
    :ivar own_keys: the SHA-256 of the SubjectPublicKeyInfo of both, keys that get no certificate.
    """

    def __init__(self, root: x509.Certificate, intermediate: Issuer) -> None:
        self.root = root
        self.issuer = intermediate
        self.intermediate = intermediate.certificate
        self._template = Template(intermediate.certificate, intermediate.key_identifier)
        self.not_after = int(self.intermediate.not_valid_after_utc.timestamp())
        self.intermediate_pem = self.intermediate.public_bytes(Encoding.PEM).decode()
        self.root_pem = root.public_bytes(Encoding.PEM).decode()
        self.root_fingerprint = root.fingerprint(hashes.SHA256()).hex()
        self.issuer_id = hashlib.sha256(
            self.intermediate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        ).hexdigest()
        self.own_keys = frozenset(
            hashlib.sha256(
                certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            ).digest()
            for certificate in (root, self.intermediate)
        )

    @classmethod
    def load(cls, home: Path, password: str | None = None) -> Self:
        """Return the CA in ``home``; the root's private key is not touched.

        :raises CAFileError: if a file is missing, unreadable, or the three do not belong together.
        """
        root = load_certificate(home / ROOT_CERTIFICATE)
        intermediate = load_certificate(home / INTERMEDIATE_CERTIFICATE)
        key = keys.load(home / INTERMEDIATE_KEY, password)
        if (refusal := AUTHORITIES.refusal(root.public_key(), root.public_key_algorithm_oid)) is not None:
            raise CAFileError(f"{home / ROOT_CERTIFICATE} has a key that no CA signs with: {refusal}")
        if intermediate.public_key() != key.public_key():
            raise CAFileError(f"{home / INTERMEDIATE_KEY} is not the key of {home / INTERMEDIATE_CERTIFICATE}")
        try:
            intermediate.verify_directly_issued_by(root)
            usable = intermediate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
            intermediate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound) as error:
            raise CAFileError(
                f"{home / INTERMEDIATE_CERTIFICATE} is not a CA certificate issued by {home / ROOT_CERTIFICATE}"
            ) from error
        if not usable:
            raise CAFileError(f"{home / INTERMEDIATE_CERTIFICATE} is no CA certificate, so it can issue none")
        return cls(root, Issuer(intermediate, key))

    def prepare(self, request: LeafRequest, namespace: Namespace, now: int) -> UnsignedCertificate:
        """Return an end-entity certificate for TLS servers and clients, to be signed and then completed.

        The names and the key are taken as they are: that they are proven and strong was checked before. But the CA's
        own names, and those that its chain does not permit, are refused here again, so that no other way leads to a
        certificate for them.

        :raises AcmeError: ``serverInternal`` if the intermediate has run out, or does before the request's beginning;
            ``rejectedIdentifier`` for names that are reserved or that the chain does not permit.
        """
        namespace.require_issuable(request.identifiers)
        return self._prepare(request, extended_key_usage(request.usages), now)

    def complete(self, unsigned: UnsignedCertificate, signature: bytes) -> IssuedCertificate:
        """Return a certificate with its signature, as :func:`sign` makes it."""
        der = self._template.signed(unsigned.tbs, signature)
        chain = ssl.DER_cert_to_PEM_cert(der) + self.intermediate_pem
        return IssuedCertificate(unsigned.serial, der, chain, unsigned.not_before, unsigned.not_after)

    def issue(self, request: LeafRequest, namespace: Namespace, now: int) -> IssuedCertificate:
        """Prepare, sign and complete a certificate at once; raises what :meth:`prepare` does."""
        return self._signed(self.prepare(request, namespace, now))

    def issue_serving(
        self, public_key: PublicKey, identifiers: Sequence[Identifier], not_after: int, now: int
    ) -> IssuedCertificate:
        """Sign the certificate of the CA's own TLS server, marked as such (decision 17).

        :param not_after: seconds.
        :raises AcmeError: ``serverInternal`` if the intermediate has run out.
        """
        return self._signed(self._prepare(LeafRequest(public_key, identifiers, not_after), _OF_THE_SERVER, now))

    def _signed(self, unsigned: UnsignedCertificate) -> IssuedCertificate:
        return self.complete(unsigned, sign(self.issuer, unsigned.tbs))

    def _prepare(self, request: LeafRequest, purposes: x509.ExtendedKeyUsage, now: int) -> UnsignedCertificate:
        not_before = now - BACKDATE if request.not_before is None else request.not_before
        not_after = min(request.not_after, self.not_after)
        if now > self.not_after or not_before >= not_after:
            raise AcmeError(
                Problem.SERVER_INTERNAL,
                "no certificate can be valid then: the CA's intermediate certificate is at its end; "
                "its operator must replace it",
            )
        serial = new_serial(request.number)
        tbs = self._template.to_be_signed(request, purposes, serial, not_before, not_after)
        return UnsignedCertificate(serial, tbs, not_before, not_after)


def sign(issuer: Issuer, tbs: bytes) -> bytes:
    """Return an issuer's signature over a certificate's contents: the one step for which its private key is needed.

    :param tbs: a TBSCertificate, DER.
    """
    if isinstance(issuer.key, ed25519.Ed25519PrivateKey):
        return issuer.key.sign(tbs)
    if isinstance(issuer.key, ec.EllipticCurvePrivateKey):
        return issuer.key.sign(tbs, ec.ECDSA(hashes.SHA256()))
    return issuer.key.sign(tbs, padding.PKCS1v15(), hashes.SHA256())


def load_certificate(path: Path) -> x509.Certificate:
    """Return the one certificate in a PEM file.

    :raises CAFileError: if the file cannot be read, or holds no certificate.
    """
    try:
        with path.open("rb") as stream:
            return x509.load_pem_x509_certificate(stream.read(keys.MAX_FILE_BYTES))
    except OSError as error:
        raise CAFileError(f"the certificate {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise CAFileError(f"{path} holds no readable certificate in PEM form") from error


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def signature_hash(key: PrivateKey) -> hashes.SHA256 | None:
    """The hash that a key signs with; Ed25519 has its own."""
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
