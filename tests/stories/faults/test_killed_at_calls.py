"""SIGKILL right before a system call of each step of an order; tests/stories/soak does it at every single one.

The calls are those that SQLite writes its log and syncs it with, and those that make nonces and writers wait their
turn. strace kills the process that answers, and the server is started anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from running import CA
from stories import STEPS, Killing

SAMPLED = 17
"""Of the writes to the log, one in so many; it is odd, so that headers and pages are both among them."""


@pytest.fixture
def ca(tmp_path: Path) -> Iterator[CA]:
    made = CA(tmp_path / "ca")
    made.init(in_a_file=True)
    made.start()
    yield made
    if made.process is not None:
        made.kill()


@pytest.mark.parametrize("count", range(len(STEPS)))
def test_a_kill_right_before_a_call_loses_nothing_and_gives_nothing_twice(ca: CA, count: int) -> None:
    killing = Killing(ca)
    points = {}
    for call, step in (("fdatasync", 1), ("flock", 3), ("pwrite64", SAMPLED)):
        number = 1
        while killing.at(count, call, number):
            number += step
        points[call] = number
    # Each request takes turns for nonces; most of them write.
    assert points["flock"] > 1
    if STEPS[count].__name__ in ("new_account", "new_order", "answer", "finalize"):
        assert points["fdatasync"] > 1
        assert points["pwrite64"] > SAMPLED
    killing.check()
