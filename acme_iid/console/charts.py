"""The geometry of charts: where areas, bars, marks and their labels stand; the templates draw them as SVG.

Places from left to right are percent of the plot, so that a chart fits every screen and its labels keep their size;
those from top to bottom are pixels. What a chart shows is also a table, of the same numbers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, NamedTuple

COLOURS = 6
"""The groups that have colours of their own; the smaller ones are shown together."""
OTHERS = "others"
QUIET = "others"
"""The colour of what matters less."""
HEIGHT = 168
"""The pixels of a plot, without the labels below it."""
TOP = 12
"""The pixels above it."""
MOST_TIMES = 168
"""The times of one chart, and rows of its table."""

_HOUR, _DAY = 3600, 86400
_STEPS = (*(_HOUR * hours for hours in (1, 2, 3, 6, 12)), *(_DAY * days for days in (1, 2, 7, 14, 28, 91, 182, 365)))
_MOST_TICKS = 4


class Count(NamedTuple):
    """A number of one group at a time, in seconds."""

    at: int
    group: str
    number: int


class Tick(NamedTuple):
    """A label of the axis of times, with its place in percent."""

    place: float
    text: str
    anchor: Literal["start", "middle", "end"]


class Level(NamedTuple):
    """A label of the axis of numbers, with its place in pixels."""

    place: float
    number: int


class Bar(NamedTuple):
    """A bar, or a part of one; ``column`` is the number of its time."""

    x: float
    width: float
    y: float
    height: float
    group: int
    column: int


@dataclass(frozen=True, slots=True)
class Stack:
    """Numbers of groups at times.

    :ivar times: in seconds, the earliest first.
    :ivar groups: the largest first; the last may be :data:`OTHERS`.
    :ivar numbers: for each time, one for each group.
    :ivar looks: the colour of each group, as the style sheet calls it.
    """

    times: tuple[int, ...]
    groups: tuple[str, ...]
    numbers: tuple[tuple[int, ...], ...]
    looks: tuple[str, ...]

    @classmethod
    def of(cls, counts: Iterable[Count], times: Sequence[int] | None = None) -> Stack:
        """Put counts together; those of the same group and time are added.

        :param times: those to be shown, the earliest first; by default those of the counts.
        """
        found: defaultdict[int, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
        totals: defaultdict[str, int] = defaultdict(int)
        for count in counts:
            found[count.at][count.group] += count.number
            totals[count.group] += count.number
        shown = thinned(sorted(found) if times is None else times)
        ranked = sorted(
            (group for group in totals if totals[group]), key=lambda group: (group == OTHERS, -totals[group], group)
        )
        first = [group for group in ranked[:COLOURS] if group != OTHERS]
        rest = ranked[len(first) :]
        rows = []
        for at in shown:
            here = found[at]
            row = [here[group] for group in first]
            rows.append((*row, sum(here[group] for group in rest)) if rest else tuple(row))
        looks = [f"c{place}" for place in range(len(first))]
        if rest:
            return cls(tuple(shown), (*first, OTHERS), tuple(rows), (*looks, QUIET))
        return cls(tuple(shown), tuple(first), tuple(rows), tuple(looks))

    @property
    def totals(self) -> tuple[int, ...]:
        """The numbers of all groups together, for each time."""
        return tuple(map(sum, self.numbers))

    @property
    def sums(self) -> tuple[int, ...]:
        """The numbers of all times together, for each group."""
        return tuple(sum(row[group] for row in self.numbers) for group in range(len(self.groups)))

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to be drawn."""
        return not any(self.totals)


@dataclass(frozen=True, slots=True)
class Chart:
    """A stack of areas or bars with its axes.

    :ivar areas: the corners of each group's area, as ``points`` of a polygon in a square of a thousand units.
    """

    stack: Stack
    levels: tuple[Level, ...]
    ticks: tuple[Tick, ...]
    areas: tuple[str, ...] = ()
    bars: tuple[Bar, ...] = ()


def thinned(times: Sequence[int]) -> Sequence[int]:
    """At most :data:`MOST_TIMES` of the times, evenly, the last one among them."""
    if len(times) <= MOST_TIMES:
        return times
    return [times[(place + 1) * len(times) // MOST_TIMES - 1] for place in range(MOST_TIMES)]


def areas(stack: Stack) -> Chart:
    """Areas on top of each other, from the first time to the last; one time alone is drawn as it would be all along."""
    top = ceiling(max(stack.totals, default=0))
    begin, end = stack.times[0], stack.times[-1]
    single = begin == end
    places = [0.0, 1000.0] if single else [1000 * (at - begin) / (end - begin) for at in stack.times]
    rows = stack.numbers * 2 if single else stack.numbers
    below = [0] * len(rows)
    polygons = []
    for group in range(len(stack.groups)):
        above = [base + row[group] for base, row in zip(below, rows, strict=True)]
        corners = [*zip(places, above, strict=True), *reversed(list(zip(places, below, strict=True)))]
        polygons.append(" ".join(f"{x:.1f},{1000 - 1000 * y / top:.1f}" for x, y in corners))
        below = above
    axis = (Tick(0, label(begin, _DAY), "start"),) if single else ticks(begin, end)
    return Chart(stack, levels(top), axis, areas=tuple(polygons))


def bars(stack: Stack, width: int) -> Chart:
    """Bars on top of each other, one for each time, which stands for so many seconds from it on."""
    top = ceiling(max(stack.totals, default=0))
    begin, end = stack.times[0], stack.times[-1] + width
    parts = []
    for column, (at, row) in enumerate(zip(stack.times, stack.numbers, strict=True)):
        x, wide = 100 * (at - begin) / (end - begin), 100 * width / (end - begin)
        base = 0
        for group, number in enumerate(row):
            if number:
                base += number
                # Nothing that was counted is too small to be seen.
                tall = max(1.0, HEIGHT * number / top)
                y = min(_height(base, top), TOP + HEIGHT - tall)
                parts.append(Bar(round(x + wide * 0.08, 3), round(wide * 0.84, 3), y, round(tall, 2), group, column))
    return Chart(stack, levels(top), ticks(begin, end), bars=tuple(parts))


def ceiling(number: int) -> int:
    """The smallest round number from which on an axis has room for a number."""
    for few in (1, 2, 4, 6, 8):
        if few >= number:
            return few
    size = 1
    while True:
        for step in (10, 12, 16, 20, 30, 40, 60, 80):
            if step * size >= number:
                return step * size
        size *= 10


def levels(top: int) -> tuple[Level, ...]:
    """The labels of an axis of numbers."""
    numbers = (0, top // 2, top) if top % 2 == 0 else (0, top)
    return tuple(Level(_height(number, top), number) for number in numbers)


def _height(number: int, top: int) -> float:
    return round(TOP + HEIGHT * (1 - number / top), 2)


def ticks(begin: int, end: int) -> tuple[Tick, ...]:
    """The labels of an axis of times, at whole hours or days of UTC."""
    step = next((step for step in _STEPS if (end - begin) / step <= _MOST_TICKS), _STEPS[-1])
    # What is further apart than four years has fewer labels than it could have.
    step *= max(1, -(-(end - begin) // (step * _MOST_TICKS)))
    found = []
    for at in range(-(-begin // step) * step, end + 1, step):
        place = round(100 * (at - begin) / (end - begin), 3)
        anchor: Literal["start", "middle", "end"] = "start" if place < 6 else "end" if place > 94 else "middle"
        found.append(Tick(place, label(at, step), anchor))
    return tuple(found)


def label(at: int, step: int) -> str:
    """A time on an axis whose labels are so many seconds apart."""
    time = datetime.fromtimestamp(at, UTC)
    if step < _DAY and time.hour:
        return f"{time:%H:%M}"
    return f"{time.day} {time:%b}" if step < 91 * _DAY else f"{time:%b %Y}"
