"""Our server under the suite: every rule holds."""

from __future__ import annotations

import json
from pathlib import Path

from conformance_runs.findings import OURS
from conformance_runs.instances import ANSWERS
from conformance_runs.ours import serving
from conformance_runs.pebble import challtestsrv
from conformance_runs.suite import run
from conformance_runs.table import TESTS
from running import ACCOUNT, CA, answer

from acme_iid.simulator import aws

FILE = "test_accounts.py"
REVOCATIONS = (
    "test_the_account_revokes_its_certificate",
    "test_the_certificates_key_revokes_it",
    "test_an_account_that_is_authorized_for_all_names_revokes",
    "test_an_account_that_is_authorized_for_some_names_does_not_revoke",
    "test_the_usual_reasons_are_taken",
)
FOLDERS = (TESTS / "stories", TESTS / "suites", TESTS / "support")
"""Where the solver for instances is, and what it imports."""


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


def test_instances_revoke_their_own_certificates_alone(tmp_path: Path) -> None:
    ca = CA(tmp_path / "ca")
    ca.init()
    answers = [answer(aws.Instance(account=ACCOUNT)) for _ in range(10)]
    (tmp_path / ANSWERS).write_text(json.dumps(answers))
    ca.start()
    options = ("--acme-solver", "conformance_runs.instances:solver", "--acme-domain", "local")
    try:
        held = run(tmp_path / "account.json", ca.directory, ca.root, *options, "--acme-revokers", "account",
                   tests=REVOCATIONS, path=FOLDERS)  # fmt: skip
        by_names = run(tmp_path / "names.json", ca.directory, ca.root, *options, tests=REVOCATIONS[2:3], path=FOLDERS)
    finally:
        ca.stop()
    assert held.outcomes == dict.fromkeys(REVOCATIONS, "pass"), held.output
    assert by_names.failed == {REVOCATIONS[2]}, by_names.output
