"""Private keys that are elsewhere, in the form of cryptography's own; each signature is verified before it is used."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, NoReturn, Protocol, Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.padding import AsymmetricPadding
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from acme_iid.errors import SignerError
from acme_iid.protocol.public_keys import KeyPolicy
from acme_iid.signing import outcomes
from acme_iid.signing.places import PlaceError, ProgramPlace, TokenPlace

FOREIGN = KeyPolicy(("P-256", "P-384", "RSA"), (2048, 4096))
"""Keys that are used in tokens and behind programs."""
MAX_SIGNATURE_BYTES = 1024
"""More than any signature of such a key."""
MAX_SIGNED_BYTES = 32 * 1024 * 1024
"""The longest text that is given to a program: a list of revoked certificates can be long."""

_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)

ForeignPlace = TokenPlace | ProgramPlace
ForeignPublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


class Link(Protocol):
    """The way to a place: asks whatever signs there."""

    def ask(self, message: Mapping[str, object]) -> Mapping[str, object]:
        """Return the answer to a message.

        :raises SignerError: if there is none in time.
        """

    def release(self) -> None:
        """Say that this key asks no more; may be said twice."""


class _Foreign:
    """What such keys have in common.

    :param place: where the private key is.
    :param link: the way there.
    """

    def __init__(self, place: ForeignPlace, link: Link) -> None:
        self.place = place
        self.link = link

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self

    def private_bytes(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse, because the key does not leave its place."""
        raise UnsupportedAlgorithm(f"the key {self.place} does not leave its place; it only signs there")

    private_numbers = exchange = decrypt = private_bytes

    def _require_room(self, data: bytes) -> None:
        if len(data) > MAX_SIGNED_BYTES:
            raise SignerError(
                f"the key {self.place} is not asked to sign {len(data)} bytes; {MAX_SIGNED_BYTES} at most"
            )

    def _signature(self, kind: str, data: bytes, algorithm: hashes.HashAlgorithm) -> bytes:
        """Ask for a signature; it is not verified yet."""
        message: dict[str, object] = {"algorithm": f"{kind}-{algorithm.name}"}
        if isinstance(self.place, TokenPlace):
            digest = hashes.Hash(algorithm)
            digest.update(data)
            message |= {"key": str(self.place), "digest": base64.b64encode(digest.finalize()).decode()}
        else:
            message |= {"key": self.place.key, "tbs": base64.b64encode(data).decode()}
        answer = self.link.ask(message).get("signature")
        try:
            signature = base64.b64decode(answer.encode(), validate=True) if isinstance(answer, str) else b""
        except (ValueError, binascii.Error):
            signature = b""
        if not 0 < len(signature) <= MAX_SIGNATURE_BYTES:
            raise SignerError(f"the key {self.place} answered with something that is no signature in base64")
        return signature

    def _wrong(self, remark: str = "") -> SignerError:
        return SignerError(f"the key {self.place} gave a signature that its public key does not verify{remark}")


class ForeignECKey(_Foreign, ec.EllipticCurvePrivateKey):
    """A P-256 or P-384 key that signs in its place.

    :param public_key: what each signature is verified under.
    """

    def __init__(self, place: ForeignPlace, link: Link, public_key: ec.EllipticCurvePublicKey) -> None:
        super().__init__(place, link)
        self._public_key = public_key

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """The public key that was given."""
        return self._public_key

    @property
    def curve(self) -> ec.EllipticCurve:
        """The curve."""
        return self._public_key.curve

    @property
    def key_size(self) -> int:
        """The bits of a number of the curve."""
        return self._public_key.key_size

    def sign(self, data: bytes, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:  # type: ignore[override]
        """Return the signature over ``data``, DER, verified.

        :raises SignerError: if the place gives none in time, or a wrong one.
        """
        algorithm = _hash(getattr(signature_algorithm, "algorithm", None))
        self._require_room(data)
        with outcomes.noted(self.place):
            signature = self._signature("ecdsa", data, algorithm)
            try:
                self._public_key.verify(signature, data, ec.ECDSA(algorithm))
            except InvalidSignature as error:
                side_by_side = len(signature) == 2 * ((self.key_size + 7) // 8)
                raise self._wrong("; r and s side by side are no DER sequence" if side_by_side else "") from error
        return signature


class ForeignRSAKey(_Foreign, rsa.RSAPrivateKey):
    """An RSA key that signs in its place, with the padding PKCS #1 v1.5.

    :param public_key: what each signature is verified under.
    """

    def __init__(self, place: ForeignPlace, link: Link, public_key: rsa.RSAPublicKey) -> None:
        super().__init__(place, link)
        self._public_key = public_key

    def public_key(self) -> rsa.RSAPublicKey:
        """The public key that was given."""
        return self._public_key

    @property
    def key_size(self) -> int:
        """The bits of the modulus."""
        return self._public_key.key_size

    def sign(  # type: ignore[override]
        self, data: bytes, padding: AsymmetricPadding, algorithm: Prehashed | hashes.HashAlgorithm
    ) -> bytes:
        """Return the signature over ``data``, verified.

        :raises SignerError: if the place gives none in time, or a wrong one.
        """
        _require_pkcs1(padding)
        hashing = _hash(algorithm)
        self._require_room(data)
        with outcomes.noted(self.place):
            signature = self._signature("rsa-pkcs1", data, hashing)
            try:
                self._public_key.verify(signature, data, padding, hashing)
            except InvalidSignature as error:
                raise self._wrong() from error
        return signature


ForeignKey = ForeignECKey | ForeignRSAKey


def foreign_key(place: ForeignPlace, link: Link, public_key: object) -> ForeignKey:
    """Return the key with this public key.

    :raises PlaceError: if keys of this kind are not used in such places.
    """
    if (refusal := FOREIGN.refusal(public_key)) is not None:
        raise PlaceError(f"the key {place} cannot be used: {refusal}")
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        return ForeignECKey(place, link, public_key)
    assert isinstance(public_key, rsa.RSAPublicKey)
    return ForeignRSAKey(place, link, public_key)


def _hash(algorithm: object) -> hashes.HashAlgorithm:
    if isinstance(algorithm, _HASHES):
        return algorithm
    raise UnsupportedAlgorithm("a key in a token or behind a program signs with SHA-256, SHA-384 or SHA-512 only")


def _require_pkcs1(scheme: AsymmetricPadding) -> None:
    if not isinstance(scheme, padding.PKCS1v15):
        raise UnsupportedAlgorithm("an RSA key in a token or behind a program signs with PKCS #1 v1.5 only")
