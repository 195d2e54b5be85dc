"""An issuer: an intermediate that signs leaves, its key, and the certificates between it and its root."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from acme_iid.binding import SERVING_MARK
from acme_iid.errors import AcmeError, Problem
from acme_iid.issuance import name_constraints
from acme_iid.issuance.keys import PrivateKey
from acme_iid.issuance.leaf import LeafRequest, Template, new_serial
from acme_iid.issuance.profiles import extended_key_usage
from acme_iid.policy.namespace import Namespace
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.public_keys import PublicKey
from acme_iid.signing.keys import ForeignKey

SHORT_ID_LENGTH = 16
"""Of an issuer's id: enough to tell the issuers of one CA apart."""
BACKDATE = 60
"""Seconds that a certificate is valid before it was issued, for clocks that lag."""

_OF_THE_SERVER = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ObjectIdentifier(SERVING_MARK)])
"""The purposes of the CA's own serving certificate; the mark tells it from every other certificate of the CA."""


class Signer(NamedTuple):
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


class Issuer:
    """An intermediate that issues leaves.

    :param signer: its certificate and key.
    :param above: the certificates between it and the root, the one that signed it first; none where the root did.
    :param root: what clients trust.

    :ivar id: the SHA-256 of its SubjectPublicKeyInfo, hex.
    :ivar chain_pem: what follows a leaf: its certificate and those above it, without the root.
    :ivar not_after: when the first certificate of its chain ends, seconds; no leaf outlives it.
    :ivar constraints: the name constraints of its certificate and of those above it, the root's too.
    :ivar own_keys: the SHA-256 of the SubjectPublicKeyInfo of all of them, keys that get no certificate.
    :raises CAFileError: if the extensions of a certificate cannot be read.
    """

    def __init__(self, signer: Signer, root: x509.Certificate, above: Sequence[x509.Certificate] = ()) -> None:
        self.signer = signer
        self.root = root
        self.above = tuple(above)
        chain = (signer.certificate, *self.above)
        subjects = not name_constraints.are_about_subjects((*chain, root))
        self._template = Template(signer.certificate, signer.key_identifier, subjects=subjects)
        self.not_after = int(min(entry.not_valid_after_utc for entry in (*chain, root)).timestamp())
        self.chain_pem = "".join(entry.public_bytes(Encoding.PEM).decode() for entry in chain)
        self.id = key_id(signer.certificate.public_key())
        self.constraints = name_constraints.of_chain(signer.certificate, self.above, root)
        self.own_keys = frozenset(bytes.fromhex(key_id(entry.public_key())) for entry in (*chain, root))

    @property
    def short_id(self) -> str:
        """The beginning of the id, by which its files and its URLs are called."""
        return self.id[:SHORT_ID_LENGTH]

    @property
    def signs_elsewhere(self) -> bool:
        """Whether its key is in a token or behind a program: a signature takes its time then, and can fail."""
        return isinstance(self.signer.key, ForeignKey)

    @property
    def certificate(self) -> x509.Certificate:
        """The issuing certificate."""
        return self.signer.certificate

    def prepare(self, request: LeafRequest, namespace: Namespace, now: int) -> UnsignedCertificate:
        """Return an end-entity certificate for TLS servers and clients, to be signed and then completed.

        The names and the key are taken as they are: that they are proven and strong was checked before. But the CA's
        own names, and those that this issuer's chain does not permit, are refused here again, so that no other way
        leads to a certificate for them.

        :raises AcmeError: ``serverInternal`` if the intermediate has run out, or does before the request's beginning;
            ``rejectedIdentifier`` for names that are reserved or that the chain does not permit.
        """
        replace(namespace, constraints=lambda: self.constraints).require_issuable(request.identifiers)
        return self._prepare(request, extended_key_usage(request.usages), now)

    def complete(self, unsigned: UnsignedCertificate, signature: bytes) -> IssuedCertificate:
        """Return a certificate with its signature, as :func:`sign` makes it."""
        der = self._template.signed(unsigned.tbs, signature)
        chain = ssl.DER_cert_to_PEM_cert(der) + self.chain_pem
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
        return self.complete(unsigned, sign(self.signer, unsigned.tbs))

    def _prepare(self, request: LeafRequest, purposes: x509.ExtendedKeyUsage, now: int) -> UnsignedCertificate:
        not_before = now - BACKDATE if request.not_before is None else request.not_before
        not_after = min(request.not_after, self.not_after)
        if now >= self.not_after or not_before >= not_after:
            raise AcmeError(
                Problem.SERVER_INTERNAL,
                "no certificate can be valid then: the CA's intermediate certificate is at its end; "
                "its operator must replace it",
            )
        serial = new_serial(request.number)
        tbs = self._template.to_be_signed(request, purposes, serial, not_before, not_after)
        return UnsignedCertificate(serial, tbs, not_before, not_after)


class RetiredIssuer:
    """An issuer whose key signs nothing any more and may be destroyed; what it has signed may still be in force.

    :param chain: its certificate and those above it, without the root.

    :ivar id: the SHA-256 of its SubjectPublicKeyInfo, hex.
    :ivar certificate: its own.
    :ivar own_keys: the SHA-256 of the SubjectPublicKeyInfo of all of them, keys that get no certificate.
    """

    def __init__(self, chain: Sequence[x509.Certificate]) -> None:
        self.certificate = chain[0]
        self.id = key_id(chain[0].public_key())
        self.own_keys = frozenset(bytes.fromhex(key_id(entry.public_key())) for entry in chain)

    @property
    def short_id(self) -> str:
        """The beginning of the id, by which its URLs are called."""
        return self.id[:SHORT_ID_LENGTH]


def key_id(key: CertificatePublicKeyTypes) -> str:
    """Return the SHA-256 of a key's SubjectPublicKeyInfo, hex."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def sign(signer: Signer, tbs: bytes) -> bytes:
    """Return a signer's signature over a certificate's contents: the one step for which its private key is needed.

    :param tbs: a TBSCertificate, DER.
    """
    if isinstance(signer.key, ed25519.Ed25519PrivateKey):
        return signer.key.sign(tbs)
    if isinstance(signer.key, ec.EllipticCurvePrivateKey):
        return signer.key.sign(tbs, ec.ECDSA(hashes.SHA256()))
    return signer.key.sign(tbs, padding.PKCS1v15(), hashes.SHA256())


def signature_hash(key: PrivateKey) -> hashes.SHA256 | None:
    """The hash that a key signs with; Ed25519 has its own."""
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
