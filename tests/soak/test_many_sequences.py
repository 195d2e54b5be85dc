"""Two hundred thousand random sequences of requests (tests/sequences.py), in parts that can run side by side."""

from __future__ import annotations

import os

import pytest
import sequences
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

PARTS = 20
EACH = int(os.environ.get("ACME_IID_SEQUENCES", "200000")) // PARTS


@pytest.mark.parametrize("part", range(PARTS))
def test_no_sequence_of_requests_breaks_what_must_hold(part: int, capsys: pytest.CaptureFixture[str]) -> None:
    # Nothing is remembered between parts and each has a seed of its own, so none repeats another.
    many = settings(
        max_examples=EACH,
        stateful_step_count=15,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    sequences.ANSWERED.clear()
    begun = sequences.BEGUN["sequences"]
    run_state_machine_as_test(sequences.Sequence, settings=many)
    made = sequences.BEGUN["sequences"] - begun
    with capsys.disabled():
        print(
            f"part {part}: {made} sequences, answers by status {dict(sorted(sequences.ANSWERED.items()))}", flush=True
        )
    assert made >= EACH * 9 // 10
