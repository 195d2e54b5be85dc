"""The commands that the pages name in running text are typed: those of the runbooks run, and all others are known."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from pages import PAGES, page

from acme_iid.cli import main

RUNBOOKS = ("docs/how-to/monitoring.md",)
PAGES_OF_USERS = [name for name in PAGES if name.startswith(("README", "docs/"))]


def mentioned(*pages: str) -> list[str]:
    """The commands of acme-iid-ca between backquotes."""
    found = (re.findall(r"`(acme-iid-ca [^`]+)`", page(name).replace("\n", " ")) for name in pages)
    return sorted({command for several in found for command in several})


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A CA that has refused nobody yet."""
    home = tmp_path / "ca"
    done = CliRunner().invoke(main, ["--home", str(home), "init", "--domain", "internal"])
    assert done.exit_code == 0, done.output
    return home


def test_the_commands_of_the_runbooks_run_as_typed(home: Path, tmp_path: Path) -> None:
    commands = mentioned(*RUNBOOKS)
    assert len(commands) > 10
    wanted = {"status", "why", "certificate", "events", "store", "bulk"}
    assert wanted <= {command.split()[1] for command in commands}
    for command in commands:
        words = ["a.internal" if word == "ID" else word for word in shlex.split(command)[1:]]
        words = ["192.0.2.7" if word == "ADDRESS" else word for word in words]
        words = [str(tmp_path / "backup.tar") if word == "FILE" else word for word in words]
        done = CliRunner().invoke(main, ["--home", str(home), *words])
        # No server runs, which is red.
        assert done.exit_code == (1 if command == "acme-iid-ca status" else 0), (command, done.output)


def test_each_command_that_the_pages_name_is_known() -> None:
    for text in mentioned(*PAGES_OF_USERS):
        words = shlex.split(re.sub(r"[\[\]|]", " ", text.replace("…", "")))[1:]
        command: click.Command = main
        context = click.Context(main)
        while words and isinstance(command, click.Group) and not words[0].startswith("-"):
            below = command.get_command(context, words[0])
            assert below is not None, text
            context = click.Context(below, parent=context)
            command, words = below, words[1:]
        known = {option for parameter in command.get_params(context) for option in parameter.opts}
        assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known, text
