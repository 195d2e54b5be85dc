"""Opens keys in their places, and shares one process between those that have the same login or program.

A file is no place of this module: :func:`acme_iid.issuance.keys.open_key` reads it, and passes the others on to here.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from acme_iid.signing.keys import ForeignECKey, ForeignKey, ForeignRSAKey
from acme_iid.signing.places import ProgramPlace, TokenPlace

ForeignPlace = TokenPlace | ProgramPlace


@dataclass(frozen=True, slots=True)
class Generated:
    """A key in a token that a certificate can be made for.

    :ivar made: False if it was there already, without a certificate, and is taken up.
    """

    public_key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey
    made: bool


def open_key(place: ForeignPlace, public_key: object) -> ForeignKey:
    """Return a key that signs in its place; nothing is contacted yet.

    :param public_key: what each signature is verified under: P-256, P-384, or RSA of 2048 to 4096 bits.
    :raises PlaceError: if keys of this kind are not used in such places.
    """
    raise NotImplementedError


def close(key: object) -> None:
    """End what asks for a key's signatures, once no other key needs it. Of a key from a file nothing is to end."""
    raise NotImplementedError


def public_key(place: ForeignPlace) -> ec.EllipticCurvePublicKey | rsa.RSAPublicKey:
    """Return the public key in a place. One signature, which is verified, proves that its private key is there.

    :raises SignerError: if the place does not answer, has no such key, or more than one.
    :raises PlaceError: if the key is of a kind that is not used.
    """
    raise NotImplementedError


def answers(key: object) -> None:
    """Ask a key for one signature over a fixed text; a key from a file always answers.

    :raises SignerError: if it does not answer.
    """
    raise NotImplementedError


def generate(place: TokenPlace, key_type: str, taken: Collection[str] = ()) -> Generated:
    """Make a key in a token, under the label (and the id) that its place names.

    A key that is there already is taken up, so that a try that failed after this leaves no second one.

    :param key_type: ``P-256``, ``P-384``, ``RSA-2048``, ``RSA-3072`` or ``RSA-4096``.
    :param taken: the ids (SHA-256 of the SubjectPublicKeyInfo, hex) of keys that have a certificate.
    :raises SignerError: if the token does not answer; if the key there is taken or of another type; if there are two.
    """
    raise NotImplementedError
