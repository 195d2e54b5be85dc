"""Files that say where an issuer's key is, of one line of TOML, ``key = "PLACE"``."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from acme_iid.issuance import keys
from acme_iid.issuance.keys import CAFileError, PrivateKey
from acme_iid.signing import places
from acme_iid.signing.keys import ForeignKey
from acme_iid.signing.places import FilePlace, Place, PlaceError

_FILE_REMARK = '# Where the key is: "file:" and a path, from the home\'s folder on.'
_REMARK = (
    '# Where the key is, in a token ("pkcs11:", RFC 7512) or behind a program ("exec:"). It does not leave its place.'
)


def text(place: Place) -> str:
    """Return the contents of such a file."""
    # A place is printable, and JSON's strings of printable text are TOML's.
    key = json.dumps(str(place), ensure_ascii=False)
    return f"{_FILE_REMARK if isinstance(place, FilePlace) else _REMARK}\nkey = {key}\n"


def read(path: Path) -> Place:
    """Return the place that a file says; nothing is contacted.

    :raises CAFileError: if it cannot be read or says none; the text names the file.
    """
    try:
        with path.open("rb") as stream:
            table = tomllib.loads(stream.read(keys.MAX_FILE_BYTES).decode())
    except OSError as error:
        raise CAFileError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise CAFileError(f"{path} is no TOML: {error}") from error
    unknown = sorted(set(table) - {"key"})
    if unknown:
        raise CAFileError(f"{path} has keys that are not known: {', '.join(unknown)}; 'key' is the only one")
    key = table.get("key")
    if not isinstance(key, str):
        raise CAFileError(f'{path} does not say where the key is; write key = "file:secrets/NAME"')
    try:
        return places.parse(key)
    except PlaceError as error:
        raise CAFileError(f"{path} does not say where the key is: {error}") from error


def of_key(key: PrivateKey, file: Path) -> Place:
    """Return the place of an issuer's key: its own, or a file in the home.

    :param file: where the home has a key of this issuer.
    """
    return key.place if isinstance(key, ForeignKey) else FilePlace(file)
