"""When those who were refused come back: as fast as the server takes them, on a clock that is set by hand."""

from __future__ import annotations

import heapq
import random
from collections import Counter

import pytest

from acme_iid.web.appointments import LEAST, LONGEST, Appointments


class Clock:
    now = 5000.0

    def __call__(self) -> float:
        return self.now


def crowd(count: int, rate: int, seconds: float, *, each: float = 0.0) -> tuple[Counter[int], list[int], int]:
    """Clients that all come within ten seconds, at a server that takes so many in each second; they do as it asks.

    :param each: further clients that come a second, for as long as this lasts.
    :returns: how many came in each second, what was asked of those that were refused, and how many were taken.
    """
    clock, chance = Clock(), random.Random(7)
    appointments = Appointments(clock, random.Random(8))
    begun = clock.now
    coming = [begun + chance.uniform(0, 10) for _ in range(count)]
    coming += [begun + number / each for number in range(int(each * seconds))] if each else []
    heapq.heapify(coming)
    came, asked, taken = Counter[int](), list[int](), Counter[int]()
    while coming and coming[0] < begun + seconds:
        clock.now = heapq.heappop(coming)
        second = int(clock.now - begun)
        came[second] += 1
        if taken[second] < rate:
            taken[second] += 1
            appointments.take()
        else:
            asked.append(appointments.refuse())
            heapq.heappush(coming, clock.now + asked[-1])
    return came, asked, taken.total()


def test_the_first_who_are_refused_come_back_soon_and_not_together() -> None:
    clock = Clock()
    appointments = Appointments(clock, random.Random(1))
    assert {appointments.refuse() for _ in range(200)} == set(LEAST)


def test_a_crowd_is_served_at_full_speed_and_seldom_refused() -> None:
    came, asked, taken = crowd(5000, 20, 600)
    assert taken == 5000
    # The server could not have done it in less than 250 seconds.
    assert max(came) < 400
    assert len(asked) < 5 * 5000
    # Once it is known how long the queue is, not many more come than are taken.
    assert max(count for second, count in came.items() if second > 100) < 3 * 20


def test_a_wait_exceeds_neither_the_refusing_so_far_nor_ten_minutes() -> None:
    clock = Clock()
    appointments = Appointments(clock, random.Random(1))
    begun = clock.now
    longest = 0
    for _ in range(200_000):
        clock.now += 0.01
        asked = appointments.refuse()
        assert LEAST.start <= asked <= LEAST.stop + min(clock.now - begun, LONGEST)
        longest = max(longest, asked)
    assert longest > LONGEST - 60


@pytest.mark.parametrize(("quiet", "most"), [(40, LEAST.stop - 1), (20, LONGEST)])
def test_after_some_quiet_the_refusing_begins_anew(quiet: int, most: int) -> None:
    clock = Clock()
    appointments = Appointments(clock, random.Random(1))
    for _ in range(20_000):
        clock.now += 0.01
        appointments.refuse()
    clock.now += quiet
    asked = [appointments.refuse() for _ in range(100)]
    assert max(asked) <= most
    assert (max(asked) >= LEAST.stop) == (quiet == 20)


def test_under_lasting_overload_clients_are_told_longer_and_longer_waits() -> None:
    came, asked, taken = crowd(0, 20, 600, each=60)
    # The server is never idle, and refuses about as many as there are too many.
    assert taken > 0.98 * 20 * 600
    assert sum(asked[-100:]) / 100 > 150
    late = [count for second, count in came.items() if second > 300]
    assert sum(late) / len(late) < 60 + 3 * 60
