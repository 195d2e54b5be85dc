"""A thousand random sequences of up to 15 requests (tests/sequences.py); tox -e soak makes two hundred thousand."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from sequences import Sequence


def test_no_sequence_of_requests_breaks_what_must_hold() -> None:
    few = settings(max_examples=1000, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(Sequence, settings=few)
