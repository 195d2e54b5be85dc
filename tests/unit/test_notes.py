"""The notes say what is so: what they name exists, and what they print is what the code and the vectors have."""

from __future__ import annotations

import importlib
import json
import re
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from definitions import definitions, named
from pages import table, tables
from vectors import make

from acme_iid.attestation.registry import VERIFIERS
from acme_iid.errors import Problem, Step

ROOT = Path(__file__).resolve().parents[2]
NOTES = sorted((ROOT / "rfc-notes").glob("*.md"))
DRAFT = (ROOT / "rfc-notes" / "iid-01.md").read_text("utf-8")
FILE: dict[str, Any] = json.loads(make.FILE.read_bytes())
TITLES = {"aws": "AWS", "gcp": "GCP", "azure": "Azure"}


def section(heading: str) -> str:
    """A section of the draft, its subsections included."""
    level = heading.split(maxsplit=1)[0]
    lines = DRAFT.split("\n")
    start = lines.index(heading)
    following = re.compile(rf"#{{2,{len(level)}}} ")
    return "\n".join(takewhile(lambda line: not following.match(line), lines[start + 1 :]))


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def defined_tests() -> set[str]:
    return {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text("utf-8"), re.MULTILINE)
    }


@pytest.mark.parametrize("note", NOTES, ids=lambda note: note.name)
def test_every_test_that_a_note_names_exists(note: Path) -> None:
    named = set(re.findall(r"\btest_\w+\b(?!\.py)", note.read_text("utf-8")))
    assert sorted(named - defined_tests()) == []


@pytest.mark.parametrize("note", NOTES, ids=lambda note: note.name)
def test_every_file_that_a_note_names_or_links_exists(note: Path) -> None:
    text = note.read_text("utf-8")
    links = [target for target in re.findall(r"\]\(([^)#]+)", text) if "://" not in target]
    assert [target for target in links if not (note.parent / target).exists()] == []
    known = {
        path.relative_to(ROOT).as_posix()
        for folder in ("acme_iid", "client", "tests")
        for path in ROOT.glob(f"{folder}/**/*.py")
    }
    named = re.findall(r"`([\w/]+\.py)`", text)
    missing = [name for name in named if not any(path == name or path.endswith("/" + name) for path in known)]
    assert missing == []


def test_what_a_section_rests_on_is_defined_in_the_module_beside_it() -> None:
    first, *suite = tables((ROOT / "rfc-notes" / "rfc8555.md").read_text("utf-8"), "section")
    cells = [row[2] for row in first]
    found = [entry for cell in cells for entry in named(cell)]
    assert len(found) > 60
    # A module alone does not say where to look, so each is named with what the rule rests on.
    assert [cell for cell in cells if not list(named(cell))] == []
    assert [file for file, names in found if not names] == []
    # Of the suite's rules only the module is known.
    found += [entry for rows in suite for row in rows for entry in named(row[2])]
    assert [file for file, _ in found if not _file(file).is_file()] == []
    assert [(file, name) for file, names in found for name in names if name not in definitions(_file(file))] == []


def _file(name: str) -> Path:
    """A file of the column "module": of the server's package, or of the client's with its name."""
    return ROOT / "client" / name if name.startswith("acme_iid_client/") else ROOT / "acme_iid" / name


def test_the_draft_names_a_test_for_every_attack() -> None:
    rows = table(section("### 13.3. Attacks that happened elsewhere"), "attack")
    assert len(rows) >= 15
    assert [row[0] for row in rows if not any(name.startswith("test_") for name in quoted(row[3]))] == []


def test_the_printed_binding_is_the_vectors() -> None:
    printed = {quoted(name)[0]: quoted(value)[0] for name, value in table(section("## 16. Test vectors"), "value")}
    example = FILE["bindings"][0]
    expected = {name: value for name, value in example.items() if name not in ("name", "jwk")}
    assert printed == {"x": example["jwk"]["x"], "y": example["jwk"]["y"], **expected}


def test_the_printed_objects_are_the_vectors() -> None:
    blocks = [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", DRAFT, re.MULTILINE | re.DOTALL)]
    example = FILE["challenge"]
    pending, claims, answer, valid = blocks
    assert (pending, claims, valid) == (example["pending"], example["claims"], example["valid"])
    assert answer["evidence"].endswith("…")
    assert example["answer"]["evidence"].startswith(answer["evidence"][:-1])
    assert answer.keys() == example["answer"].keys()
    first = next(case for case in FILE["evidence"] if case["format"] == answer["format"])
    text = section("## 16. Test vectors")
    assert f"`{first['identity']['id']}`" in text
    assert f"`{first['evidence_sha256']}`" in text


def test_the_table_of_the_files_members_is_whole() -> None:
    assert [quoted(row[0])[0] for row in table(section("## 16. Test vectors"), "member")] == [
        name for name in FILE if name != "about"
    ]


def test_the_table_of_formats_is_the_registry() -> None:
    rows = table(section("## 6. Formats"), "format")
    assert {quoted(row[0])[0]: row[1] for row in rows} == {
        name: TITLES[verifier.cloud] for name, verifier in VERIFIERS.items()
    }
    proven = [case for case in FILE["evidence"] if case["outcome"] == "proven"]
    for name, _, members, bound, _ in rows:
        mine = [case for case in proven if case["format"] == quoted(name)[0]]
        if mine:
            assert {member for case in mine for member in case["fields"]} == set(quoted(members)), name
            assert {case["identity"]["binding"] for case in mine} == {bound}, name


def test_every_proven_fact_is_named_in_the_section_of_its_format() -> None:
    text = section("## 6. Formats")
    facts = {fact for case in FILE["evidence"] for fact in case.get("identity", {}).get("facts", {})}
    assert sorted(fact for fact in facts if f"`{fact}`" not in text and not re.match(r"pcr\d", fact)) == []


def test_the_steps_are_the_codes_in_their_order() -> None:
    assert [row[0] for row in table(section("## 7. Verification"), "step")] == [step.value for step in Step]


def test_the_error_types_are_the_codes() -> None:
    rows = table(section("## 11. Errors"), "when")
    named = {quoted(row[2])[0] for row in rows if quoted(row[2])}
    assert named <= {problem.code for problem in Problem}
    assert {"malformed", "unauthorized", "serverInternal", "rejectedIdentifier"} <= named


def test_the_limits_are_the_codes() -> None:
    rows = table(section("## 17. Limits and times"), "what")
    assert rows
    for _, value, where in rows:
        module, _, name = quoted(where)[0].rpartition(".")
        assert getattr(importlib.import_module(module), name) == float(value), where
