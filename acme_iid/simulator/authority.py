"""Throw-away certificate authorities, in place of a cloud's own PKI."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

PrivateKey = RSAPrivateKey | EllipticCurvePrivateKey
PublicKey = RSAPublicKey | EllipticCurvePublicKey
Extension = tuple[x509.ExtensionType, bool]
"""An extension and whether it is critical."""

_NOT_BEFORE = datetime(2015, 1, 1, tzinfo=UTC)
_NOT_AFTER = datetime(2050, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Authority:
    """A key with the certificates that lead from it to its root.

    :ivar chain: its own certificate first, the root last.
    """

    key: PrivateKey
    chain: tuple[x509.Certificate, ...]

    @classmethod
    def root(cls, name: x509.Name, key: PrivateKey) -> Self:
        """A new root."""
        return cls(
            key, (_certificate(name, key.public_key(), name, key, _of_authority(None), _NOT_BEFORE, _NOT_AFTER),)
        )

    def below(self, name: x509.Name, key: PrivateKey, path_length: int | None = 0) -> Authority:
        """A new authority that this one vouches for."""
        certificate = self.certify(name, key.public_key(), _of_authority(path_length), _NOT_BEFORE, _NOT_AFTER)
        return Authority(key, (certificate, *self.chain))

    def certify(
        self,
        name: x509.Name,
        public_key: PublicKey,
        extensions: Sequence[Extension],
        not_before: datetime,
        not_after: datetime,
    ) -> x509.Certificate:
        """Issue a certificate with just these extensions."""
        return _certificate(name, public_key, self.chain[0].subject, self.key, extensions, not_before, not_after)

    def to_pem(self) -> bytes:
        """Key and chain, for a file of mode 0600."""
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return key + b"".join(certificate.public_bytes(Encoding.PEM) for certificate in self.chain)

    @classmethod
    def from_pem(cls, pem: bytes, path: Path) -> Self:
        """Read what :meth:`to_pem` made.

        :param path: the file's, for the sentence.
        :raises ValueError: if the file holds something else.
        """
        try:
            key = load_pem_private_key(pem, None)
            chain = tuple(x509.load_pem_x509_certificates(pem))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{path} does not hold a simulator's key and certificates; remove it to have it made anew"
            ) from error
        if not isinstance(key, RSAPrivateKey | EllipticCurvePrivateKey) or chain[0].public_key() != key.public_key():
            raise ValueError(f"{path} does not hold a key with its own certificates; remove it to have it made anew")
        return cls(key, chain)


def name(common_name: str, organization: str) -> x509.Name:
    """A name in the order that the clouds' certificates have."""
    return x509.Name(
        [
            x509.NameAttribute(x509.NameOID.COUNTRY_NAME, "US"),
            x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name),
        ]
    )


def key_usage(*, signatures: bool, certificates: bool) -> x509.KeyUsage:
    """A keyUsage for signing documents or certificates."""
    return x509.KeyUsage(
        digital_signature=signatures,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificates,
        crl_sign=certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _of_authority(path_length: int | None) -> tuple[Extension, ...]:
    return (
        (x509.BasicConstraints(ca=True, path_length=path_length), True),
        (key_usage(signatures=True, certificates=True), True),
    )


def _certificate(
    subject: x509.Name,
    public_key: PublicKey,
    issuer: x509.Name,
    issuer_key: PrivateKey,
    extensions: Sequence[Extension],
    not_before: datetime,
    not_after: datetime,
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .serial_number(secrets.randbits(127) | 1 << 126)
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .public_key(public_key)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(issuer_key, SHA384())
