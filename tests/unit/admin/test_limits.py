"""The limits on callers, by a clock of the test's own."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from acme_iid.admin import limits
from acme_iid.admin.limits import AT_ONCE, INSIDE, LOCKED_SECONDS, MOST_CALLERS, REFUSAL_SECONDS, REFUSALS, Limits
from acme_iid.admin.problems import ProblemError


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limited(clock: Clock) -> Limits:
    return Limits(clock)


def wait(limited: Limits, key: str = "a") -> int:
    """The seconds that a caller is told to wait; 0 if the request is answered."""
    try:
        with limited.entered(key):
            return 0
    except ProblemError as error:
        return int(error.headers["Retry-After"])


def lock_out(limited: Limits, key: str = "a") -> float | None:
    found = [limited.note_refusal(key) for _ in range(REFUSALS)]
    assert found[:-1] == [None] * (REFUSALS - 1)
    return found[-1]


def test_so_many_at_once_and_then_so_many_a_second(limited: Limits, clock: Clock) -> None:
    assert [wait(limited) for _ in range(AT_ONCE)] == [0] * AT_ONCE
    assert wait(limited) >= 1
    assert wait(limited, "another") == 0
    clock.now += 1
    assert [wait(limited) for _ in range(limits.A_SECOND)] == [0] * limits.A_SECOND
    assert wait(limited) >= 1


def test_only_a_few_of_a_callers_requests_are_answered_at_a_time(limited: Limits) -> None:
    with ExitStack() as stack:
        for _ in range(INSIDE):
            stack.enter_context(limited.entered("a"))
        assert wait(limited) == 1
        assert wait(limited, "another") == 0
    assert wait(limited) == 0


def test_refusals_in_a_short_time_lock_out_and_others_do_not(limited: Limits, clock: Clock) -> None:
    for _ in range(REFUSALS * 3):
        assert limited.note_refusal("slow") is None
        clock.now += REFUSAL_SECONDS / (REFUSALS - 2)
    assert wait(limited, "slow") == 0
    assert lock_out(limited) == LOCKED_SECONDS
    assert 0 < wait(limited) <= LOCKED_SECONDS + 1
    assert wait(limited, "another") == 0
    clock.now += LOCKED_SECONDS - 1
    assert wait(limited) > 0
    clock.now += 1
    assert wait(limited) == 0


def test_each_lock_out_is_twice_as_long_up_to_an_hour(limited: Limits, clock: Clock) -> None:
    found = []
    for _ in range(9):
        seconds = lock_out(limited)
        assert seconds is not None
        found.append(seconds)
        clock.now += seconds
    assert found == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    clock.now += limits.MOST_LOCKED_SECONDS + 1
    assert lock_out(limited) == LOCKED_SECONDS


def test_no_more_callers_are_remembered_and_those_locked_out_longest(limited: Limits) -> None:
    lock_out(limited, "locked")
    for number in range(MOST_CALLERS * 2):
        assert wait(limited, str(number)) == 0
    assert wait(limited, "locked") > 0
    assert len(limited._callers) == MOST_CALLERS
