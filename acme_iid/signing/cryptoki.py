"""A token by its PKCS #11 module: logs in, signs digests with its keys, makes keys. Only the signer's process uses it.

Each thread has a session of its own, and all share one login. Where the token has ended them, everything is closed and
opened again, the module's own initialization too: with some modules nothing less helps (Yubico/yubihsm-shell #541).
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from pkcs11 import Attribute, KeyType, Mechanism, TokenFlag, exceptions, types

from acme_iid.errors import SignerError
from acme_iid.signing import pins, token_keys
from acme_iid.signing.module import Module
from acme_iid.signing.ownership import require_private
from acme_iid.signing.places import TokenPlace

RENEW_SECONDS = 1.0
"""The least time between two openings of a token that fails: a key that can't sign does not keep the others away."""

_T = TypeVar("_T")
_DIGEST_INFO = {
    "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "sha384": bytes.fromhex("3041300d060960864801650304020205000430"),
    "sha512": bytes.fromhex("3051300d060960864801650304020305000440"),
}
"""What goes before a digest in a signature with PKCS #1 v1.5 (RFC 8017 section 9.2, note 1)."""
_REFUSED_PIN = (exceptions.PinIncorrect, exceptions.PinInvalid, exceptions.PinLenRange)


class _Gate:
    """Lets several through at a time, or one alone when nobody else is inside."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._inside = 0
        self._alone = False

    @contextmanager
    def shared(self) -> Iterator[None]:
        with self._condition:
            self._condition.wait_for(lambda: not self._alone)
            self._inside += 1
        try:
            yield
        finally:
            with self._condition:
                self._inside -= 1
                self._condition.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self._condition:
            self._condition.wait_for(lambda: not self._alone)
            self._alone = True
            self._condition.wait_for(lambda: self._inside == 0)
        try:
            yield
        finally:
            with self._condition:
                self._alone = False
                self._condition.notify_all()


class GoneError(Exception):
    """The token cannot be opened; a new process may have more success. The text says why."""


class Token:
    """An open token.

    :param place: its module and names; the key that it names counts for nothing.
    :raises GoneError: if it cannot be opened. That its PIN was refused is no reason: see :meth:`run`.
    """

    def __init__(self, place: TokenPlace) -> None:
        self._place = place.login
        self._gate = _Gate()
        self._generation = 0
        self._renewed = -RENEW_SECONDS
        self._refused: pins.Stamp | None = None
        self._why = ""
        self._login: types.Session | None = None
        self._token: types.Token
        self._own = threading.local()
        try:
            require_private(place.module)
            self._module = Module(str(place.module))
        except SignerError as error:
            raise GoneError(str(error)) from error
        except exceptions.PKCS11Error as error:
            raise GoneError(f"the PKCS #11 module {place.module} cannot be used: {_named(error)}") from error
        self._open()

    @property
    def threaded(self) -> bool:
        """Whether several threads may use it."""
        return self._module.threaded

    def sign(self, place: TokenPlace, algorithm: str, digest: bytes) -> bytes:
        """Return a signature over a digest: DER for ECDSA.

        :param algorithm: ``ecdsa-`` or ``rsa-pkcs1-``, and the digest's.
        :raises SignerError: if there is none; a sentence says why.
        :raises GoneError: if the token cannot be opened again.
        """
        kind, _, name = algorithm.rpartition("-")
        if hashlib.new(name).digest_size != len(digest) or name not in _DIGEST_INFO:
            raise SignerError("this is no digest of that algorithm")
        return self.run(lambda session: self._sign(session, place, kind, _DIGEST_INFO[name], digest))

    def public_key(self, place: TokenPlace) -> bytes:
        """Return a key's SubjectPublicKeyInfo, DER; raises what :meth:`sign` does."""
        return self.run(lambda session: token_keys.spki(token_keys.public_key(session, self._key(session, place)[0])))

    def generate(self, place: TokenPlace, key_type: str, taken: Collection[str]) -> tuple[bytes, bool]:
        """Make a key, or take up the one that is there; raises what :meth:`sign` does.

        :param key_type: of :data:`acme_iid.signing.signers.KEY_TYPES`.
        :param taken: SHA-256 of the SubjectPublicKeyInfo, hex, of keys that have a certificate.
        :returns: its SubjectPublicKeyInfo, DER, and whether it was made.
        """
        there = self.run(lambda session: self._there(session, place, key_type, taken))
        if there is not None:
            return there, False
        with self._gate.shared():
            try:
                session = self._token.open(rw=True)
                token_keys.make(session, place, key_type)
            except exceptions.PKCS11Error as error:
                raise SignerError(f"the token makes no key: it answers {_named(error)}") from error
        return self.public_key(place), True

    def run(self, act: Callable[[types.Session], _T]) -> _T:
        """Do something in this thread's session; once more in a new one, if the token has ended the first.

        :raises SignerError: if it fails for another reason, or the PIN was refused and its file is the same since. A
            PIN is not tried twice: tokens lock themselves after a few wrong ones.
        :raises GoneError: if the token cannot be opened again.
        """
        if self._refused is not None:
            self._renew(self._generation)
        for last in (False, True):
            with self._gate.shared():
                generation = self._generation
                try:
                    if self._refused is None:
                        return act(self._session(generation))
                    problem = self._why
                except exceptions.PKCS11Error as error:
                    problem = f"the token answers {_named(error)}"
                except SignerError as error:
                    # A key may be hidden because the login has ended.
                    problem = str(error)
            if last or not self._renew(generation):
                break
        raise SignerError(problem)

    def _renew(self, generation: int) -> bool:
        """Open the token anew, unless another thread just did; return whether it makes sense to try again."""
        with self._gate.alone():
            if generation != self._generation:
                return True
            if self._refused is not None and self._refused == pins.stamp(self._place.pin_source):
                return False
            if time.monotonic() - self._renewed < RENEW_SECONDS:
                return False
            self._renewed = time.monotonic()
            self._generation += 1
            try:
                self._module.finalize()
                self._module.initialize()
            except exceptions.PKCS11Error as error:
                raise GoneError(f"the PKCS #11 module cannot be initialized again: {_named(error)}") from error
            self._open()
            return True

    def _open(self) -> None:
        try:
            pin, stamp = pins.read(self._place.pin_source)
            self._token = self._find()
            flags = self._token.flags
            if flags & TokenFlag.USER_PIN_LOCKED:
                raise GoneError("the token has locked its PIN; its security officer can set another one")
            if flags & TokenFlag.USER_PIN_FINAL_TRY:
                raise GoneError("one more wrong PIN would lock the token, so none is tried; log in with the right one "
                                "by hand, as with: pkcs11-tool --login --list-objects")  # fmt: skip
            self._login = self._token.open(user_pin=pin)
            self._refused = None
        except _REFUSED_PIN:
            self._refused = stamp
            self._why = f"the token refuses the PIN in {self._place.pin_source}; write the right one there"
        except SignerError as error:
            raise GoneError(str(error)) from error
        except exceptions.PKCS11Error as error:
            raise GoneError(f"the token cannot be opened: {_named(error)}") from error

    def _find(self) -> types.Token:
        tokens = []
        for slot in self._module.get_slots(token_present=True):
            try:
                token = slot.get_token()
            except (exceptions.TokenNotPresent, exceptions.TokenNotRecognised):
                continue
            if _is_named(token, self._place):
                tokens.append(token)
        if len(tokens) != 1:
            raise SignerError("there are several tokens of that name" if tokens else "there is no token of that name")
        return tokens[0]

    def _session(self, generation: int) -> types.Session:
        if getattr(self._own, "generation", None) != generation:
            self._own.session = self._token.open()
            self._own.keys = {}
            self._own.generation = generation
        session: types.Session = self._own.session
        return session

    def _key(self, session: types.Session, place: TokenPlace) -> tuple[Any, KeyType, bool]:
        """A private key, its type, and whether each signature needs the PIN."""
        known: tuple[Any, KeyType, bool] | None = self._own.keys.get(place)
        if known is None:
            keys = token_keys.private_keys(session, place)
            if len(keys) != 1:
                raise SignerError("there are several private keys of that name; add their id to the place, as ;id=%01"
                                  if keys else "there is no private key of that name")  # fmt: skip
            key = keys[0]
            known = self._own.keys[place] = key, key[Attribute.KEY_TYPE], token_keys.needs_pin(key)
        return known

    def _sign(self, session: types.Session, place: TokenPlace, kind: str, info: bytes, digest: bytes) -> bytes:
        key, key_type, needs_pin = self._key(session, place)
        if not hasattr(key, "sign"):
            raise SignerError("the private key may not sign (CKA_SIGN is false)")
        pin = pins.read(self._place.pin_source)[0] if needs_pin else None
        if (kind, key_type) == ("rsa-pkcs1", KeyType.RSA):
            return bytes(key.sign(info + digest, mechanism=Mechanism.RSA_PKCS, pin=pin))
        if (kind, key_type) != ("ecdsa", KeyType.EC):
            raise SignerError("the private key is of another type than its certificate's")
        raw = bytes(key.sign(digest, mechanism=Mechanism.ECDSA, pin=pin))
        half = len(raw) // 2
        # PKCS #11 has r and s side by side, each as long as the curve's order (section 2.3.1 of its mechanisms).
        return encode_dss_signature(int.from_bytes(raw[:half]), int.from_bytes(raw[half:]))

    def _there(self, session: types.Session, place: TokenPlace, key_type: str, taken: Collection[str]) -> bytes | None:
        if not token_keys.private_keys(session, place):
            return None
        public_key = token_keys.public_key(session, self._key(session, place)[0])
        spki = token_keys.spki(public_key)
        if hashlib.sha256(spki).hexdigest() in taken:
            raise SignerError("the key of that name has a certificate already; choose another name for the new one")
        if (its_type := token_keys.type_of(public_key)) != key_type:
            raise SignerError(f"there is a key of that name, and it is {its_type}, not {key_type}; "
                              "choose another name, or ask for that type")  # fmt: skip
        return spki


def _is_named(token: types.Token, place: TokenPlace) -> bool:
    asked = (
        (place.token, token.label),
        (place.manufacturer, token.manufacturer_id),
        (place.serial, token.serial.decode(errors="replace")),
        (place.model, token.model),
    )
    named = all(name is None or name == own.rstrip(" \0") for name, own in asked)
    return named and place.slot_id in {None, token.slot.slot_id}


def _named(error: exceptions.PKCS11Error) -> str:
    return f"{type(error).__name__} {error}".strip()
