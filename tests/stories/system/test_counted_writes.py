"""What the benchmark counts of our server is there to be counted (tools/benchmarks/writes.py); no figure is judged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

WRITES = Path(__file__).resolve().parents[2] / "tools" / "benchmarks" / "writes.py"


def test_pages_calls_and_statements_of_a_certificate_are_counted() -> None:
    done = subprocess.run(
        [sys.executable, WRITES, "--orders", "20", "--connections", "2", "--settle", "0", "--json"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    # A page is written by a call at least, and a certificate is durable before it is sent.
    assert 1 <= found["WAL pages"] <= found["write calls"]
    assert 0 < found["fsyncs of the WAL"] + found["fsyncs of the database"] <= found["fsyncs"]
    verbs = {name.removeprefix("of them "): each for name, each in found.items() if name.startswith("of them ")}
    assert min(verbs[verb] for verb in ("SELECT", "INSERT", "COMMIT")) > 0
    assert abs(sum(verbs.values()) - found["statements"]) < 1e-6
    assert 0 < found["lock held, median ms"] <= found["lock held, p99 ms"] <= found["lock held, longest ms"]
