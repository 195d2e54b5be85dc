"""Issuers' keys that stay in a token or behind a program: taken for a new issuer, and asked whether they answer."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from acme_iid.config.settings import Config
from acme_iid.errors import RequestError, SignerError
from acme_iid.issuance import home, keys
from acme_iid.issuance.issuer import key_id
from acme_iid.issuance.keys import CAFileError, PrivateKey
from acme_iid.signing import signers
from acme_iid.signing.keys import ForeignPlace
from acme_iid.signing.places import FilePlace, TokenPlace
from acme_iid.store import issuers
from acme_iid.store.existing import existing


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that no issuer of the CA has.

    :ivar made: whether it was made now; one that was there may be left from a try that failed.
    """

    key: PrivateKey
    made: bool


def taken(config: Config) -> frozenset[str]:
    """Return the ids of the keys that issuers have: those in the home, and those that the store knows.

    :raises CAFileError: if a certificate in the home cannot be read.
    :raises StoreUnavailableError: if there is a store, and it cannot be used now.
    """
    certificates = home.issuing_certificates(config.home) if home.has_issuers(config.home) else ()
    with existing(config.store.url) as database:
        stored = [] if database is None else issuers.every(database)
    return frozenset((*(key_id(entry.public_key()) for entry in certificates), *(entry.id for entry in stored)))


def use(place: ForeignPlace, taken: Collection[str]) -> NewKey:
    """Return the key that is in a place, for a new issuer.

    :param taken: the ids of keys that issuers have.
    :raises RequestError: if an issuer has it.
    :raises SignerError: if the place does not answer, or has no such key.
    :raises PlaceError: if the key is of a kind that is not used there.
    """
    public_key = signers.public_key(place)
    if key_id(public_key) in taken:
        raise RequestError(f"the key {place} has a certificate already; choose another key for the new issuer")
    return NewKey(signers.open_key(place, public_key), made=False)


def generate(place: TokenPlace, key_type: str, taken: Collection[str]) -> NewKey:
    """Return a new key in a token, or the one that is there and that no issuer has.

    :param key_type: of :data:`acme_iid.signing.signers.KEY_TYPES`.
    :param taken: the ids of keys that issuers have.
    :raises SignerError: if the token does not answer or does not make it; if the key there is another issuer's, or of
        another type.
    """
    generated = signers.generate(place, key_type, taken)
    return NewKey(signers.open_key(place, generated.public_key), generated.made)


def ask(folder: Path, issuers: Sequence[x509.Certificate]) -> dict[str, str | None]:
    """Ask the keys of issuers for one signature each, all at the same time; a key in a file is not asked.

    :param folder: the home that says where their keys are.
    :param issuers: their certificates.
    :returns: by the ids of the issuers that were asked: why the key does not answer, or None if it does.
    :raises CAFileError: if the home does not say where a key is.
    """
    places = {key_id(issuer.public_key()): home.key_place(folder, key_id(issuer.public_key())) for issuer in issuers}
    asked = [issuer for issuer in issuers if not isinstance(places[key_id(issuer.public_key())], FilePlace)]

    def fault(issuer: x509.Certificate) -> str | None:
        try:
            key = keys.open_key(folder, places[key_id(issuer.public_key())], issuer.public_key(), None)
            try:
                signers.answers(key)
            finally:
                signers.close(key)
        except (CAFileError, SignerError) as error:
            return str(error)
        return None

    with ThreadPoolExecutor(max(1, len(asked))) as pool:
        return {key_id(issuer.public_key()): why for issuer, why in zip(asked, pool.map(fault, asked), strict=True)}
