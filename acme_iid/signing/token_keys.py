"""The keys of a token as its objects: finds them, reads their public keys, makes new ones."""

from __future__ import annotations

import hashlib
import time
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pkcs11 import Attribute, KeyType, MechanismFlag, ObjectClass, exceptions, types

from acme_iid.errors import SignerError
from acme_iid.signing.places import TokenPlace

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
_CURVES: dict[bytes, ec.EllipticCurve] = {
    bytes.fromhex("06082a8648ce3d030107"): ec.SECP256R1(),
    bytes.fromhex("06052b81040022"): ec.SECP384R1(),
}
"""By the DER of their object identifiers, as CKA_EC_PARAMS has them."""


def _search(place: TokenPlace, kind: ObjectClass) -> dict[Attribute, Any]:
    search: dict[Attribute, Any] = {Attribute.CLASS: kind}
    if place.label is not None:
        search[Attribute.LABEL] = place.label
    if place.id is not None:
        search[Attribute.ID] = place.id
    return search


def private_keys(session: types.Session, place: TokenPlace) -> list[Any]:
    """Return the private keys that a place names; the library has no type for them."""
    return list(session.get_objects(_search(place, ObjectClass.PRIVATE_KEY)))


def needs_pin(key: Any) -> bool:
    """Return whether a private key asks for the PIN before each signature (CKA_ALWAYS_AUTHENTICATE)."""
    try:
        return bool(key[Attribute.ALWAYS_AUTHENTICATE])
    except exceptions.PKCS11Error:
        return False


def public_key(session: types.Session, key: Any) -> PublicKey:
    """Return the public key of a private one: its own numbers for RSA, for EC those of the public object with its id.

    :raises SignerError: if there is none, or it is of a curve that is not used.
    """
    try:
        if key[Attribute.KEY_TYPE] == KeyType.RSA:
            modulus, exponent = key[Attribute.MODULUS], key[Attribute.PUBLIC_EXPONENT]
            return rsa.RSAPublicNumbers(int.from_bytes(exponent), int.from_bytes(modulus)).public_key()
        search = {
            Attribute.CLASS: ObjectClass.PUBLIC_KEY,
            Attribute.KEY_TYPE: KeyType.EC,
            Attribute.ID: key[Attribute.ID],
        }
        public_keys = list(session.get_objects(search))
        if len(public_keys) != 1:
            raise SignerError("the token has no public key, or several, with the private key's id")
        curve = _CURVES.get(bytes(public_keys[0][Attribute.EC_PARAMS]))
        point = bytes(public_keys[0][Attribute.EC_POINT])
        if curve is None:
            raise SignerError("the key is of another curve than P-256 and P-384")
        size = 1 + 2 * ((curve.key_size + 7) // 8)
        # Some modules give the point in an OCTET STRING, as they should, and some give it alone.
        return ec.EllipticCurvePublicKey.from_encoded_point(curve, point[-size:])
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SignerError(f"the token's public key cannot be used: {error}") from error


def spki(key: PublicKey) -> bytes:
    """Return the SubjectPublicKeyInfo, DER."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def type_of(key: PublicKey) -> str:
    """Return a key's type as :data:`acme_iid.signing.signers.KEY_TYPES` has it."""
    return f"RSA-{key.key_size}" if isinstance(key, rsa.RSAPublicKey) else f"P-{key.key_size}"


def make(session: types.Session, place: TokenPlace, key_type: str) -> None:
    """Make a key pair that signs, and does nothing else, and cannot leave the token.

    :param session: one that may write.
    :param key_type: of :data:`acme_iid.signing.signers.KEY_TYPES`.
    """
    own = place.id or hashlib.sha256(f"{place.label} {time.time_ns()}".encode()).digest()[:16]
    options: dict[str, Any] = {
        "id": own,
        "label": place.label or "",
        "store": True,
        "capabilities": MechanismFlag.SIGN | MechanismFlag.VERIFY,
        "private_template": {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
    }
    if key_type.startswith("RSA-"):
        session.generate_keypair(KeyType.RSA, int(key_type.removeprefix("RSA-")), **options)
        return
    curve = next(der for der, curve in _CURVES.items() if curve.key_size == int(key_type.removeprefix("P-")))
    session.create_domain_parameters(KeyType.EC, {Attribute.EC_PARAMS: curve}, local=True).generate_keypair(**options)
