"""The thumbprint of a public key: how accounts and CSRs are compared by key (RFC 7638)."""

from __future__ import annotations

import base64
import hashlib
import json

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey
"""The kinds of public key that accounts and certificates may have."""

CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
"""The curves by the name that cryptography gives them, with their JWK name (RFC 7518 section 6.2.1.1)."""


def thumbprint(public_key: PublicKey) -> str:
    """Return the JWK SHA-256 thumbprint of a key: base64url without padding, 43 characters (RFC 7638).

    :raises ValueError: if the key's curve has no JWK name among P-256, P-384 and P-521.
    """
    # Only the required members, in lexicographic order, without blanks (RFC 7638 section 3.2, RFC 8037 section 2).
    text = json.dumps(_required_members(public_key), sort_keys=True, separators=(",", ":"))
    return _base64url(hashlib.sha256(text.encode()).digest())


def _required_members(key: PublicKey) -> dict[str, str]:
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        return {"kty": "RSA", "n": _integer(numbers.n), "e": _integer(numbers.e)}
    if isinstance(key, ed25519.Ed25519PublicKey):
        return {"kty": "OKP", "crv": "Ed25519", "x": _base64url(key.public_bytes(Encoding.Raw, PublicFormat.Raw))}
    if key.curve.name not in CURVES:
        raise ValueError(f"the curve {key.curve.name} is not among {', '.join(CURVES.values())}")
    size = (key.curve.key_size + 7) // 8
    point = key.public_numbers()
    return {
        "kty": "EC",
        "crv": CURVES[key.curve.name],
        "x": _base64url(point.x.to_bytes(size, "big")),
        "y": _base64url(point.y.to_bytes(size, "big")),
    }


def _integer(value: int) -> str:
    return _base64url(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
