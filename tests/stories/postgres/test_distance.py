"""The benchmark with a database that is some milliseconds away still runs (tests/tools/benchmarks/distance.py)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

DISTANCE = Path(__file__).resolve().parents[2] / "tools" / "benchmarks" / "distance.py"


def test_several_servers_share_a_database_that_is_far_away() -> None:
    options = ("--delay-ms", "2", "--clients", "3", "--replicas", "2", "--orders", "6", "--seconds", "60", "--json")
    done = subprocess.run(
        [sys.executable, DISTANCE, *options], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    assert found["certificates"] == 6
    # No round trip is shorter than the relay makes it, and a certificate takes some.
    assert found["measured"] >= 1.9
    assert found["round_trips"] > 1
    assert found["most_locked"] >= found["locked"] >= 0
    assert min(found["rate"], found["cpu"], found["database"]) > 0
