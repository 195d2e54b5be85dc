"""What the test vectors are made from: a clock that stands still, test keys, and signatures that never vary."""

from __future__ import annotations

import base64
import json
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from acme_iid.binding import Binding, binding
from acme_iid.protocol import jwk
from acme_iid.simulator.authority import Authority
from acme_iid.simulator.tokens import TokenKey

NOW = 1_750_000_000
"""The time of all vectors, in seconds: 2025-06-15T15:06:40Z."""
KEYS = Path(__file__).with_name("keys")
"""Test keys, each in PEM, with its certificates where it has any. They are public, and to be trusted nowhere."""

CHALLENGES = {
    "example": ("account-p256", "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"),
    "another challenge": ("account-p256", "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0"),
    "another account": ("account-other", "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"),
    "an RSA account": ("account-rsa", "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"),
    "an Ed25519 account": ("account-ed25519", "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"),
}
"""Challenges by name: whose they are, and their tokens."""

AccountKey = EllipticCurvePrivateKey | Ed25519PrivateKey | RSAPrivateKey
_PUBLIC_MEMBERS = ("kty", "crv", "x", "y", "n", "e")


@cache
def account_key(name: str) -> AccountKey:
    """The key of an account."""
    key = load_pem_private_key((KEYS / f"{name}.pem").read_bytes(), None)
    assert isinstance(key, AccountKey)
    return key


@cache
def authority(name: str) -> Authority:
    """A key with its certificates, its own first."""
    path = KEYS / f"{name}.pem"
    return Authority.from_pem(path.read_bytes(), path)


def rsa(name: str) -> RSAPrivateKey:
    """An RSA key that has certificates."""
    key = authority(name).key
    assert isinstance(key, RSAPrivateKey)
    return key


@cache
def token_key(name: str) -> TokenKey:
    """A key that signs tokens."""
    key = load_pem_private_key((KEYS / f"{name}.pem").read_bytes(), None)
    assert isinstance(key, RSAPrivateKey | EllipticCurvePrivateKey)
    return TokenKey(key)


def public_jwk(key: AccountKey) -> dict[str, object]:
    """A key's public half as a JWK with the members that its thumbprint is made of, in their order (RFC 7638)."""
    if isinstance(key, EllipticCurvePrivateKey):
        members = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    elif isinstance(key, RSAPrivateKey):
        members = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    else:
        members = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {name: members[name] for name in sorted(members) if name in _PUBLIC_MEMBERS}


def bound(challenge: str = "example") -> Binding:
    """What evidence for one of :data:`CHALLENGES` is bound to."""
    account, token = CHALLENGES[challenge]
    public = account_key(account).public_key()
    return binding(f"{token}.{jwk.thumbprint(public)}", jwk.spki(public))


def base64url(data: bytes) -> str:
    """``data`` in base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(claims: dict[str, Any] | bytes, key: TokenKey, **header: object) -> str:
    """A signed token with these claims, or this payload; ``header`` adds to the usual one or replaces its members."""
    head = {"alg": key.algorithm, "kid": key.kid, "typ": "JWT", **header}
    payload = claims if isinstance(claims, bytes) else _json(claims)
    signing_input = f"{base64url(_json(head))}.{base64url(payload)}"
    if isinstance(key.key, RSAPrivateKey):
        signature = key.key.sign(signing_input.encode(), PKCS1v15(), SHA256())
    else:
        signature = es384(key.key, signing_input.encode())
    return f"{signing_input}.{base64url(signature)}"


def es384(key: EllipticCurvePrivateKey, data: bytes) -> bytes:
    """A deterministic signature: r and s, 48 octets each."""
    r, s = decode_dss_signature(key.sign(data, ECDSA(SHA384(), deterministic_signing=True)))
    return r.to_bytes(48) + s.to_bytes(48)


def _json(members: dict[str, Any]) -> bytes:
    return json.dumps(members, separators=(",", ":")).encode()
