"""A strict reader for COSE_Sign1 (RFC 9052 section 4.2) and the CBOR in it (RFC 8949), as AWS Nitro makes them.

It reads what Nitro sends, and refuses the rest of the standards: floats, tags inside values, strings in
pieces, numbers that are not in their shortest form, keys that stand twice, anything after the end. It
checks no signature: :func:`signed_bytes` gives the bytes that the signature covers.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_BYTES = 32 * 1024
"""NitroTPM documents have some 5,000 bytes."""
MAX_DEPTH = 8
MAX_VALUES = 1024
"""The values that there may be; a NitroTPM document has some 80."""
ES384 = -35
"""ECDSA with SHA-384, the algorithm's number in COSE (RFC 9053 section 2.1)."""

_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)
_SIGN1_TAG = 18
_INDEFINITE = 31
_BREAK = 0xFF
_ALGORITHM_HEADER = 1
_CONSTANTS = {20: False, 21: True, 22: None}


@dataclass(frozen=True, slots=True)
class Sign1:
    """A signed message that was read, and not yet verified.

    :ivar protected: the protected header's bytes, which the signature covers.
    :ivar signature: r and s, 48 octets each (RFC 9053 section 2.1).
    """

    protected: bytes
    payload: bytes
    signature: bytes


def parse(data: bytes) -> Sign1:
    """Read one COSE_Sign1 that is signed with ES384, tagged or not.

    :raises ValueError: with a sentence that states the fault.
    """
    # The tag is optional (RFC 9052 section 2), and there is one spelling of it: 0xd2.
    members = decode(data[1:] if data[:1] == bytes((_TAG << 5 | _SIGN1_TAG,)) else data)
    match members:
        case [bytes(protected), dict(unprotected), bytes(payload), bytes(signature)]:
            pass
        case _:
            raise ValueError("it is not a COSE_Sign1: header, map, payload and signature")
    if decode(protected) != {_ALGORITHM_HEADER: ES384}:
        raise ValueError("its protected header does not say ES384, and that alone")
    # Headers outside the signature have no say.
    if unprotected:
        raise ValueError("it has unprotected headers")
    if len(signature) != 96:
        raise ValueError("its signature is not 96 bytes long")
    return Sign1(protected, payload, signature)


def signed_bytes(message: Sign1) -> bytes:
    """The Sig_structure in CBOR, without external data (RFC 9052 section 4.4)."""
    context = b"Signature1"
    return b"".join(
        (
            _head(_ARRAY, 4),
            _head(_TEXT, len(context)) + context,
            _head(_BYTES, len(message.protected)) + message.protected,
            _head(_BYTES, 0),
            _head(_BYTES, len(message.payload)) + message.payload,
        )
    )


def decode(data: bytes) -> object:
    """The one CBOR value that ``data`` holds.

    :returns: int, bytes, str, list, dict (whose keys are int or str), bool or None.
    :raises ValueError: with a sentence, if it is something else or passes a limit.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"it is {len(data)} bytes long; {MAX_BYTES} is the limit")
    reader = _Reader(data)
    value = reader.value(0)
    if reader.position != len(data):
        raise ValueError(f"{len(data) - reader.position} bytes follow its end")
    return value


@dataclass(slots=True)
class _Reader:
    """A position in the input, at which the next value begins, and the number of values before it."""

    data: bytes
    position: int = 0
    values: int = 0

    def value(self, depth: int) -> object:
        """Read a value with all that is inside it."""
        self.values += 1
        if self.values > MAX_VALUES:
            raise ValueError(f"it holds more than {MAX_VALUES} values")
        if depth > MAX_DEPTH:
            raise ValueError(f"it nests more than {MAX_DEPTH} levels deep")
        kind, argument = self._head()
        if kind == _ARRAY:
            return self._array(argument, depth)
        if kind == _MAP:
            return self._map(argument, depth)
        assert argument is not None  # only arrays and maps may be of indefinite length
        if kind == _UNSIGNED:
            return argument
        if kind == _NEGATIVE:
            return -1 - argument
        if kind == _BYTES:
            return self._take(argument)
        return self._text(argument) if kind == _TEXT else _constant(kind, argument)

    def _text(self, length: int) -> str:
        try:
            return self._take(length).decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError("a text is not valid UTF-8") from error

    def _array(self, length: int | None, depth: int) -> list[object]:
        members: list[object] = []
        while self._more(length, len(members)):
            members.append(self.value(depth + 1))
        return members

    def _map(self, length: int | None, depth: int) -> dict[int | str, object]:
        members: dict[int | str, object] = {}
        while self._more(length, len(members)):
            key = self._key(depth + 1)
            if key in members:
                raise ValueError(f"a map has the key {ascii(key)[:64]} twice")
            members[key] = self.value(depth + 1)
        return members

    def _key(self, depth: int) -> int | str:
        match self.value(depth):
            # bool is an int to Python, and True would be the key 1 once more.
            case int() | str() as key if not isinstance(key, bool):
                return key
            case _:
                raise ValueError("a map has a key that is neither a number nor a text")

    def _more(self, length: int | None, count: int) -> bool:
        """Whether a further member follows: by the length, or until the break of an indefinite one."""
        if length is not None:
            return count < length
        if self.data[self.position : self.position + 1] == bytes((_BREAK,)):
            self.position += 1
            return False
        return True

    def _head(self) -> tuple[int, int | None]:
        """A value's major type and argument (RFC 8949 section 3); None stands for an indefinite length."""
        first = self._take(1)[0]
        kind, argument = first >> 5, first & 0x1F
        if argument < 24:
            return kind, argument
        if argument == _INDEFINITE and kind in (_ARRAY, _MAP):
            return kind, None
        if argument > 27 or kind == _SIMPLE:
            raise ValueError("it holds a kind of value that has no place here")
        size = 1 << (argument - 24)
        value = int.from_bytes(self._take(size))
        if value < (24 if size == 1 else 1 << (4 * size)):
            raise ValueError("a number or length is not written in its shortest form")
        return kind, value

    def _take(self, count: int) -> bytes:
        taken = self.data[self.position : self.position + count]
        if len(taken) != count:
            raise ValueError("it ends within a value")
        self.position += count
        return taken


def _constant(kind: int, argument: int) -> bool | None:
    """False, true or null; no other simple value has a place in these documents."""
    if kind != _SIMPLE or argument not in _CONSTANTS:
        raise ValueError("it holds a kind of value that has no place here")
    return _CONSTANTS[argument]


def _head(kind: int, argument: int) -> bytes:
    """A value's first bytes, in the shortest form."""
    if argument < 24:
        return bytes((kind << 5 | argument,))
    size = next(size for size in (1, 2, 4) if argument < 1 << (8 * size))
    return bytes((kind << 5 | 24 + size.bit_length() - 1,)) + argument.to_bytes(size)
