"""Readiness: a server's own trouble, each with its word, and nothing that all servers share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from acme_iid.errors import StoreUnavailableError
from acme_iid.operations.readiness import Readiness
from acme_iid.store.clock import ClockError


def raising(error: Exception) -> Callable[[], None]:
    def look() -> None:
        raise error

    return look


@pytest.mark.parametrize(
    ("look", "signer_fails", "reasons"),
    [
        (lambda: None, False, []),
        (raising(StoreUnavailableError("away")), False, ["store"]),
        (raising(ClockError("an hour off")), False, ["clock"]),
        (lambda: None, True, ["signer"]),
        (raising(StoreUnavailableError("away")), True, ["store", "signer"]),
    ],
)
def test_a_servers_own_trouble_is_named(look: Callable[[], None], signer_fails: bool, reasons: list[str]) -> None:
    readiness = Readiness(look, lambda: signer_fails)
    readiness.turn()
    assert readiness.reasons() == reasons


def test_it_is_ready_again_when_the_store_answers_and_not_while_it_drains() -> None:
    errors: list[Exception] = [StoreUnavailableError("away")]

    def look() -> None:
        if errors:
            raise errors.pop()

    readiness = Readiness(look, lambda: False)
    readiness.turn()
    assert readiness.reasons() == ["store"]
    readiness.turn()
    assert readiness.reasons() == []
    readiness.drain()
    assert readiness.reasons() == ["draining"]


def test_a_question_that_has_no_answer_for_long_is_a_fault() -> None:
    now = [0.0]
    readiness = Readiness(lambda: None, lambda: False, lambda: now[0])
    readiness.turn()
    now[0] = 19.0
    assert readiness.reasons() == []
    now[0] = 21.0
    assert readiness.reasons() == ["store"]
