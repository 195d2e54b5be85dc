"""Key pairs for certificates, and the requests made with them."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from acme_iid.protocol import key_files
from acme_iid_client.errors import ClientError
from acme_iid_client.x509.names import is_address

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey

_CURVES: dict[str, ec.EllipticCurve] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
_NAMES = {curve.name: name for name, curve in _CURVES.items()}


@dataclass(frozen=True, slots=True)
class KeyType:
    """A kind of key pair, in JOSE's words (RFC 7518 section 6, RFC 8037).

    :ivar kty: "EC", "RSA" or "OKP".
    :ivar curve: "P-256", "P-384" or "P-521" for EC, "Ed25519" for OKP, "" for RSA.
    :ivar size: RSA's modulus in bits, 0 for the others.
    """

    kty: str
    curve: str = ""
    size: int = 0

    def __str__(self) -> str:
        return {"EC": f"ECDSA {self.curve}", "RSA": f"RSA {self.size}", "OKP": self.curve}[self.kty]


def parse_type(kty: str | None, curve: str | None, size: int | None) -> KeyType:
    """The kind of key that ``--kty``, ``--curve`` and ``--size`` ask for; EC on P-256 unless they say otherwise.

    :raises ClientError: if they contradict each other.
    """
    chosen = kty or ("RSA" if size else "OKP" if curve == "Ed25519" else "EC")
    if chosen == "RSA":
        if curve:
            raise ClientError("RSA keys have a --size, not a --curve.")
        if size is not None and not 2048 <= size <= 8192:
            raise ClientError(f"An RSA key of {size} bits gets no certificate; use 2048, 3072 or 4096.")
        return KeyType("RSA", size=size or 2048)
    if size:
        raise ClientError(f"--size is for RSA keys; {chosen} keys have a --curve.")
    if chosen == "OKP":
        if curve not in (None, "Ed25519"):
            raise ClientError(f"--kty OKP has the curve Ed25519, not {curve}.")
        return KeyType("OKP", curve="Ed25519")
    if curve == "Ed25519":
        raise ClientError("--kty EC has the curves P-256, P-384 and P-521; Ed25519 is --kty OKP.")
    return KeyType("EC", curve=curve or "P-256")


def type_of(public_key: object) -> KeyType | None:
    """The kind of a public key; None if it is of no kind that this program makes."""
    match public_key:
        case ec.EllipticCurvePublicKey() if public_key.curve.name in _NAMES:
            return KeyType("EC", curve=_NAMES[public_key.curve.name])
        case rsa.RSAPublicKey():
            return KeyType("RSA", size=public_key.key_size)
        case ed25519.Ed25519PublicKey():
            return KeyType("OKP", curve="Ed25519")
    return None


def generate(kind: KeyType) -> PrivateKey:
    """A new key pair."""
    match kind.kty:
        case "RSA":
            return rsa.generate_private_key(public_exponent=65537, key_size=kind.size)
        case "OKP":
            return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(_CURVES[kind.curve])


def to_pem(key: PrivateKey) -> bytes:
    """The key as an unencrypted PKCS #8 PEM file (RFC 7468 section 10)."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def load(content: bytes, label: str) -> PrivateKey:
    """The private key in a PEM file.

    :param label: the name of the file in error messages.
    :raises ClientError: if the file holds something else than a private key without a password; the message says what.
    """
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError, OverflowError, UnsupportedAlgorithm) as error:
        raise ClientError(f"{label} holds {key_files.describe(content, label)}.") from error
    if not isinstance(key, PrivateKey):
        raise ClientError(f"{label} holds a key of a kind that is not used in TLS certificates.")
    return key


def spki(key: object) -> bytes:
    """A public key's SubjectPublicKeyInfo, DER: two keys are the same if these are."""
    if not isinstance(key, PublicKey):
        return b""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def signing_request(key: PrivateKey, names: list[str]) -> x509.CertificateSigningRequest:
    """A certificate signing request for canonical names.

    The common name repeats the first name if that is a dns name that fits (RFC 5280's ub-common-name is 64);
    what counts are the alternative names (RFC 8555 section 7.4).
    """
    first = names[0]
    common = [] if is_address(first) or len(first) > 64 else [x509.NameAttribute(x509.NameOID.COMMON_NAME, first)]
    alternatives: list[x509.GeneralName] = [
        x509.IPAddress(ipaddress.ip_address(name)) if is_address(name) else x509.DNSName(name) for name in names
    ]
    request = x509.CertificateSigningRequestBuilder(
        x509.Name(common),
        [x509.Extension(x509.SubjectAlternativeName.oid, False, x509.SubjectAlternativeName(alternatives))],
    )
    return request.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
