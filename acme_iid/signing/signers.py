"""Opens keys in their places, and shares one process between those that have the same login or program.

A file is no place of this module: :func:`acme_iid.issuance.keys.open_key` reads it, and passes the others on to here.
"""

from __future__ import annotations

import base64
import sys
import threading
import weakref
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.serialization import load_der_public_key

from acme_iid.errors import SignerError
from acme_iid.signing import outcomes
from acme_iid.signing.asker import Asker
from acme_iid.signing.keys import (
    FOREIGN,
    ForeignECKey,
    ForeignKey,
    ForeignPlace,
    ForeignPublicKey,
    ForeignRSAKey,
    foreign_key,
)
from acme_iid.signing.ownership import require_private
from acme_iid.signing.places import PlaceError, ProgramPlace, TokenPlace

KEY_TYPES = ("P-256", "P-384", "RSA-2048", "RSA-3072", "RSA-4096")
"""The types of keys that a token makes."""
GENERATE_SECONDS = 120.0
"""How long a token may take to make a key: RSA can need a minute."""

_PROBE = b"acme-iid: does this key answer?"

# Reentrant: a key may be collected while another one is opened, and is let go of in the same thread then.
_lock = threading.RLock()
_shared: dict[tuple[str, ...], tuple[Asker, set[_Lease]]] = {}


def answered(key: object) -> bool | None:
    """Whether a key gave the right signature when this process asked it last; None for one in a file, or not asked."""
    return outcomes.latest(key.place) if isinstance(key, ForeignECKey | ForeignRSAKey) else None


@dataclass(frozen=True, slots=True)
class Generated:
    """A key in a token that a certificate can be made for.

    :ivar made: False if it was there already, without a certificate, and is taken up.
    """

    public_key: ForeignPublicKey
    made: bool


class _Lease:
    """A key's share in the process that is asked for it."""

    def __init__(self, place: ForeignPlace) -> None:
        self._identity = (str(place.login),) if isinstance(place, TokenPlace) else place.command
        with _lock:
            new: tuple[Asker, set[_Lease]] = (Asker(_name(place), _command(place), _check(place)), set())
            self._asker, leases = _shared.setdefault(self._identity, new)
            leases.add(self)

    def ask(self, message: Mapping[str, object]) -> Mapping[str, object]:
        """Ask the shared process."""
        return self._asker.ask(message)

    def release(self, *, wait: bool = True) -> None:
        """Give the share back; the last one ends the process."""
        with _lock:
            asker, leases = _shared.get(self._identity, (None, set()))
            if asker is not self._asker or self not in leases:
                return
            leases.remove(self)
            if leases:
                return
            del _shared[self._identity]
        self._asker.close(wait=wait)


def open_key(place: ForeignPlace, public_key: object) -> ForeignKey:
    """Return a key that signs in its place; nothing is contacted yet, and no process started.

    Ask it first after all forks: a process has one of its own for each login or program, and shares it with no other.

    :param public_key: what each signature is verified under: P-256, P-384, or RSA of 2048 to 4096 bits.
    :raises PlaceError: if keys of this kind are not used in such places.
    """
    lease = _Lease(place)
    try:
        key = foreign_key(place, lease, public_key)
    except PlaceError:
        lease.release()
        raise
    weakref.finalize(key, lease.release, wait=False)
    return key


def close(key: object) -> None:
    """End what asks for a key's signatures, once no other key needs it. Of a key from a file nothing is to end."""
    if isinstance(key, ForeignECKey | ForeignRSAKey):
        key.link.release()


def public_key(place: ForeignPlace) -> ForeignPublicKey:
    """Return the public key in a place. One signature, which is verified, proves that its private key is there.

    A program is asked ``{"id", "key", "ask": "public-key"}`` and answers ``{"id", "public_key"}``: the DER of its
    SubjectPublicKeyInfo in base64.

    :raises SignerError: if the place does not answer, has no such key, or more than one.
    :raises PlaceError: if the key is of a kind that is not used.
    """
    lease = _Lease(place)
    try:
        key = _read(place, lease.ask({"key": _key(place), "ask": "public-key"}))
        answers(foreign_key(place, lease, key))
    finally:
        lease.release()
    return key


def answers(key: object) -> None:
    """Ask a key for one signature over a fixed text; a key from a file always answers.

    :raises SignerError: if it does not answer.
    """
    if isinstance(key, ForeignECKey):
        key.sign(_PROBE, ec.ECDSA(hashes.SHA256()))
    elif isinstance(key, ForeignRSAKey):
        key.sign(_PROBE, padding.PKCS1v15(), hashes.SHA256())


def generate(place: TokenPlace, key_type: str, taken: Collection[str] = ()) -> Generated:
    """Make a key in a token, under the label (and the id) that its place names.

    A key that is there already is taken up, so that a try that failed after this leaves no second one.

    :param key_type: of :data:`KEY_TYPES`.
    :param taken: the ids (SHA-256 of the SubjectPublicKeyInfo, hex) of keys that have a certificate.
    :raises SignerError: if the token does not answer; if the key there is taken or of another type; if there are two.
    """
    if key_type not in KEY_TYPES:
        raise SignerError(f"a token makes no key of the type {key_type}; it makes {', '.join(KEY_TYPES)}")
    question = {"key": str(place), "ask": "generate", "type": key_type, "taken": sorted(taken)}
    with closing(Asker(_name(place), _command(place), _check(place), answer_seconds=GENERATE_SECONDS)) as asker:
        answer = asker.ask(question)
    return Generated(_read(place, answer), answer.get("made") is True)


def _read(place: ForeignPlace, answer: Mapping[str, object]) -> ForeignPublicKey:
    text = answer.get("public_key")
    try:
        key = load_der_public_key(base64.b64decode(text, validate=True) if isinstance(text, str) else b"")
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SignerError(f"{place} answered with something that is no public key, DER in base64") from error
    if (refusal := FOREIGN.refusal(key)) is not None:
        raise PlaceError(f"the key {place} cannot be used: {refusal}")
    assert isinstance(key, ForeignPublicKey)
    return key


def _key(place: ForeignPlace) -> str:
    return str(place) if isinstance(place, TokenPlace) else place.key


def _name(place: ForeignPlace) -> str:
    return f"the key {place}"


def _command(place: ForeignPlace) -> tuple[str, ...]:
    if isinstance(place, ProgramPlace):
        return place.command
    # -P: no module is taken from the folder that the server happens to be in.
    return (sys.executable, "-P", "-m", "acme_iid.signing.token", str(place))


def _check(place: ForeignPlace) -> Callable[[], None]:
    """Before each start: a program that others can change is not run. The token's process looks at its module."""
    if isinstance(place, TokenPlace):
        return lambda: None
    return lambda: require_private(Path(place.command[0]))
