"""Our server under the suite: every rule holds."""

from __future__ import annotations

from pathlib import Path

from conformance_runs.findings import OURS
from conformance_runs.ours import serving
from conformance_runs.pebble import challtestsrv
from conformance_runs.suite import run

FILE = "test_accounts.py"


def test_every_rule_holds_on_ours(tmp_path: Path) -> None:
    with challtestsrv(tmp_path) as challenges, serving(tmp_path, challenges) as server:
        done = run(tmp_path / "ours.json", server.ca.directory, server.ca.root, *server.options, seconds=400)
    assert len(done.outcomes) > 300
    assert done.failed == OURS.keys(), done.output


def test_accounts_hold_where_external_binding_is_required(tmp_path: Path) -> None:
    settings = "external_account_required = true"
    with challtestsrv(tmp_path) as challenges, serving(tmp_path, challenges, settings) as server:
        done = run(tmp_path / "eab.json", server.ca.directory, server.ca.root, *server.options, file=FILE)
    assert done.outcomes["test_external_account_binding_is_required"] == "pass"
    assert done.failed == set(), done.output
