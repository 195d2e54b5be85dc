"""Tests have names that fit on a line, and modules a length that can be read in one go."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
MODULES = {path.relative_to(TESTS).as_posix(): path.read_text("utf-8") for path in TESTS.rglob("*.py")}
TOO_LONG = {
    "stories/postgres/test_engine.py",
    "stories/walk/test_renewing.py",
    "suites/conformance/client.py",
    "support/sequences.py",
    "tools/benchmarks/million.py",
    "unit/attestation/test_aws.py",
    "unit/attestation/test_azure.py",
    "unit/attestation/test_azure_managed_identity.py",
    "unit/attestation/test_chains.py",
    "unit/attestation/test_gcp.py",
    "unit/attestation/test_keysets.py",
    "unit/config/test_ca_config.py",
    "unit/protocol/test_csr.py",
    "unit/simulator/test_metadata_service.py",
    "unit/web/test_accounts_and_orders.py",
    "unit/web/test_certificate_status.py",
    "unit/web/test_earlier_proofs.py",
    "unit/web/test_enrolments.py",
    "unit/web/test_iid01_challenge.py",
    "unit/web/test_key_change.py",
    "unit/web/test_names_of_nothing.py",
}
"""Modules that are still too long: one that has become short enough leaves the list, and no other enters it."""


def defined() -> Iterator[tuple[str, str]]:
    """The tests of all modules: module and name."""
    for module, text in MODULES.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                yield module, node.name


def test_each_name_of_a_test_has_fewer_than_70_characters() -> None:
    found = list(defined())
    assert len(found) > 2000
    assert [(module, name) for module, name in found if len(name) >= 70] == []


def test_each_test_of_a_module_has_a_name_of_its_own() -> None:
    """A second function with the same name would replace the first, which would then never run."""
    assert [test for test, count in Counter(defined()).items() if count > 1] == []


def test_no_module_has_more_than_400_lines_but_those_that_are_listed() -> None:
    assert {module for module, text in MODULES.items() if len(text.splitlines()) > 400} == TOO_LONG
