"""The account key of this machine at a CA: made once, kept private, never carried to another machine.

The key stands for the instance: the CA ties the instance to the first account that proves it, and every
request is signed by that key. So it is kept together with the id of the instance that it was made on. A disk
image that is started as another instance carries the file along, but there it is the key of somebody
else, and that instance gets a key of its own.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.b64 import b64encode
from josepy.jwk import JWKEC

from acme_iid_client import places
from acme_iid_client.errors import ClientError


@dataclass(frozen=True, slots=True)
class Account:
    """An account key and what is known about it.

    :ivar file: where it is kept.
    :ivar instance: the instance it was made on, by the client's own reading (``aws:i-0abc...``).
    :ivar url: the account's URL at the CA; None until it is registered.
    """

    file: Path
    instance: str
    key: JWKEC
    url: str | None = None

    @property
    def thumbprint(self) -> str:
        """The key's SHA-256 thumbprint, base64url (RFC 7638)."""
        return b64encode(self.key.thumbprint()).decode("ascii")

    def registered(self, url: str | None) -> Account:
        """The account with its URL at the CA, kept for the next time; None forgets it."""
        known = replace(self, url=url)
        places.write_file(self.file, _encode(known))
        return known


def of_instance(state: Path, ca_url: str, instance: str) -> tuple[Account, list[str]]:
    """The account of this instance at a CA; its key is made if there is none.

    :returns: the account and, if its key was just made although the disk holds others' keys for the same CA,
        the instances that those belong to.
    :raises ClientError: if the file of the key cannot be read.
    """
    directory = _directory(state, ca_url)
    file = directory / f"{_safe(instance)}.json"
    known = _load(file)
    if known is not None:
        return known, []
    others = [account.instance for account in all_of(state, ca_url)]
    places.make_directory(directory)
    made = Account(file, instance, JWKEC(key=ec.generate_private_key(ec.SECP256R1())))
    # Two first orders may run at the same time, at boot for one: the first key counts for both.
    places.write_file(file, _encode(made), keep=True)
    return _load(file) or made, others


def all_of(state: Path, ca_url: str) -> list[Account]:
    """The accounts at a CA whose keys this disk holds."""
    accounts = [_load(file) for file in sorted(_directory(state, ca_url).glob("[!.]*.json"))]
    return [account for account in accounts if account is not None]


def _directory(state: Path, ca_url: str) -> Path:
    return state / "accounts" / _safe(ca_url.removeprefix("https://"))


def _safe(text: str) -> str:
    """Text as a file name: unusual characters in hex, so that no two texts share one."""
    name = re.sub(r"[^A-Za-z0-9.-]", lambda found: f"_{ord(found[0]):02x}", text)
    return f"_{name}" if name.startswith(".") else name


def _encode(account: Account) -> bytes:
    pem = account.key.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    content = {"instance": account.instance, "account": account.url, "key": pem.decode("ascii")}
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
