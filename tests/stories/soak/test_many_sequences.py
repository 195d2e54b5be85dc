"""Two hundred thousand random sequences of requests (tests/support/sequences.py), in parts, a process a core."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections import Counter

import pytest
import sequence_server
import sequences
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

EACH = 1000
"""Sequences in one part: hypothesis remembers what it has made, and is slower the more that is."""
STEPS = (15, 6, 6, 6)
"""Up to how many requests a sequence has, part by part: long ones reach far, short ones are many."""
PARTS = max(1, int(os.environ.get("ACME_IID_SEQUENCES", "200000")) // EACH)
"""``ACME_IID_SEQUENCES`` says how many sequences there are to be, in thousands."""


def make(part: int) -> tuple[int, int, Counter[int]]:
    """Make the sequences of one part; its number, how many there were, and the answers by status."""
    many = settings(
        max_examples=EACH,
        stateful_step_count=STEPS[part % len(STEPS)],
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    sequence_server.ANSWERED.clear()
    sequence_server.BEGUN.clear()
    run_state_machine_as_test(sequences.Sequence, settings=many)
    return part, sequence_server.BEGUN["sequences"], Counter(sequence_server.ANSWERED)


def test_no_sequence_of_requests_breaks_what_must_hold(capsys: pytest.CaptureFixture[str]) -> None:
    made, answers = 0, Counter[int]()
    # Each part has a seed of its own, from the system's randomness, so none repeats another.
    with multiprocessing.get_context("fork").Pool() as pool:
        for number, (_, begun, answered) in enumerate(pool.imap_unordered(make, range(PARTS)), 1):
            made += begun
            answers += answered
            with capsys.disabled():
                so_far = f"{number}/{PARTS} parts: {made} sequences, {answers.total()} answers"
                print(f"{time.strftime('%H:%M:%S')} {so_far}: {dict(sorted(answers.items()))}", flush=True)
    assert made >= PARTS * EACH * 9 // 10
