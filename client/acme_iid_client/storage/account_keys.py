"""The account key of this machine at a CA: made once, kept private, never carried to another machine.

The key stands for the instance: the CA ties the instance to the first account that proves it, and every
request is signed by that key. So it is kept together with the id of the instance that it was made on. A disk
image that is started as another instance carries the file along, but there it is the key of somebody
else, and that instance gets a key of its own.

A key that is to replace the account's stands beside it, in a file of its own, from before the CA is asked
until the CA's answer is known (:mod:`acme_iid_client.acme.registration`), so that no crash loses the one that counts.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.jwk import JWKEC

from acme_iid.binding import base64url
from acme_iid.protocol import key_files
from acme_iid_client.deadline import Deadline
from acme_iid_client.errors import ClientError
from acme_iid_client.storage import directories
from acme_iid_client.storage.descriptors import open_directory, read_secret

_REGISTERED_SECONDS = 60.0
"""The longest wait for the file of a key, to keep the account's URL in it."""
_LOCK_PAUSE = 0.1
"""Seconds between two looks whether another program is done with the key."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account key and what is known about it.

    :ivar file: where it is kept.
    :ivar instance: the instance it was made on, by the client's own reading (``aws:i-0abc...``); "" for a key
        that a person keeps (``--account-key``), whose file holds the key and nothing else.
    :ivar url: the account's URL at the CA; None until it is registered, or if it is not kept.
    """

    file: Path
    instance: str
    key: JWKEC
    url: str | None = None

    @property
    def thumbprint(self) -> str:
        """The key's SHA-256 thumbprint, base64url (RFC 7638)."""
        return thumbprint(self.key)

    def registered(self, url: str | None) -> Account:
        """The account with its URL at the CA, kept for the next time; None forgets it."""
        known = replace(self, url=url)
        if self.instance:
            # Another program may have given the account another key since this one read it.
            with self.locked(Deadline(_REGISTERED_SECONDS)):
                if self.reread().thumbprint == self.thumbprint:
                    directories.write_file(self.file, _encode(known))
        return known

    @property
    def _coming_file(self) -> Path:
        return self.file.with_name(f".{self.file.name}.coming")

    def coming(self) -> JWKEC | None:
        """The key that is to replace this one, if the CA's answer is still owed.

        :raises ClientError: if its file cannot be read.
        """
        try:
            return _load_pem(self._coming_file.read_bytes(), self._coming_file)
        except FileNotFoundError:
            return None

    def keep_coming(self, key: JWKEC) -> None:
        """Keep the key that is to replace this one, durably, before anybody is asked."""
        directories.write_file(self._coming_file, _to_pem(key))

    def drop_coming(self) -> None:
        """Forget the key that was to replace this one."""
        directories.remove_file(self._coming_file)

    def replaced(self, key: JWKEC) -> Account:
        """The account with the other key, kept in the place of this one."""
        changed = replace(self, key=key)
        directories.write_file(self.file, _encode(changed) if self.instance else _to_pem(key))
        changed.drop_coming()
        return changed

    def reread(self) -> Account:
        """The account as its file has it now.

        :raises ClientError: if the file is gone or cannot be read.
        """
        known = _load(self.file) if self.instance else from_file(self.file)
        if known is None:
            raise ClientError(f"The account key in {self.file} is gone.")
        return known

    def set_aside(self) -> Path:
        """Move the key away, so that the next order makes another; returns where it is now."""
        aside = self.file.with_name(f".{self.file.name}.{self.thumbprint}.deactivated")
        with open_directory(self.file.parent) as directory:
            directory.entry(self.file.name).rename(directory.entry(aside.name))
        self.drop_coming()
        return aside

    @contextlib.contextmanager
    def locked(self, deadline: Deadline) -> Iterator[None]:
        """Keep other programs of ours from changing the key meanwhile.

        :raises ClientError: if one of them does not end within the time.
        """
        with open_directory(self.file.parent) as directory:
            while True:
                try:
                    fcntl.flock(directory.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if not deadline.sleep(_LOCK_PAUSE):
                        raise ClientError(
                            f"Another acme-iid is changing the account key in {self.file}, and does not end."
                        ) from None
            yield


def thumbprint(key: JWKEC) -> str:
    """A key's SHA-256 thumbprint, base64url (RFC 7638)."""
    return base64url(key.thumbprint())


def new_key() -> JWKEC:
    """A new account key, on P-256."""
    return JWKEC(key=ec.generate_private_key(ec.SECP256R1()))


def of_instance(state: Path, ca: str, instance: str, key_file: Path | None = None) -> tuple[Account, list[str]]:
    """The account of this instance at a CA; its key is made at the first time.

    :param ca: the name under which the CA's things are kept, its root's fingerprint.
    :param key_file: the key that a person keeps, which counts before the one that is kept here.
    :returns: the account and, if its key was just made although the disk holds others' keys for the same CA,
        the instances that those belong to.
    :raises ClientError: if the file of the key cannot be read.
    """
    if key_file is not None:
        return from_file(key_file), []
    directory = _directory(state, ca)
    file = directory / f"{directories.safe_name(instance)}.json"
    known = _load(file)
    if known is not None:
        return known, []
    others = [account.instance for account in all_of(state, ca)]
    directories.make_directory(directory)
    made = Account(file, instance, new_key())
    # Two first orders may run at the same time, at boot for one: the first key counts for both.
    directories.write_file(file, _encode(made), keep=True)
    return _load(file) or made, others


def all_of(state: Path, ca: str) -> list[Account]:
    """The accounts at a CA that have their keys on this disk."""
    accounts = [_load(file) for file in sorted(_directory(state, ca).glob("[!.]*.json"))]
    return [account for account in accounts if account is not None]


def from_file(file: Path) -> Account:
    """The account of a key that a person keeps in a file.

    :raises ClientError: if there is no key, others can read it, or this program cannot sign with its kind.
    """
    file = file.absolute()
    try:
        key = _load_pem(read_secret(file, f"The account key {file}"), file)
    except FileNotFoundError as error:
        raise ClientError(
            f"The account key {file} does not exist. This makes one, readable by you alone: "
            f"(umask 077; openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {file})"
        ) from error
    return Account(file, "", key)


def _directory(state: Path, ca: str) -> Path:
    return state / "accounts" / directories.safe_name(ca)


def _to_pem(key: JWKEC) -> bytes:
    pem: bytes = key.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem


def _load_pem(content: bytes, file: Path) -> JWKEC:
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError, OverflowError, UnsupportedAlgorithm) as error:
        raise ClientError(f"The account key {file} is {key_files.describe(content, str(file))}.") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ClientError(f"The account key {file} is not an EC key on the curve P-256, which this program signs with.")
    return JWKEC(key=key)


def _encode(account: Account) -> bytes:
    content = {"instance": account.instance, "account": account.url, "key": _to_pem(account.key).decode("ascii")}
    return json.dumps(content, indent=2).encode() + b"\n"


def _load(file: Path) -> Account | None:
    try:
        content = json.loads(file.read_bytes())
        key = serialization.load_pem_private_key(content["key"].encode(), password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return Account(file, str(content["instance"]), JWKEC(key=key), content.get("account"))
    except FileNotFoundError:
        return None
    except (AssertionError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ClientError(
            f"The account key in {file} cannot be read. Restore the file from a backup; if there is none, move it "
            "away: a new key is made then, which an operator has to let in with 'acme-iid-ca instance release'."
        ) from error
