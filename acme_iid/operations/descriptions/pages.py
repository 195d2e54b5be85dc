"""Pages of lists: the rows, and the place where the next page begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Generic, TypedDict, TypeVar

from acme_iid.store.listing import Filter, Position

T = TypeVar("T")


class Page(TypedDict, Generic[T]):
    """A part of a list.

    :ivar items: its rows, in the list's order.
    :ivar next: the place that the next page begins behind, ``TIME.KEY``; None if there is none.
    """

    items: list[T]
    next: str | None


def one_more(criteria: Filter) -> Filter:
    """The same list and one row more, which tells whether there is a next page."""
    return replace(criteria, limit=criteria.limit + 1)


def page(rows: Sequence[tuple[Position, T]], criteria: Filter) -> Page[T]:
    """The page that a filter asks for.

    :param rows: the rows of :func:`one_more`, each with its place in the list.
    """
    shown = rows[: criteria.limit]
    last = shown[-1][0] if len(rows) > len(shown) else None
    return {"items": [row for _, row in shown], "next": None if last is None else f"{last.time}.{last.key}"}
