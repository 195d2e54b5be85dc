"""How the pages write numbers, times and text from outside."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from markupsafe import Markup

from acme_iid.terminal.printable import printable

MISSING = "-"
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)


def shown(value: object) -> Markup:
    """Text from outside, which changes nothing of what stands around it.

    It may hold markup, or letters from right to left; what does not print is escaped visibly.
    """
    return Markup("<bdi>{}</bdi>").format(plain(value))


def plain(value: object) -> str:
    """The same without an element, for attributes and titles."""
    if value is None or value == "":
        return MISSING
    if isinstance(value, list | tuple):
        return ", ".join(map(plain, value)) or MISSING
    return printable(str(value))


def number(value: int) -> str:
    """A number with its thousands apart."""
    return f"{value:,}"


def short(value: int) -> str:
    """A round number in four characters."""
    for size, word in ((1_000_000_000, "G"), (1_000_000, "M"), (1000, "k")):
        if value >= size:
            return f"{value / size:g}{word}"
    return str(value)


def counted(value: int, one: str, many: str | None = None) -> str:
    """A number with its noun.

    :param many: the noun for other numbers than 1; with an s if not given.
    """
    return f"{number(value)} {one if value == 1 else many or f'{one}s'}"


def moment(value: str | None) -> Markup:
    """A time, as the API writes it."""
    if value is None or not _TIME.fullmatch(value):
        return shown(value)
    return Markup('<time datetime="{}">{} {}</time>').format(value, value[:10], value[11:19])


def seconds(value: str) -> int:
    """The seconds of a time that the API wrote.

    :raises ValueError: if it is no such time.
    """
    return int(datetime.strptime(value, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp())


def timestamp(at: float) -> str:
    """A time as the API writes it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
