"""The number of an order in its URLs and in its certificate's serial number.

Nothing that a client sends is believed: a number is ASCII digits without a zero at the front (``int()`` takes ``1_0``
and full-width digits, too), small enough for every engine, and counts only together with the random part beside it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_ORDER = re.compile(r"([1-9][0-9]{0,17})\.([A-Za-z0-9_-]{16})", re.ASCII)
_AUTHORIZATION = re.compile(r"([1-9][0-9]{0,17}\.[A-Za-z0-9_-]{16})\.(0|[1-9][0-9]{0,2})", re.ASCII)
_CHALLENGE = re.compile(r"([1-9][0-9]{0,17}\.[A-Za-z0-9_-]{16}\.(?:0|[1-9][0-9]{0,2}))\.([0-9])", re.ASCII)
_FIRST = re.compile(r"([1-9][0-9]{0,17})\.", re.ASCII)
_HEX = re.compile(r"[1-9a-f][0-9a-f]{16,39}", re.ASCII)
_NUMBER_DIGITS = 16
"""Hexadecimal digits of the number at the end of a serial number."""
MAX_NUMBER = 10**18 - 1


class OrderId(NamedTuple):
    """An order's number, and the random part without which it names nothing."""

    n: int
    tag: str

    def __str__(self) -> str:
        return f"{self.n}.{self.tag}"

    @classmethod
    def read(cls, text: str) -> OrderId | None:
        """The id that ``text`` is; None if ``text`` is not an order's id."""
        match = _ORDER.fullmatch(text)
        return None if match is None else cls(int(match[1]), match[2])


def of_authorization(text: str) -> tuple[OrderId, int] | None:
    """The order and the place in it that an authorization's id names; None if ``text`` is not such an id."""
    match = _AUTHORIZATION.fullmatch(text)
    order = None if match is None else OrderId.read(match[1])
    return None if match is None or order is None else (order, int(match[2]))


def of_challenge(text: str) -> tuple[OrderId, int, int] | None:
    """The order, and the places in it, that a challenge's id names; None if ``text`` is not such an id."""
    match = _CHALLENGE.fullmatch(text)
    authorization = None if match is None else of_authorization(match[1])
    return None if match is None or authorization is None else (*authorization, int(match[2]))


def first_number(text: str) -> int | None:
    """The number that an order's id, or that of something in an order, begins with; it may still be no such id."""
    return None if (match := _FIRST.match(text)) is None else int(match[1])


def number_of(serial: str) -> int | None:
    """The number of the order that a serial number, in lower-case hex, holds; None if it holds none.

    The caller compares the whole serial number with the certificate's.
    """
    if _HEX.fullmatch(serial) is None:
        return None
    number = int(serial[-_NUMBER_DIGITS:], 16)
    return number if 0 < number <= MAX_NUMBER else None
