"""Durations: what is typed is a number of seconds or refused, and what is shown can be typed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acme_iid.terminal import durations
from acme_iid.terminal.durations import DAY, HOUR, LONGEST


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1h", HOUR),
        ("90m", 5400),
        ("1h30m", 5400),
        ("1d1s", 86401),
        ("0s", 0),
        ("007d", 7 * DAY),
        ("000001d", DAY),
        ("99999d999999h999999m999999s", 99999 * DAY + 999999 * (HOUR + 60 + 1)),
        ("146000d", LONGEST),
    ],
)
def test_what_people_type_is_read(text: str, seconds: int) -> None:
    assert durations.parse(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "1", "1 h", "-1h", "1.5h", "h", "30m1h", "1h1h", "1h\n", " 1h", "1y", "\uff11h", "146000d1s", "1000000s"],
)
def test_what_is_not_a_duration_is_none(text: str) -> None:
    assert durations.parse(text) is None


def test_the_longest_duration_before_and_after_today_is_a_date() -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    longest = timedelta(seconds=LONGEST)
    assert (now - longest).year == 1630
    assert (now + longest).year == 2429


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(57043, "15h50m43s"), (3600, "1h0m0s"), (61.4, "1m1s"), (9.6, "10s"), (0, "0s"), (-5, "0s"), (864000, "240h0m0s")],
)
def test_durations_are_written_as_the_article_has_them(seconds: float, text: str) -> None:
    assert durations.span(seconds) == text


@given(st.integers(0, 999_999 * HOUR))
def test_what_is_shown_can_be_typed(seconds: int) -> None:
    assert durations.parse(durations.span(seconds)) == seconds


@given(st.text(max_size=30) | st.from_regex(r"(\d+[dhms]){1,4}\Z"))
def test_whatever_is_typed_is_a_bounded_number_of_seconds_or_none(text: str) -> None:
    seconds = durations.parse(text)
    assert seconds is None or 0 <= seconds <= LONGEST
