"""The table in the notes has every rule of the suite, and says of each server what is known of it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from conformance_runs.findings import OTHERS, OURS, PEBBLE, of_pebble
from conformance_runs.suite import SUITE
from conformance_runs.table import BEGIN, END, MODULES, NOTE, TESTS


def rows() -> Iterator[list[str]]:
    """The cells of each rule's row: section, rule, module, test, ours, Pebble."""
    text = NOTE.read_text("utf-8")
    for line in text[text.index(BEGIN) : text.index(END)].splitlines():
        if line.startswith("| ") and not line.startswith(("| section", "| ---")):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def rules_of_the_suite() -> list[str]:
    text = "\n".join(path.read_text("utf-8") for path in SUITE.glob("test_*.py"))
    return re.findall(r"^def (test_\w+)", text, re.MULTILINE)


def test_what_is_known_of_servers_is_known_of_rules() -> None:
    known = [{**findings.known, **findings.sometimes} for findings in (*PEBBLE.values(), *OTHERS.values())]
    assert {test for tests in known for test in tests} <= set(rules_of_the_suite())


def test_the_table_has_every_rule_of_the_suite() -> None:
    rules = rules_of_the_suite()
    assert len(rules) == len(set(rules))
    assert sorted(row[3].strip("`") for row in rows()) == sorted(rules)


def test_the_table_says_what_is_known_of_each_server() -> None:
    failed = {column: {row[3].strip("`") for row in rows() if row[column] == "**no**"} for column in (4, 5)}
    version = re.search(r"^\| section .* \| Pebble (\S+) \|$", NOTE.read_text("utf-8"), re.MULTILINE)
    assert version is not None
    assert failed[4] == OURS.keys()
    assert of_pebble(version[1]).surprises(failed[5]) == []


def test_every_module_of_the_table_exists() -> None:
    named = {row[2].strip("`") for row in rows()} - {""}
    assert named <= {*MODULES["section"].values(), *MODULES["test"].values()}
    assert [name for name in named if not (TESTS.parent / "acme_iid" / name).is_file()] == []
