"""Turns: one request computes at a time, and none waits for long."""

from __future__ import annotations

import threading
import time

import pytest

from acme_iid.web.turns import PATIENCE, Turns


def _later(turns: Turns, done: threading.Event) -> threading.Thread:
    def enter() -> None:
        with turns:
            done.set()

    thread = threading.Thread(target=enter)
    thread.start()
    return thread


def test_a_request_waits_for_the_one_before_it() -> None:
    turns, done = Turns(), threading.Event()
    with turns:
        thread = _later(turns, done)
        assert not done.wait(PATIENCE / 4)
    assert done.wait(5)
    thread.join()


def test_a_request_goes_on_beside_one_that_takes_long_and_takes_no_turn_away() -> None:
    turns, done, more = Turns(), threading.Event(), threading.Event()
    with turns:
        begun = time.monotonic()
        thread = _later(turns, done)
        assert done.wait(5)
        assert time.monotonic() - begun >= PATIENCE * 0.9
        thread.join()
        # The one that went on without a turn gave none back: the turn is still ours.
        thread = _later(turns, more)
        assert not more.wait(PATIENCE / 4)
    assert more.wait(5)
    thread.join()


def test_a_request_that_fails_gives_its_turn_back() -> None:
    turns, done = Turns(), threading.Event()
    with pytest.raises(ZeroDivisionError), turns:
        1 / 0  # noqa: B018 - for its failure
    _later(turns, done).join()
    assert done.is_set()
