"""Tests have names that fit on a line, and modules a length that can be read in one go."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
MODULES = {path.relative_to(TESTS).as_posix(): path.read_text("utf-8") for path in TESTS.rglob("*.py")}


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


def test_no_module_has_more_than_400_lines() -> None:
    assert [module for module, text in MODULES.items() if len(text.splitlines()) > 400] == []
