"""Debian's Pebble under the suite: it runs to the end and finds what is known, no more and no less."""

from __future__ import annotations

from pathlib import Path

from conformance_runs.findings import PEBBLE, PEBBLE_SOMETIMES
from conformance_runs.pebble import pebble
from conformance_runs.suite import run


def test_pebble_has_the_findings_that_are_known(tmp_path: Path) -> None:
    with pebble(tmp_path, PEBBLE_ALTERNATE_ROOTS="1") as server:
        done = run(tmp_path / "pebble.json", server.directory, server.tls.root, *server.options, seconds=240)
    assert len(done.outcomes) > 300
    assert done.failed - PEBBLE_SOMETIMES.keys() == PEBBLE.keys(), done.output
