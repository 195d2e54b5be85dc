"""JSON that every parser reads the same way, or not at all (RFC 8259, I-JSON RFC 7493).

Two parsers that differ over a duplicate key or a byte order mark are two opinions on what was signed,
so all that the RFCs leave to the implementation is refused here: duplicate keys, a byte order
mark, NaN and infinities, lone surrogates, and nesting or sizes that exhaust a parser.
"""

from __future__ import annotations

import json
import math
import re
from typing import NoReturn

MAX_BYTES = 1024 * 1024
"""The size of a text that is looked at, in octets, where the caller sets no smaller one."""
MAX_OPENINGS = 10_000
"""The brackets that a text may open, those in strings counted: each array and object costs more than its two octets."""
MAX_DIGITS = 100
"""The characters that an integer may have: reading a decimal takes time quadratic in its length."""

# Possessive, and a string that does not end takes the rest of the text: each character is looked at once.
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)


def loads(data: bytes, *, max_depth: int = 16, max_bytes: int = MAX_BYTES) -> object:
    """The one JSON value that ``data`` holds, whitespace around it allowed.

    :param data: UTF-8 text.
    :param max_depth: the levels that arrays and objects may nest; ``[]`` is one level.
    :param max_bytes: the length that ``data`` may have.
    :returns: dict, list, str, int, float, bool or None, as :mod:`json` maps them.
    :raises ValueError: with a sentence that states the fault.
    """
    if len(data) > max_bytes:
        raise ValueError(f"the JSON text is {len(data)} bytes long; {max_bytes} is the limit")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"the JSON text is not valid UTF-8 (byte {error.start})") from error
    openings = data.count(b"[") + data.count(b"{")
    if openings > MAX_OPENINGS:
        raise ValueError(f"the JSON text has more than {MAX_OPENINGS} opening brackets")
    # Most texts have too few brackets to nest too deep in any order; only others are scanned.
    if openings > max_depth:
        _check_depth(text, max_depth)
    try:
        value: object = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not one JSON value: {error}") from error
    if "\\ud" in text or "\\uD" in text:
        _check_surrogates(value)
    return value


def _check_depth(text: str, max_depth: int) -> None:
    """Refuse text that nests too deep before the recursive parser sees it.

    Up to the first fault in the text this splits it as a JSON parser would, and past a fault no parser goes.
    """
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        first = match.group()[0]
        if first in "[{":
            depth += 1
            if depth > max_depth:
                raise ValueError(f"the JSON text nests more than {max_depth} levels deep")
        elif first in "]}":
            depth -= 1


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"the JSON text has the key {name[:64]!a} twice in one object")
            seen.add(name)
    return members


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"the JSON text holds {constant}, which is not a JSON number")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("the JSON text holds a number that is too large")
    return number


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError("the JSON text holds a number that is too large")
    return int(digits)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite, parse_int=_integer
)


def _check_surrogates(value: object) -> None:
    """Refuse strings that no UTF-8 text can hold (RFC 8259 section 8.2)."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError("the JSON text holds half of a surrogate pair") from error
