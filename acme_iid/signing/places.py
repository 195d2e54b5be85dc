"""Where a private key is: a file, a PKCS #11 token by its URI (RFC 7512), or behind a program."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote, unquote_to_bytes

MAX_CHARACTERS = 2048
"""The longest text of a place."""
MAX_ID_BYTES = 255
"""The longest CKA_ID, and the longest CKA_LABEL, that is looked for."""

_FILE = "file:"
_TOKEN = "pkcs11:"  # noqa: S105 - the scheme of a URI
_PROGRAM = "exec:"
_TOKEN_LENGTHS = {"token": 32, "manufacturer": 32, "serial": 16, "model": 16}
"""The octets that CK_TOKEN_INFO has for each (PKCS #11 section 3.2)."""
_NAMES_A_TOKEN = (*_TOKEN_LENGTHS, "slot-id")
_PATH = (*_NAMES_A_TOKEN, "object", "id", "type")
_QUERY = ("module-path", "pin-source")
_TEXT = re.compile(r"(?:[A-Za-z0-9\-._~:\[\]@!$'()*+,=&/?|]|%[0-9A-Fa-f]{2})*")
"""A value in a URI (RFC 7512 section 2.3), without the characters that separate attributes."""
_CREDENTIAL = re.compile(r"[A-Za-z0-9_.@-]{1,255}")
_SLOT = re.compile(r"[0-9]{1,19}")
_UNRESERVED = "-._~:@,+/"

_PIN_VALUE = (
    "pin-value is refused: the PIN would stand where others can read it; write it into a file of mode 0600 and name "
    "the file, as in ?pin-source=file:/etc/acme-iid/pin, or a systemd credential, as in ?pin-source=credential:pin"
)


class PlaceError(Exception):
    """The text does not say where a key is; a sentence says why, and what to write."""


@dataclass(frozen=True, slots=True)
class FilePlace:
    """A PEM file.

    :ivar path: absolute, or from the CA's home on.
    """

    path: Path

    def __str__(self) -> str:
        """The text that :func:`parse` reads."""
        return f"{_FILE}{self.path}"


@dataclass(frozen=True, slots=True)
class TokenPlace:
    """A key in a PKCS #11 token, and what opens the token.

    :ivar module: the module's shared library, an absolute path.
    :ivar pin_source: ``file:`` and an absolute path, or ``credential:`` and the name of a systemd credential.
    :ivar label: the key's CKA_LABEL, the URI's ``object``; None if only the id names it.
    :ivar id: the key's CKA_ID; None if only the label names it.
    """

    module: Path
    pin_source: str
    token: str | None = None
    manufacturer: str | None = None
    serial: str | None = None
    model: str | None = None
    slot_id: int | None = None
    label: str | None = None
    id: bytes | None = None

    def __str__(self) -> str:
        """The URI that :func:`parse` reads. It never holds a PIN."""
        named = {name: getattr(self, name) for name in _TOKEN_LENGTHS} | {"slot-id": self.slot_id, "object": self.label}
        path = [f"{name}={quote(str(value), safe=_UNRESERVED)}" for name, value in named.items() if value is not None]
        if self.id is not None:
            path.append("id=" + "".join(f"%{octet:02X}" for octet in self.id))
        query = f"module-path={quote(str(self.module), safe=_UNRESERVED)}"
        return f"{_TOKEN}{';'.join(path)}?{query}&pin-source={quote(self.pin_source, safe=_UNRESERVED)}"

    @property
    def pin_file(self) -> Path | None:
        """The file with the PIN; None if systemd hands it over."""
        scheme, _, path = self.pin_source.partition(":")
        return Path(path) if scheme == "file" else None

    @property
    def login(self) -> TokenPlace:
        """The same without a key: places whose logins are equal share one process."""
        return replace(self, label=None, id=None)


@dataclass(frozen=True, slots=True)
class ProgramPlace:
    """A key behind a program.

    :ivar command: the program, an absolute path, and its arguments; no shell reads them.
    :ivar key: the name that the program knows the key by.
    """

    command: tuple[str, ...]
    key: str

    def __str__(self) -> str:
        """The text that :func:`parse` reads."""
        return f"{_PROGRAM}{shlex.join((*self.command, self.key))}"


Place = FilePlace | TokenPlace | ProgramPlace


def parse(text: str) -> Place:
    """Return where a key is.

    :param text: ``file:PATH``; ``pkcs11:token=…;object=…?module-path=…&pin-source=file:…`` (RFC 7512); or
        ``exec:/PROGRAM [ARGUMENT]… KEY``, split into words as a shell would, with the key's name as the last one.
    :raises PlaceError: if the text is no such place.
    """
    if len(text) > MAX_CHARACTERS:
        raise PlaceError(f"the key's place has {len(text)} characters; {MAX_CHARACTERS} is the limit")
    if not text.isprintable():
        raise PlaceError("the key's place has a character in it that cannot be printed")
    if text.startswith(_TOKEN):
        return _token(text)
    if text.startswith(_PROGRAM):
        return _program(text)
    if text.startswith(_FILE) and len(text) > len(_FILE):
        return FilePlace(Path(text.removeprefix(_FILE)))
    raise PlaceError(f"{_cut(text)!r} is no place of a key; it begins with file:, pkcs11: or exec:")


def _program(text: str) -> ProgramPlace:
    try:
        words = shlex.split(text.removeprefix(_PROGRAM))
    except ValueError as error:
        raise PlaceError(f"the words after exec: cannot be told apart: {str(error).lower()}") from error
    if len(words) < 2 or not all(words):
        raise PlaceError("exec: is followed by a program and, as the last word, the name of its key; write for example "
                         "exec:/usr/local/bin/sign-with-kms alias/acme")  # fmt: skip
    if not words[0].startswith("/"):
        raise PlaceError(f"the program {_cut(words[0])!r} is not an absolute path; write it from / on")
    return ProgramPlace(tuple(words[:-1]), words[-1])


def _token(text: str) -> TokenPlace:
    path, _, query = text.removeprefix(_TOKEN).partition("?")
    named = _attributes(path, ";", _PATH)
    asked = _attributes(query, "&", _QUERY)
    if named.pop("type", b"private") != b"private":
        _refuse("its type is private: the CA signs with it")
    if not any(name in named for name in _NAMES_A_TOKEN):
        _refuse("it names no token; begin with pkcs11:token=LABEL")
    if "object" not in named and "id" not in named:
        _refuse("it names no key; add ;object=LABEL, or ;id= with the octets of its id as %01%02")
    slot = _decoded(named.pop("slot-id", b""), "slot-id", 19)
    if slot and not _SLOT.fullmatch(slot):
        _refuse("its slot-id is no number")
    key_id = named.pop("id", None)
    if key_id is not None and not 0 < len(key_id) <= MAX_ID_BYTES:
        _refuse(f"its id is empty, or longer than {MAX_ID_BYTES} octets")
    texts = {name: _decoded(value, name, _TOKEN_LENGTHS.get(name, MAX_ID_BYTES)) for name, value in named.items()}
    if "" in texts.values():
        _refuse("one of its attributes is empty")
    return TokenPlace(
        _module(asked),
        _pin_source(asked),
        **{name: texts.get(name) for name in _TOKEN_LENGTHS},
        slot_id=int(slot) if slot else None,
        label=texts.get("object"),
        id=key_id,
    )


def _attributes(text: str, separator: str, known: tuple[str, ...]) -> dict[str, bytes]:
    """The attributes of one part of a URI, decoded; each at most once, and no unknown ones."""
    decoded: dict[str, bytes] = {}
    for part in text.split(separator) if text else ():
        name, equals, value = part.partition("=")
        if name == "pin-value":
            raise PlaceError(_PIN_VALUE)
        if not equals or name not in known:
            _refuse(f"it may not have {_cut(part)!r} there; in this part it has {', '.join(known)}")
        if name in decoded:
            _refuse(f"it has {name} twice")
        if not _TEXT.fullmatch(value):
            _refuse(f"the value of {name} has a character that a URI writes as % and two hexadecimal digits")
        decoded[name] = unquote_to_bytes(value)
    return decoded


def _module(asked: dict[str, bytes]) -> Path:
    path = _decoded(asked.get("module-path", b""), "module-path", MAX_CHARACTERS)
    if not path.startswith("/"):
        _refuse("it needs the PKCS #11 module as an absolute path: ?module-path=/usr/lib/softhsm/libsofthsm2.so")
    return Path(path)


def _pin_source(asked: dict[str, bytes]) -> str:
    source = _decoded(asked.get("pin-source", b""), "pin-source", MAX_CHARACTERS)
    scheme, _, rest = source.partition(":")
    if scheme == "file" and rest.startswith("/"):
        return f"file:{Path('/' + rest.lstrip('/'))}"
    if scheme == "credential" and _CREDENTIAL.fullmatch(rest) and rest not in {".", ".."}:
        return source
    return _refuse("it needs the PIN's file or credential: &pin-source=file:/PATH or &pin-source=credential:NAME")


def _decoded(value: bytes, name: str, limit: int) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        raise PlaceError(f"this pkcs11 URI cannot be used: its {name} is not UTF-8") from error
    if len(value) > limit:
        _refuse(f"its {name} has more than {limit} octets")
    if not text.isprintable():
        _refuse(f"its {name} has a character that cannot be printed")
    return text


def _refuse(reason: str) -> NoReturn:
    raise PlaceError(f"this pkcs11 URI cannot be used: {reason}")


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}…"
