"""The life of an instance as one drawing: its certificates as bars, and what happened to it as marks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from acme_iid.console.charts import Tick, ticks
from acme_iid.console.story import Moment, Sort
from acme_iid.console.text import seconds
from acme_iid.operations.descriptions.events import RecordedEvent

LANES: tuple[tuple[Sort, str], ...] = (
    ("certificate", "Certificates"),
    ("proof", "Proofs"),
    ("refusal", "Refusals"),
    ("operator", "Operators"),
)
"""The lanes from the top down."""
LANE = 30
"""The pixels of a lane."""
_LEAST = 0.35
"""The smallest width of a bar, in percent."""
_SPAN = 60
"""The least seconds that a drawing is wide."""


class Span(NamedTuple):
    """A certificate's life, from ``x`` on; ``row`` says in which of two rows it is drawn, as lives overlap."""

    x: float
    width: float
    row: int


class Mark(NamedTuple):
    """Something that happened, in the lane of a number."""

    x: float
    lane: int
    sort: Sort


@dataclass(frozen=True, slots=True)
class Lifeline:
    """A drawing.

    :ivar now: where the time stands at which it was drawn.
    :ivar counts: how much is in each lane.
    """

    spans: Sequence[Span]
    marks: Sequence[Mark]
    ticks: Sequence[Tick]
    now: float
    counts: Sequence[int]


def lifeline(story: Sequence[Moment], rows: Sequence[RecordedEvent], now: int) -> Lifeline | None:
    """Draw a story; None if nothing is in it.

    :param rows: the events of the story, of which certificates have their ends.
    """
    if not story:
        return None
    lives = [
        (seconds(row["at"]), seconds(str(row["detail"]["not_after"])))
        for row in reversed(rows)
        if row["kind"] == "certificate.issued" and row["detail"].get("not_after")
    ]
    begin = seconds(story[0].at)
    end = max(now, begin + _SPAN, *(end for _, end in lives))
    wide = end - begin

    def place(at: int) -> float:
        return round(100 * (at - begin) / wide, 3)

    lanes = {sort: number for number, (sort, _) in enumerate(LANES)}
    spans = [
        Span(place(issued), max(_LEAST, round(place(ends) - place(issued), 3)), number % 2)
        for number, (issued, ends) in enumerate(lives)
    ]
    marks = [
        Mark(place(seconds(entry.at)), lanes[entry.sort], entry.sort)
        for entry in story
        if entry.sort in lanes and entry.sort != "certificate"
    ]
    counts = [sum(entry.sort == sort for entry in story) for sort, _ in LANES]
    return Lifeline(spans, marks, ticks(begin, end), min(100.0, place(now)), counts)
