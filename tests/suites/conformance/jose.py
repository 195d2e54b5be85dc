"""Keys, and what they sign: JWS, right or wrong (RFC 7515, RFC 7517, RFC 7518)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from conformance.answers import Body
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey

_CURVES: dict[str, tuple[type[ec.EllipticCurve], type[hashes.HashAlgorithm], str, int]] = {
    "ES256": (ec.SECP256R1, hashes.SHA256, "P-256", 32),
    "ES384": (ec.SECP384R1, hashes.SHA384, "P-384", 48),
    "ES512": (ec.SECP521R1, hashes.SHA512, "P-521", 66),
}


def b64(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    """The octets in base64url without padding."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@cache
def rsa_key(bits: int, index: int = 0) -> rsa.RSAPrivateKey:
    """An RSA key; it is made once a size and index, since making one takes long."""
    assert index >= 0
    return rsa.generate_private_key(65537, bits)


def private_key(alg: str) -> PrivateKey:
    """A new private key that signs with ``alg``: ES256, ES384, ES512, EdDSA or RS256 (2048 bits)."""
    if alg == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    if alg == "RS256":
        return rsa.generate_private_key(65537, 2048)
    return ec.generate_private_key(_CURVES[alg][0]())


@dataclass
class Key:
    """A private key and what a JWS says of it."""

    private: PrivateKey
    alg: str

    @classmethod
    def new(cls, alg: str = "ES256") -> Key:
        """A new key."""
        return cls(private_key(alg), alg)

    @property
    def jwk(self) -> dict[str, str]:
        """The public key as a JWK, its required members only (RFC 7518 section 6, RFC 8037)."""
        if isinstance(self.private, ec.EllipticCurvePrivateKey):
            point = self.private.public_key().public_numbers()
            size = (self.private.curve.key_size + 7) // 8
            name = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}[self.private.curve.name]
            return {"crv": name, "kty": "EC", "x": b64(point.x.to_bytes(size)), "y": b64(point.y.to_bytes(size))}
        if isinstance(self.private, rsa.RSAPrivateKey):
            numbers = self.private.public_key().public_numbers()
            return {
                "e": b64(numbers.e.to_bytes(3)),
                "kty": "RSA",
                "n": b64(numbers.n.to_bytes(self.private.key_size // 8)),
            }
        raw = self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return {"crv": "Ed25519", "kty": "OKP", "x": b64(raw)}

    @property
    def thumbprint(self) -> str:
        """The JWK thumbprint (RFC 7638)."""
        text = json.dumps(self.jwk, sort_keys=True, separators=(",", ":"))
        return b64(hashlib.sha256(text.encode()).digest())

    def sign(self, data: bytes) -> bytes:
        """A JWS signature (RFC 7518 section 3, RFC 8037 section 3.1)."""
        if isinstance(self.private, ec.EllipticCurvePrivateKey):
            _, digest, _, size = _CURVES[self.alg]
            r, s = decode_dss_signature(self.private.sign(data, ec.ECDSA(digest())))
            return r.to_bytes(size) + s.to_bytes(size)
        if isinstance(self.private, rsa.RSAPrivateKey):
            return self.private.sign(data, padding.PKCS1v15(), hashes.SHA256())
        return self.private.sign(data)


def encoded(payload: object) -> bytes:
    """A payload's octets: bytes as they are, None for POST-as-GET, anything else as JSON."""
    if payload is None:
        return b""
    return payload if isinstance(payload, bytes) else json.dumps(payload).encode()


def jws(key: Key, header: Mapping[str, object] | bytes, payload: object) -> Body:
    """A flattened JWS; the header is JSON already if it is bytes."""
    first = b64(header if isinstance(header, bytes) else json.dumps(header).encode())
    second = b64(encoded(payload))
    return {"protected": first, "payload": second, "signature": b64(key.sign(f"{first}.{second}".encode()))}


def mac_jws(secret: bytes, header: Mapping[str, object], payload: object, digest: str = "sha256") -> Body:
    """A flattened JWS with an HMAC, as an external account binding is."""
    first, second = b64(json.dumps(header).encode()), b64(encoded(payload))
    return {
        "protected": first,
        "payload": second,
        "signature": b64(hmac.digest(secret, f"{first}.{second}".encode(), digest)),
    }


@dataclass
class Binding:
    """A key for external account binding that the operator gave out."""

    kid: str
    secret: bytes

    def object(self, key: Key, url: str, /, **header: object) -> Body:
        """The binding of an account key (RFC 8555 section 7.3.4); ``header`` replaces members, None takes one out."""
        protected: dict[str, object] = {"alg": "HS256", "kid": self.kid, "url": url} | header
        return mac_jws(self.secret, {name: value for name, value in protected.items() if value is not None}, key.jwk)
