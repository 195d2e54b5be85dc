"""Parts of a page that are read each by itself: one that cannot be read leaves the others as they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from acme_iid.console.source import SourceError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """A part of a page.

    :ivar value: what was read; None if it could not be.
    :ivar fault: why, as a sentence; None if it was read.
    """

    value: T | None
    fault: str | None = None


def part(read: Callable[[], T]) -> Part[T]:
    """Read a part."""
    try:
        return Part(read())
    except SourceError as error:
        return Part(None, error.detail)
