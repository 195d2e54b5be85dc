"""SIGKILL at every step of an order, then a new server: what was acknowledged is there, and the client can go on."""

from __future__ import annotations

import threading
import time

import pytest
import requests
from running import CA
from stories import STEPS, Story


@pytest.mark.parametrize("count", range(1, len(STEPS) + 1))
def test_what_was_acknowledged_survives_a_kill_right_after(own_ca: CA, count: int) -> None:
    own_ca.start()
    story = Story(own_ca)
    for step in STEPS[:count]:
        step(story)
    own_ca.kill()
    own_ca.start()
    story.check_nothing_acknowledged_is_lost()
    story.go_on()


@pytest.mark.parametrize("milliseconds", [0, 8])
@pytest.mark.parametrize("count", range(len(STEPS)))
def test_a_kill_during_a_request_leaves_an_order_that_can_be_finished(
    own_ca: CA, count: int, milliseconds: int
) -> None:
    own_ca.start()
    story = Story(own_ca)
    for step in STEPS[:count]:
        step(story)

    def interrupted() -> None:
        try:
            STEPS[count](story)
        except (requests.RequestException, KeyError, AssertionError):
            return  # the server went away while it was asked

    request = threading.Thread(target=interrupted)
    request.start()
    # The exact moment does not matter, and a loaded machine moves it: every one must be survived.
    time.sleep(milliseconds / 1000)
    own_ca.kill()
    request.join(timeout=60)
    assert not request.is_alive()
    own_ca.start()
    story.check_nothing_acknowledged_is_lost()
    story.go_on()
