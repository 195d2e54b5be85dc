"""Charts stand where their numbers say, and never grow with what they are given."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acme_iid.console import charts
from acme_iid.console.charts import COLOURS, HEIGHT, MOST_TIMES, OTHERS, TOP, Count, Stack
from acme_iid.console.refusals import SPANS
from acme_iid.console.refusals import chart as refusals_chart
from acme_iid.console.text import timestamp

HOUR, DAY = 3600, 86400
NOW = 1_800_000_000


def test_groups_stand_by_their_size_and_the_smallest_together() -> None:
    stack = Stack.of(Count(at, f"g{size}", size) for at in (0, 1) for size in range(1, 10))
    assert stack.groups == ("g9", "g8", "g7", "g6", "g5", "g4", OTHERS)
    assert stack.numbers == ((9, 8, 7, 6, 5, 4, 6),) * 2
    assert stack.looks == ("c0", "c1", "c2", "c3", "c4", "c5", "others")


def test_what_is_others_already_is_with_the_others() -> None:
    stack = Stack.of([Count(0, OTHERS, 100), Count(0, "a", 1)])
    assert stack.groups == ("a", OTHERS)
    assert stack.numbers == ((1, 100),)


def test_a_group_that_is_missing_at_a_time_is_zero_there() -> None:
    stack = Stack.of([Count(0, "a", 1), Count(1, "b", 2)])
    assert stack.numbers == ((0, 1), (2, 0))
    assert stack.totals == (1, 2)
    assert stack.sums == (2, 1)


counts = st.lists(
    st.builds(
        Count,
        at=st.integers(0, 400).map(lambda hour: NOW + hour * HOUR),
        group=st.sampled_from([f"g{number}" for number in range(20)]),
        number=st.integers(0, 10**9),
    ),
    min_size=1,
)


@given(counts)
def test_a_chart_has_a_bounded_number_of_parts(given_counts: list[Count]) -> None:
    stack = Stack.of(given_counts)
    assert len(stack.times) <= MOST_TIMES
    assert len(stack.groups) <= COLOURS + 1
    assert stack.times[-1] == max(count.at for count in given_counts)
    for chart in (charts.areas(stack), charts.bars(stack, HOUR)):
        assert len(chart.ticks) <= 7
        assert len(chart.bars) <= MOST_TIMES * (COLOURS + 1)
        assert len(chart.areas) <= COLOURS + 1


@given(counts)
def test_bars_stand_on_each_other_inside_the_plot(given_counts: list[Count]) -> None:
    chart = charts.bars(Stack.of(given_counts), HOUR)
    for bar in chart.bars:
        assert 0 <= bar.x <= bar.x + bar.width <= 100.001
        assert bar.y + 0.01 >= TOP
        assert bar.y + bar.height <= TOP + HEIGHT + 0.02


@given(counts)
def test_areas_stay_inside_their_square(given_counts: list[Count]) -> None:
    for polygon in charts.areas(Stack.of(given_counts)).areas:
        for corner in polygon.split():
            assert all(0 <= float(place) <= 1000 for place in corner.split(","))


def test_heights_are_as_numbers_are() -> None:
    chart = charts.bars(Stack.of([Count(0, "a", 30), Count(0, "b", 10)]), HOUR)
    assert [level.number for level in chart.levels] == [0, 20, 40]
    assert [(bar.y, bar.height) for bar in chart.bars] == [(TOP + HEIGHT / 4, HEIGHT * 3 / 4), (TOP, HEIGHT / 4)]


def test_one_time_alone_is_a_band_all_along() -> None:
    (polygon,) = charts.areas(Stack.of([Count(NOW, "a", 1)])).areas
    assert polygon == "0.0,0.0 1000.0,0.0 1000.0,1000.0 0.0,1000.0"


def test_what_was_counted_once_is_seen_beside_what_is_much() -> None:
    chart = charts.bars(Stack.of([Count(0, "a", 10**9), Count(HOUR, "a", 1)]), HOUR)
    assert chart.bars[1].height == 1.0


@given(st.integers(0, 10**12))
def test_an_axis_has_room_and_round_numbers(number: int) -> None:
    top = charts.ceiling(number)
    assert number <= top <= max(1, 2 * number)
    assert str(top).rstrip("0") in {"1", "2", "4", "6", "8", "12", "16", "3"}


@pytest.mark.parametrize("seconds", [HOUR, 6 * HOUR, DAY, 2 * DAY, 7 * DAY, 30 * DAY, 90 * DAY, 400 * DAY, 9000 * DAY])
def test_an_axis_of_times_has_few_whole_labels(seconds: int) -> None:
    found = charts.ticks(NOW, NOW + seconds)
    assert 1 <= len(found) <= 5
    assert [tick.place for tick in found] == sorted(tick.place for tick in found)
    assert all(0 <= tick.place <= 100 for tick in found)
    assert all(tick.text != after.text for tick, after in pairwise(found))


@pytest.mark.parametrize("word", SPANS)
@pytest.mark.parametrize("now", [NOW, NOW + 1799, NOW + DAY - 1])
def test_bars_of_refusals_end_with_this_hour_and_miss_none(word: str, now: int) -> None:
    span = SPANS[word]
    times = span.times(now)
    assert times[-1] <= now < times[-1] + span.bar
    assert times[-1] + span.bar - times[0] == span.seconds
    rows = [{"at": timestamp(at), "step": "names", "rule": "allow", "refusals": 1} for at in range(times[0], now, HOUR)]
    chart = refusals_chart(rows, "rule", span, now)  # type: ignore[arg-type]
    assert chart is not None
    assert sum(chart.stack.totals) == len(rows)
