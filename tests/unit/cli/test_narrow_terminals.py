"""At 80 columns nothing is broken inside a word, and a command that needs two lines can be copied as it stands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner
from terminals import on_a_terminal
from writing import key, put

from acme_iid.cli import main
from acme_iid.cli.output import command_lines, folded
from acme_iid.config import ca_toml
from acme_iid.store.chain import Event
from acme_iid.store.database import open_store

WIDTH = 80
VM = "aws:aws:123456789042:us-west-2:i-05e360db6e50b5eda"
NAME = f"{'a' * 40}.internal"
REASON = (
    f"provisioner 'Machines of the first kind' does not give {NAME}: its allow is {{instance_id}}.vm.internal, "
    "*.apps.internal; this instance's own names are none"
)
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A CA with two provisioners and a refusal."""

    def run(*arguments: str) -> None:
        done = CliRunner().invoke(main, ["--home", str(tmp_path), *arguments])
        assert done.exit_code == 0, done.output

    run("init", "--domain", "internal", "--domain", "local")
    run("provisioner", "add", "Machines of the first kind", "--type", "AWS", "--aws-account", "123456789042",
        "--allow", "{instance_id}.vm.internal", "--allow", "*.apps.internal")  # fmt: skip
    run("provisioner", "add", "Google's", "--type", "GCP", "--gcp-project", "my-project")
    detail = {"step": "names", "reason": REASON, "remote": "192.0.2.7"}
    database = open_store(ca_toml.load(tmp_path).store.url)
    put(database, events=[Event("challenge.refused", 1_800_000_000, instance=key(VM), name=NAME, detail=detail)])
    database.close()
    return tmp_path


def shown(home: Path, *arguments: str) -> list[str]:
    lines = COLOUR.sub("", on_a_terminal(home, WIDTH, *arguments)).splitlines()
    assert max(map(len, lines)) <= WIDTH
    return lines


def typed(lines: list[str]) -> list[str]:
    """The words of a command as a shell reads them."""
    return shlex.split("\n".join(lines).replace("\\\n", ""))


def test_a_refusal_is_read_at_80_columns_and_its_command_copied(home: Path) -> None:
    lines = shown(home, "why", VM)
    text = " ".join(" ".join(lines).split())
    assert f"reason: {REASON}" in text
    begin = next(number for number, line in enumerate(lines) if line.strip() == "lifted by:") + 1
    words = typed(lines[begin:])
    assert words == ["acme-iid-ca", "provisioner", "update", "Machines of the first kind", "--allow", NAME]


def test_who_may_hold_what_stands_below_each_owner_at_80_columns(home: Path) -> None:
    lines = shown(home, "policy", "show")
    assert lines[:4] == [
        "aws 123456789042, by Machines of the first kind",
        "  its own names and addresses",
        "  {instance_id}.vm.internal",
        "  *.apps.internal",
    ]
    assert "  any name in internal, local" in lines
    red = "\x1b[31m\x1b[1many name in internal, local"
    assert red in on_a_terminal(home, WIDTH, "policy", "show")


def test_events_are_read_at_80_columns(home: Path) -> None:
    assert REASON in " ".join(" ".join(shown(home, "events", "--kind", "challenge.refused")).split())


def test_a_label_keeps_its_text_behind_it() -> None:
    assert folded("what: ", "one two three", None) == "what: one two three"
    assert folded("what: ", "one two three four five", 26) == "what: one two three four\n      five"
    assert folded("id: ", "x" * 30, 20) == f"id: {'x' * 30}"


def test_a_command_goes_on_behind_a_backslash() -> None:
    text = "acme-iid-ca provisioner update 'Two words' --allow a.internal"
    lines = list(command_lines(text, 2, 40))
    assert len(lines) > 1
    assert max(map(len, lines)) <= 40
    assert typed(lines) == shlex.split(text)
