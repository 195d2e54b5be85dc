"""Encryption of a backup for whoever has one private key: CMS EnvelopedData (RFC 5652), as OpenSSL reads it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers import algorithms
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from acme_iid.errors import RequestError
from acme_iid.issuance import home, keys
from acme_iid.issuance.keys import CAFileError

MAX_BYTES = 1024 * 1024 * 1024
"""The largest backup that is encrypted: the library has all of it in memory."""
LEAST_BITS = 2048
"""Of a recipient's key."""


@dataclass(frozen=True, slots=True)
class Recipient:
    """The certificate that a backup was encrypted for, and its private key."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey


def load_certificate(path: Path) -> x509.Certificate:
    """Return the certificate of a recipient, in PEM.

    :raises CAFileError: if it cannot be read, or nothing can be encrypted for its key.
    """
    certificate = home.load_certificate(path)
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < LEAST_BITS:
        raise CAFileError(
            f"{path} has a key that backups are not encrypted for; make one: openssl req -x509 -newkey rsa:3072 "
            "-keyout backup.key -out backup.crt -days 3650 -subj /CN=backups"
        )
    return certificate


def load_recipient(certificate: Path, key: Path, password: str | None) -> Recipient:
    """Return a recipient with its key, for decryption.

    :param password: of the key, if it is encrypted.
    :raises CAFileError: if one of the files cannot be used, or they do not belong together.
    """
    own, private = load_certificate(certificate), keys.load(key, password)
    if not isinstance(private, rsa.RSAPrivateKey) or private.public_key() != own.public_key():
        raise CAFileError(f"{key} is not the key of {certificate}")
    return Recipient(own, private)


def encrypt(data: bytes, recipient: x509.Certificate) -> bytes:
    """Return ``data`` encrypted with AES-256, in DER.

    :raises RequestError: if there is too much of it.
    """
    if len(data) > MAX_BYTES:
        raise RequestError(
            f"the backup has more than {MAX_BYTES // 1024**2} MiB, too many to be encrypted here; encrypt the file "
            "with another program"
        )
    builder = pkcs7.PKCS7EnvelopeBuilder().set_data(data).add_recipient(recipient)
    builder = builder.set_content_encryption_algorithm(algorithms.AES256)
    return builder.encrypt(Encoding.DER, [pkcs7.PKCS7Options.Binary])


def is_encrypted(beginning: bytes) -> bool:
    """Whether a file that begins so is encrypted, and no tar file: it is one sequence of ASN.1."""
    return beginning[:1] == b"\x30"


def decrypt(data: bytes, recipient: Recipient) -> bytes:
    """Return what was encrypted for a recipient.

    :raises RequestError: if it was encrypted for somebody else, or damaged.
    """
    try:
        return pkcs7.pkcs7_decrypt_der(data, recipient.certificate, recipient.key, [])
    except ValueError as error:
        raise RequestError(
            f"the backup was encrypted for another certificate than this one, or was damaged: {error}"
        ) from error
