"""What a server does beside its requests goes on, whatever happens in one turn, and ends when it is told to."""

from __future__ import annotations

import logging
import threading
import time

import pytest

from acme_iid.errors import StoreUnavailableError
from acme_iid.operations.background import Background

DEADLINE = 20


class Counting(Background):
    """Takes turns without a pause, and raises an error in each of the first ones."""

    def __init__(self, *errors: Exception, first: float | None = None, after_fault: float = 0) -> None:
        super().__init__(
            0, first=first, after_fault=after_fault, fault="counting failed", unavailable="Not counted now"
        )
        self._errors = list(errors)
        self.turns = 0
        self.enough = threading.Event()

    def turn(self) -> None:
        self.turns += 1
        if self._errors:
            raise self._errors.pop(0)
        self.enough.set()


def test_a_fault_in_a_turn_is_logged_and_the_next_turn_comes(caplog: pytest.LogCaptureFixture) -> None:
    background = Counting(ValueError("ours"), StoreUnavailableError("it is away"), StoreUnavailableError("still"))
    background.start()
    assert background.enough.wait(DEADLINE)
    background.stop()
    assert background.turns >= 4
    # The store's absence is said once in a while, however often there is a turn.
    assert [(record.levelno, record.message) for record in caplog.records] == [
        (logging.ERROR, "counting failed"),
        (logging.WARNING, "Not counted now: it is away"),
    ]
    fault = caplog.records[0].exc_info
    assert fault is not None
    assert str(fault[1]) == "ours"


@pytest.mark.parametrize("waiting", [{"first": 3600}, {"after_fault": 3600}])
def test_the_end_is_waited_for_by_no_pause(waiting: dict[str, float]) -> None:
    background = Counting(*([ValueError("ours")] if "after_fault" in waiting else []), **waiting)
    background.start()
    began = time.monotonic()
    while background.turns < ("after_fault" in waiting) and time.monotonic() < began + DEADLINE:
        time.sleep(0.01)
    background.stop()
    assert time.monotonic() < began + DEADLINE
    assert background.is_ending()
    assert background.turns == ("after_fault" in waiting)
