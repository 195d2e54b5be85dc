"""The suite as others run it: a process of its own that is told which server to test."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SUITE = Path(__file__).resolve().parents[2] / "suites" / "conformance"


@dataclass
class Run:
    """What a run found: the outcome of each rule's test and why it is that, and what it printed."""

    code: int
    outcomes: dict[str, str]
    reasons: dict[str, str]
    output: str
    seconds: float

    @property
    def failed(self) -> set[str]:
        """The tests of the rules that do not hold."""
        return {test for test, outcome in self.outcomes.items() if outcome == "fail"}

    @property
    def left(self) -> dict[str, str]:
        """The tests that left a deviation to another test, and which one."""
        found = ((test, re.search(r"which (test_\w+) reports", why)) for test, why in self.reasons.items())
        return {test: other[1] for test, other in found if other is not None}


def node(test: str) -> str:
    """Where a test of the suite is, as pytest names it."""
    (file,) = (path for path in SUITE.glob("test_*.py") if f"def {test}(" in path.read_text("utf-8"))
    return f"{file}::{test}"


def run(
    report: Path,
    directory: str,
    root: Path,
    *options: str,
    tests: Iterable[str] = (),
    file: str = "",
    path: tuple[Path, ...] = (),
    seconds: int = 300,
) -> Run:
    """Run the suite against a server.

    :param report: the file for what it finds, .json.
    :param tests: the names of the tests to run, all of ``file`` unless given.
    :param file: a file of the suite's, all unless given.
    :param path: folders with modules that the options name.
    """
    began = time.monotonic()
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            *(map(node, tests) if tests else [str(SUITE / file)]),
            "-q",
            "--tb=short",
            "--acme-directory",
            directory,
            "--acme-root",
            str(root),
            "--acme-report",
            str(report),
            *options,
        ],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        cwd=report.parent,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": os.pathsep.join(map(str, path))},
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = json.loads(report.read_text("utf-8"))
    outcomes = {entry["test"]: entry["outcome"] for entry in found}
    reasons = {entry["test"]: entry["why"] for entry in found}
    return Run(done.returncode, outcomes, reasons, done.stdout, time.monotonic() - began)
