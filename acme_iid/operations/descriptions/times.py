"""Times as people and programs are shown them: RFC 3339, UTC, in whole seconds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import overload

_FORM = "%Y-%m-%dT%H:%M:%SZ"


@overload
def timestamp(seconds: int) -> str: ...
@overload
def timestamp(seconds: None) -> None: ...
@overload
def timestamp(seconds: int | None) -> str | None: ...
def timestamp(seconds: int | None) -> str | None:
    """A time in words, such as ``2030-01-02T03:04:05Z``; None for none."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime(_FORM)


def seconds_of(text: str) -> int:
    """The time that :func:`timestamp` wrote, in seconds.

    :raises ValueError: if it is none.
    """
    return int(datetime.strptime(text, _FORM).replace(tzinfo=UTC).timestamp())
