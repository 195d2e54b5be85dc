"""The kinds of values that acts take: how each is read, and what JSON Schema says of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from acme_iid.operations import criteria
from acme_iid.operations.instances import MAX_REASON_LENGTH

T = TypeVar("T")

MAX_TEXT_LENGTH = 256
"""Characters of a text that names something."""
MOST_DIGITS = 18
"""Digits of a number; every store holds so many."""


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """A kind of value.

    :ivar expected: what a value has to be, in words that follow "it is".
    :ivar schema: the JSON Schema of a value.
    :ivar read: makes the value of JSON, at a time in seconds.

        :raises ValueError: if it is none.
    :ivar spelled: makes JSON of a text, as paths and queries have values.
    """

    expected: str
    schema: Mapping[str, object]
    read: Callable[[object, int], T]
    spelled: Callable[[str], object] = str


def _text(value: object, longest: int = MAX_TEXT_LENGTH) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > longest or not value.isprintable():
        raise ValueError
    return value


def text(expected: str, longest: int = MAX_TEXT_LENGTH) -> Kind[str]:
    """One line of text."""
    schema = {"type": "string", "minLength": 1, "maxLength": longest}
    return Kind(expected, schema, lambda value, _now: _text(value, longest))


def parsed(
    expected: str, parse: Callable[[str, int], T], *, longest: int = MAX_TEXT_LENGTH, **schema: object
) -> Kind[T]:
    """A text that something else is made of.

    :param parse: makes it, at a time; its ValueError says that the text is none.
    :param schema: further keywords.
    """
    described = {"type": "string", "minLength": 1, "maxLength": longest, **schema}
    return Kind(expected, described, lambda value, now: parse(_text(value, longest), now))


def choice(words: Sequence[str]) -> Kind[str]:
    """One of several words."""

    def read(value: object, _now: int) -> str:
        if value not in words:
            raise ValueError
        return str(value)

    return Kind(f"one of {', '.join(words)}", {"type": "string", "enum": list(words)}, read)


def number(least: int, most: int) -> Kind[int]:
    """A whole number within bounds, both inside."""

    def read(value: object, _now: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError
        return value

    def spelled(digits: str) -> object:
        is_number = digits.isascii() and digits.isdigit() and len(digits) <= MOST_DIGITS
        return int(digits) if is_number else digits

    schema = {"type": "integer", "minimum": least, "maximum": most}
    return Kind(f"a whole number from {least} to {most}", schema, read, spelled)


def _flag(value: object, _now: int) -> bool:
    if not isinstance(value, bool):
        raise ValueError  # noqa: TRY004 - what is wrong with a value is a ValueError here, whatever it is
    return value


FLAG = Kind("true or false", {"type": "boolean"}, _flag, lambda word: {"true": True, "false": False}.get(word, word))
REASON: Kind[str] = parsed(
    f"one line of printable text, of 1 to {MAX_REASON_LENGTH} characters",
    lambda line, _now: criteria.reason(line),
    longest=MAX_REASON_LENGTH,
)
