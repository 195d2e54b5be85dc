"""Durations as people write and read them: ``8h``, ``90m``, ``1d12h``."""

from __future__ import annotations

import re

MINUTE, HOUR, DAY = 60, 3600, 86400
_UNITS = ((DAY, "d"), (HOUR, "h"), (MINUTE, "m"), (1, "s"))
LONGEST = 400 * 365 * DAY
"""The seconds in the longest duration: a date that is so far from now can still be written."""

_DURATION = re.compile(r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?\Z", re.ASCII)


def parse(written: str) -> int | None:
    """The seconds in a duration: days, hours, minutes and seconds in this order, any of them left out.

    :returns: None if the text is not a duration, or a longer one than :data:`LONGEST`.
    """
    match = _DURATION.match(written)
    if match is None or not written:
        return None
    seconds = sum(int(count or 0) * unit for count, (unit, _) in zip(match.groups(), _UNITS, strict=True))
    return seconds if seconds <= LONGEST else None


def text(seconds: int) -> str:
    """A duration as people write it in ca.toml, in the largest unit that gives a whole number: ``90m``, ``7d``."""
    unit, letter = next((unit, letter) for unit, letter in _UNITS if seconds % unit == 0)
    return f"{seconds // unit}{letter}"


def span(seconds: float) -> str:
    """A duration as ``15h50m43s``, in whole seconds and without days; the shortest is ``0s``."""
    whole = max(0, round(seconds))
    hours, minutes, rest = whole // HOUR, whole // MINUTE % 60, whole % 60
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
