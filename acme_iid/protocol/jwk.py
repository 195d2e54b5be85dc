"""Public keys as JSON Web Keys, and their thumbprints: how accounts and CSRs are compared by key (RFC 7638)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from acme_iid.binding import base64url
from acme_iid.protocol.public_keys import ACCOUNTS, CURVES, PublicKey

ALGORITHMS = ("ES256", "ES384", "ES512", "EdDSA", "RS256")
"""The JWS algorithms that requests can be signed with (RFC 7518 section 3.1, RFC 8037 section 3.1)."""

_KEY_MEMBERS = ("kty", "crv", "x", "y", "n", "e")
_COORDINATE_OCTETS = {"P-256": 32, "P-384": 48, "P-521": 66}
_MAX_MEMBER = 1400  # characters: the modulus of 8192 bits has 1366


def canonical(members: Mapping[str, object]) -> str:
    """Return the members of a JWK that make the key, as JSON that is the same for the same key.

    All other members are left out: they would be stored with every key, at the sender's length.

    :raises ValueError: if it holds a secret, or a member that is not a text or is too long for any key.
    """
    if "d" in members or members.get("kty") == "oct":
        raise ValueError("the JWK holds a secret; only public keys are sent")
    kept = {name: members[name] for name in _KEY_MEMBERS if name in members}
    if not all(isinstance(value, str) and len(value) <= _MAX_MEMBER for value in kept.values()):
        raise ValueError("the JWK has a member that is not a text, or longer than any key's")
    return json.dumps(kept, sort_keys=True, separators=(",", ":"))


@lru_cache(maxsize=4096)
def load(text: str) -> PublicKey:
    """Return the public key in canonical JWK JSON (RFC 7517). Remembered by the whole text, so that it cannot be stale.

    :param text: as :func:`canonical` made it.
    :raises ValueError: with the fault, in words: a kind of key that this server does not know, or a weak key.
    """
    members = json.loads(text)
    if (fault := _coordinate_fault(members)) is not None:
        raise ValueError(fault)
    try:
        key: object = jwt.PyJWK(members).key
    except (jwt.PyJWTError, UnsupportedAlgorithm, ValueError, TypeError, AttributeError) as error:
        raise ValueError("the JWK is not a key that this server knows") from error
    if (refusal := ACCOUNTS.refusal(key)) is not None:
        raise ValueError(refusal)
    assert isinstance(key, PublicKey)  # no other kind is accepted
    return key


def _coordinate_fault(members: Mapping[str, str]) -> str | None:
    """The coordinate of an EC key that is shorter than its curve asks for (RFC 7518 section 6.2.1.2), in words.

    Some clients leave out octets of zero at the beginning, which one key in 128 has: their keys are named, since they
    are refused by most servers, and since only another key or another release of the client helps.
    """
    octets = _COORDINATE_OCTETS.get(members.get("crv", ""))
    if members.get("kty") != "EC" or octets is None:
        return None
    characters = -(-octets * 4 // 3)
    for name in ("x", "y"):
        if 0 < len(members.get(name, "")) < characters:
            return (
                f"the JWK's {name} is too short: coordinates of {members['crv']} have {octets} octets, those of zero at"
                " the beginning too (RFC 7518 section 6.2.1.2); make another account key, or update the client"
            )
    return None


def spki(public_key: PublicKey) -> bytes:
    """Return a key's SubjectPublicKeyInfo in DER."""
    return public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def thumbprint(public_key: PublicKey) -> str:
    """Return the JWK SHA-256 thumbprint of a key: base64url without padding, 43 characters (RFC 7638).

    :raises ValueError: if the key's curve has no JWK name among P-256, P-384 and P-521.
    """
    # Only the required members, in lexicographic order, without blanks (RFC 7638 section 3.2, RFC 8037 section 2).
    text = json.dumps(_required_members(public_key), sort_keys=True, separators=(",", ":"))
    return base64url(hashlib.sha256(text.encode()).digest())


def _required_members(key: PublicKey) -> dict[str, str]:
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        return {"kty": "RSA", "n": _integer(numbers.n), "e": _integer(numbers.e)}
    if isinstance(key, ed25519.Ed25519PublicKey):
        return {"kty": "OKP", "crv": "Ed25519", "x": base64url(key.public_bytes(Encoding.Raw, PublicFormat.Raw))}
    if key.curve.name not in CURVES:
        raise ValueError(f"the curve {key.curve.name} is not among {', '.join(CURVES.values())}")
    # Both coordinates, each of the curve's size, after an octet that says so (SEC 1 section 2.3.3).
    point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]
    size = len(point) // 2
    return {
        "kty": "EC",
        "crv": CURVES[key.curve.name],
        "x": base64url(point[:size]),
        "y": base64url(point[size:]),
    }


def _integer(value: int) -> str:
    return base64url(value.to_bytes((value.bit_length() + 7) // 8, "big"))
