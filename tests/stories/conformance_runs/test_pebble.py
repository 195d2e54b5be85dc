"""Debian's Pebble under the suite: it runs to the end and finds what is known of its version, no more and no less."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from conformance_runs.findings import of_pebble
from conformance_runs.pebble import pebble
from conformance_runs.suite import SUITE, run
from conformance_runs.versions import DEBIAN, pebble_version

SOLVER = """
from conformance.solvers import Challtestsrv


class Names(Challtestsrv):
    TYPES = ("dns-01",)

    def prepare(self, authorization, challenge, key):
        with open("proven.txt", "a") as file:
            print(challenge["type"], file=file)
        return super().prepare(authorization, challenge, key)


def solver():
    return Names({url!r})
"""


def test_pebble_has_the_findings_that_are_known(tmp_path: Path) -> None:
    with pebble(tmp_path, PEBBLE_ALTERNATE_ROOTS="1") as server:
        done = run(tmp_path / "pebble.json", server.directory, server.tls.root, *server.options, seconds=240)
    assert len(done.outcomes) > 300
    assert of_pebble(pebble_version(DEBIAN.pebble)).surprises(done.failed) == [], done.output
    # A deviation that a rule leaves to another one is counted there.
    assert done.left
    assert {test: other for test, other in done.left.items() if other not in done.failed} == {}


def test_a_server_that_believes_every_answer_needs_no_solver(tmp_path: Path) -> None:
    with pebble(tmp_path, PEBBLE_VA_ALWAYS_VALID="1") as server:
        done = run(tmp_path / "pebble.json", server.directory, server.tls.root, file="test_certificates.py")
    assert done.failed < of_pebble(pebble_version(DEBIAN.pebble)).known.keys(), done.output
    assert done.outcomes["test_the_account_revokes_its_certificate"] == "pass"


def test_a_solver_of_ones_own_is_plugged_in(tmp_path: Path) -> None:
    name = "test_a_wildcard_is_offered_no_http_01", "test_the_leaf_comes_first"
    with pebble(tmp_path) as server:
        (tmp_path / "own_solver.py").write_text(SOLVER.format(url=server.challenges.management))
        options = ("--acme-solver", "own_solver:solver")
        done = run(tmp_path / "own.json", server.directory, server.tls.root, *options, tests=name, path=(tmp_path,))
        assert set(done.outcomes.values()) == {"pass"}, done.output
    assert set((tmp_path / "proven.txt").read_text().split()) == {"dns-01"}


def test_a_report_is_a_table_too(tmp_path: Path) -> None:
    with pebble(tmp_path, PEBBLE_VA_ALWAYS_VALID="1") as server:
        command = [sys.executable, "-m", "pytest", f"{SUITE / 'test_accounts.py'}::test_a_new_account_is_201",
                   "--acme-directory", server.directory, "--acme-root", str(server.tls.root),
                   "--acme-report", str(tmp_path / "found.md")]  # fmt: skip
        subprocess.run(command, capture_output=True, timeout=60, check=True, cwd=tmp_path)
    lines = (tmp_path / "found.md").read_text("utf-8").splitlines()
    assert "| section | rule | test | result |" in lines
    assert "| 7.3 | a new account is 201, with the status valid | `test_a_new_account_is_201` | yes |" in lines


def test_without_a_directory_the_suite_says_what_is_missing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", str(SUITE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert done.returncode == 4
    assert "say which server is to be tested: --acme-directory URL" in done.stderr
