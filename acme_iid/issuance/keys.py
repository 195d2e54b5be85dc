"""Private keys in files: PKCS #8 PEM, mode 0600, encrypted when there is a password; and those that are elsewhere."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from acme_iid.protocol import key_files
from acme_iid.protocol.public_keys import AUTHORITIES
from acme_iid.signing import signers
from acme_iid.signing.places import FilePlace, Place, PlaceError

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
"""The kinds of key that a CA may sign with."""

MAX_FILE_BYTES = 64 * 1024
MAX_PASSWORD_BYTES = 1023
"""The longest PEM password that OpenSSL takes."""


class CAFileError(Exception):
    """A key, certificate or password file cannot be used; the text says which, why, and what to do."""


class PasswordNeededError(CAFileError):
    """A private key is encrypted, and no password was given."""


def generate() -> ec.EllipticCurvePrivateKey:
    """Return a new P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def to_pem(key: PrivateKey, password: str | None = None) -> bytes:
    """Return ``key`` as PKCS #8 PEM, encrypted under ``password`` if there is one."""
    encryption: KeySerializationEncryption = NoEncryption()
    if password is not None:
        encryption = BestAvailableEncryption(password.encode())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def load(path: Path, password: str | None) -> PrivateKey:
    """Return the private key in ``path``.

    :raises CAFileError: if others may read the file, the password is missing, wrong or not wanted, or it holds no key.
    """
    try:
        with path.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            data = stream.read(MAX_FILE_BYTES)
    except OSError as error:
        raise CAFileError(f"the private key {path} cannot be read: {error.strerror}") from error
    if stat.S_IMODE(mode) & 0o077:
        raise CAFileError(
            f"the private key {path} is open to other users (mode {stat.S_IMODE(mode):04o}); "
            f"make it private with: chmod 600 '{path}'"
        )
    encrypted = key_files.is_encrypted(data)
    if encrypted and password is None:
        raise PasswordNeededError(
            f"the private key {path} is encrypted; give the file with its password: --password-file FILE"
        )
    try:
        key = load_pem_private_key(data, password.encode() if encrypted and password is not None else None)
    except (ValueError, TypeError, OverflowError, UnsupportedAlgorithm) as error:
        if encrypted:
            raise CAFileError(f"the password does not open the private key {path}") from error
        raise CAFileError(f"{path} holds {key_files.describe(data, str(path))}") from error
    if not isinstance(key, PrivateKey):
        raise CAFileError(f"{path} holds a kind of key that a CA does not sign with; ECDSA, Ed25519 or RSA is needed")
    if (refusal := AUTHORITIES.refusal(key.public_key())) is not None:
        raise CAFileError(f"{path} holds a key that a CA does not sign with: {refusal}")
    return key


def open_key(home: Path, place: Place, public_key: object, password: str | None) -> PrivateKey:
    """Return the private key in a place. A file is read; a token or a program is not contacted before it signs.

    :param home: the CA's, where a file's path begins.
    :param public_key: what the signatures of a token or a program are verified under.
    :param password: of a file that is encrypted.
    :raises CAFileError: if a file cannot be used, or a key of this kind is not used in such a place.
    """
    if isinstance(place, FilePlace):
        return load(home / place.path, password)
    try:
        return signers.open_key(place, public_key)
    except PlaceError as error:
        raise CAFileError(str(error)) from error


def read_password(path: Path) -> str:
    """Return the password in ``path``: its first line.

    :raises CAFileError: if it cannot be read, is empty or too long.
    """
    try:
        with path.open("rb") as stream:
            line = stream.readline(MAX_PASSWORD_BYTES + 3)
    except OSError as error:
        raise CAFileError(f"the password file {path} cannot be read: {error.strerror}") from error
    password = line.rstrip(b"\r\n")
    if not password:
        raise CAFileError(f"the password file {path} has an empty first line; the password stands there")
    if len(password) > MAX_PASSWORD_BYTES:
        raise CAFileError(f"the password in {path} is longer than {MAX_PASSWORD_BYTES} bytes")
    try:
        return password.decode()
    except UnicodeDecodeError as error:
        raise CAFileError(f"the password in {path} is not UTF-8") from error
