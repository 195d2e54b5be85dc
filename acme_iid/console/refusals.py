"""The page of refusals: how many by which step and rule over time, and each with the command that lifts it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from acme_iid.console import charts
from acme_iid.console.charts import Chart, Count, Stack
from acme_iid.console.parts import Part, part
from acme_iid.console.source import Source
from acme_iid.console.text import seconds
from acme_iid.operations.descriptions.refusals import RefusalRow
from acme_iid.operations.over_time import RefusalCount
from acme_iid.terminal.printable import printable

By = Literal["step", "rule"]
"""What a chart tells apart."""
A_PAGE = 25
"""The refusals on one page."""
_HOUR, _DAY = 3600, 86400


@dataclass(frozen=True, slots=True)
class Span:
    """A time that the charts look back.

    :ivar bar: the seconds that a bar stands for.
    """

    title: str
    seconds: int
    bar: int

    def times(self, now: int) -> tuple[int, ...]:
        """The times that its bars begin at; the last one ends with the hour that is now."""
        end = now - now % _HOUR + _HOUR
        return tuple(range(end - self.seconds, end, self.bar))


SPANS: Mapping[str, Span] = {
    "day": Span("24 hours", _DAY, _HOUR),
    "week": Span("7 days", 7 * _DAY, 6 * _HOUR),
    "month": Span("30 days", 30 * _DAY, _DAY),
}
DEFAULT = "week"


@dataclass(frozen=True, slots=True)
class Refusals:
    """What the page shows.

    :ivar span: one of :data:`SPANS`.
    :ivar by_step: the chart by step, and ``by_rule`` that by rule; None if nothing was refused.
    :ivar rows: the list, and ``next`` the place where it goes on.
    :ivar before: the place where this page of the list begins; None for the latest.
    """

    span: str
    by_step: Part[Chart | None]
    by_rule: Part[Chart | None]
    rows: Sequence[RefusalRow]
    next: str | None
    before: str | None


def read(source: Source, span: str, before: str | None, now: int) -> Refusals:
    """Read what the page shows.

    :param span: one of :data:`SPANS`.
    :raises SourceError: if the list cannot be read; of the charts the page says it.
    """
    page, shown = source.refusals(before, A_PAGE), SPANS[span]
    counts = part(lambda: source.refusals_over_time(shown.seconds, shown.seconds // shown.bar))

    def charted(by: By) -> Part[Chart | None]:
        return Part(chart(counts.value or (), by, shown, now), counts.fault)

    return Refusals(span, charted("step"), charted("rule"), page["items"][:A_PAGE], page["next"], before)


def chart(counts: Sequence[RefusalCount], by: By, span: Span, now: int) -> Chart | None:
    """The refusals over time, by step or by rule; None if there are none."""
    times = span.times(now)
    stack = Stack.of(
        (
            Count(at - (at - times[0]) % span.bar, count[by], count["refusals"])
            for count in counts
            if (at := seconds(count["at"])) >= times[0]
        ),
        times,
    )
    return None if stack.is_empty else charts.bars(stack, span.bar)


def command_line(*words: str) -> str:
    """The command of some words, as a shell takes it."""
    return shlex.join(words)


def is_safe(command: str) -> bool:
    """Whether a shell is given what the page shows of a command: it has no character that hides."""
    return printable(command) == command
