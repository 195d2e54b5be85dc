"""SIGKILL right before every single call with which an order is written: what stories/faults does with some of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from running import CA
from stories import STEPS, Killing


@pytest.mark.parametrize("count", range(len(STEPS)))
def test_no_kill_anywhere_in_an_order_loses_anything_or_gives_it_twice(tmp_path: Path, count: int) -> None:
    ca = CA(tmp_path / "ca")
    ca.init(in_a_file=True)
    ca.start()
    try:
        killing = Killing(ca)
        for call in ("pwrite64", "fdatasync", "fsync", "ftruncate", "flock", "unlink"):
            number = 1
            while killing.at(count, call, number):
                number += 1
        assert len(killing.stories) > 6
        killing.check()
    finally:
        if ca.process is not None:
            ca.kill()
