"""The manual: every command and every option, in sentences, on its page; and what the build puts where."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pages
import pytest

from acme_iid_client import manual
from acme_iid_client.cli import cli


def commands(command: click.Command = cli, path: str = "acme-iid") -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from commands(child, f"{path} {name}")


COMMANDS = dict(commands())
PAGES = dict(manual.pages("1.2.3"))


def printed(page: str) -> str:
    """A page's text without what is meant for troff."""
    return page.replace("\\-", "-").replace("\\(aq", "'").replace("\\(ga", "`").replace("\\&", "").replace("\\e", "\\")


def page_of(path: str) -> str:
    return printed(PAGES[f"{path.replace(' ', '-')}.1"])


def test_there_is_a_page_for_each_command_and_no_other() -> None:
    assert PAGES.keys() == {f"{path.replace(' ', '-')}.1" for path in COMMANDS}


@pytest.mark.parametrize("path", COMMANDS)
def test_a_commands_page_has_its_help_and_each_of_its_options(path: str) -> None:
    page, command = page_of(path), COMMANDS[path]
    assert command.help is not None
    for line in command.help.splitlines():
        assert line.strip() in page
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help is not None
            assert parameter.help in page
            for spelling in parameter.opts:
                assert spelling in page


@pytest.mark.parametrize("path", COMMANDS)
def test_help_is_written_in_sentences(path: str) -> None:
    command = COMMANDS[path]
    assert command.help is not None
    assert command.help[0].isupper()
    for paragraph in command.help.split("\n\n"):
        assert paragraph.strip()[-1] in ".:"
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help is not None
            assert re.match(r"[A-Z]", parameter.help), parameter.opts
            assert re.search(r"(\.|https://ca\.local|\.\.\.)$", parameter.help), parameter.opts
    if path.count(" ") == 1:
        assert command.short_help is not None
        assert len(command.short_help) < 60
        assert command.short_help.endswith(".")


def test_the_pages_name_every_command() -> None:
    text = "".join(map(pages.page, pages.PAGES))
    missing = [path for path in COMMANDS if path not in text]
    assert missing == []


def test_the_programs_page_has_every_variable_and_the_commands() -> None:
    page = page_of("acme-iid")
    for path, command in COMMANDS.items():
        assert path in page or path.startswith(("acme-iid account ", "acme-iid trust "))
        for parameter in command.params:
            if isinstance(parameter.envvar, str):
                assert f"\n.B {parameter.envvar}\n" in page
    for variable in ("HTTPS_PROXY", "NO_COLOR", "AWS_EC2_METADATA_SERVICE_ENDPOINT", "GCE_METADATA_HOST"):
        assert variable in page


def test_a_line_that_begins_like_a_request_to_troff_is_text() -> None:
    for name, page in PAGES.items():
        for line in page.splitlines():
            assert re.match(r"\.(TH|SH|B|BR|TP|PP)\b|[^.']", line), (name, line)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_program_prints_the_same_completion_as_the_build_installs(shell: str, tmp_path: Path) -> None:
    files = manual.write(tmp_path, "1.2.3")
    (file,) = (file for file in files if shell in file.relative_to(tmp_path).parts[0])
    done = subprocess.run(
        [Path(sys.executable).with_name("acme-iid")],
        env={"_ACME_IID_COMPLETE": f"{shell}_source", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert file.read_text().split() == done.stdout.split()
