"""Throw-away keys that sign JSON Web Tokens, and the key set that verifies them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP384R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from acme_iid.simulator.keyfiles import open_or_make

Algorithm = Literal["RS256", "ES384"]


@dataclass(frozen=True, slots=True)
class TokenKey:
    """A key that signs tokens with RS256 (RSA) or ES384 (P-384)."""

    key: RSAPrivateKey | EllipticCurvePrivateKey

    @classmethod
    def generate(cls, algorithm: Algorithm = "RS256") -> Self:
        """Make a key that lives in memory only."""
        return cls(generate_rsa(65537, 2048) if algorithm == "RS256" else generate_ec(SECP384R1()))

    @classmethod
    def open(cls, path: Path, algorithm: Algorithm = "RS256") -> Self:
        """Read the key in ``path``, or make one there (mode 0600) if it is missing.

        :raises OSError: if the file or its directory cannot be used.
        :raises ValueError: if the file holds something else, naming it.
        """
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        pem = open_or_make(path, lambda: cls.generate(algorithm).pem)
        try:
            key = load_pem_private_key(pem, None)
        except (TypeError, ValueError):
            key = None
        token_key = cls(key) if isinstance(key, RSAPrivateKey | EllipticCurvePrivateKey) else None
        if token_key is None or token_key.algorithm != algorithm:
            raise ValueError(f"{path} does not hold a simulator's key for {algorithm}; remove it to have it made anew")
        return token_key

    @property
    def pem(self) -> bytes:
        """The private key in PEM."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def algorithm(self) -> Algorithm:
        """The algorithm that the key is for."""
        return "RS256" if isinstance(self.key, RSAPrivateKey) else "ES384"

    @property
    def kid(self) -> str:
        """The key's id: 40 hexadecimal digits, as Google's have."""
        spki = self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(spki).hexdigest()[:40]

    @property
    def jwk(self) -> dict[str, object]:
        """The public key as a member of a JWK Set."""
        public = self.key.public_key()
        if isinstance(public, EllipticCurvePublicKey):
            members = ECAlgorithm.to_jwk(public, as_dict=True)
        else:
            members = RSAAlgorithm.to_jwk(public, as_dict=True)
            del members["key_ops"]
        return {**members, "use": "sig", "alg": self.algorithm, "kid": self.kid}

    def sign(self, claims: Mapping[str, object]) -> str:
        """A token with these claims, in the compact form."""
        return jwt.encode(dict(claims), self.key, self.algorithm, {"kid": self.kid})


def key_set(members: Iterable[Mapping[str, object]]) -> bytes:
    """A JWK Set with these JWKs, as a server sends it."""
    return json.dumps({"keys": list(members)}, indent=2).encode()
