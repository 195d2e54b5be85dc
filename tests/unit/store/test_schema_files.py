"""The schema's files of a release are never edited, and new ones have the next number."""

from __future__ import annotations

import hashlib
import re
from importlib.resources import files
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
RELEASED = Path(__file__).with_name("schema.sha256")
"""The files that releases have, as sha256sum writes them: lines are added at a release, and never changed."""
NAME = re.compile(r"(\d\d)_[a-z_]+(?:\.(?:postgresql|sqlite))?\.sql")


def digests() -> dict[str, str]:
    """By the name of each of the schema's files, in order, its SHA-256 in hex."""
    found = {entry.name: entry for entry in files("acme_iid.store.schema").iterdir() if entry.name.endswith(".sql")}
    return {name: hashlib.sha256(found[name].read_bytes()).hexdigest() for name in sorted(found)}


def released() -> dict[str, str]:
    """The same of those that releases have."""
    lines = (line.split("  ") for line in RELEASED.read_text(encoding="ascii").splitlines())
    return {name: digest for digest, name in lines}


def test_a_schema_file_of_a_release_is_as_it_was() -> None:
    present = digests()
    assert {name: present.get(name) for name in released()} == released()


def test_a_new_schema_file_has_the_next_number() -> None:
    numbers = []
    for name in digests():
        match = NAME.fullmatch(name)
        assert match is not None, name
        numbers.append(int(match[1]))
    assert numbers == list(range(1, len(numbers) + 1))
    # The files of a release are the first ones: a store of it lacks the later ones and no other.
    assert list(digests())[: len(released())] == list(released())


def test_all_schema_files_of_a_release_are_listed() -> None:
    heading = next(line for line in (REPOSITORY / "CHANGELOG.md").read_text().splitlines() if line.startswith("## "))
    assert "not released yet" in heading or list(released()) == list(digests())
