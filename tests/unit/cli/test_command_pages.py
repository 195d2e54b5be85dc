"""The reference of commands has each command of both programs with each of its options."""

from __future__ import annotations

import re

import command_pages
import pytest
from pages import page

import acme_iid.cli
import acme_iid_client.cli

NAMES = sorted(command_pages.written())


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_what_the_commands_say(name: str) -> None:
    assert page(name) == command_pages.whole(name, command_pages.written()[name]), "see command_pages"


# The same by a reader of the pages who does not know how they are written


def test_each_command_has_a_section_with_its_options() -> None:
    text = "\n".join(page(name) for name in NAMES)
    sections = dict(re.findall(r"^## (acme-iid(?:-ca)? [^\n]+)\n(.*?)(?=^##? |\Z)", text, re.MULTILINE | re.DOTALL))
    entries = list(command_pages.entries())
    assert set(sections) == {entry.path for entry in entries}
    for entry in entries:
        row = "\n".join(
            line for line in sections[entry.path].splitlines() if line.startswith(("| `-", "`-", "Options that"))
        )
        wanted = {name for option in entry.command.params if option.param_type_name == "option"
                  for name in (*option.opts, *option.secondary_opts)}  # fmt: skip
        assert set(re.findall(r"(?<![\w-])--?[a-z][\w-]*(?=[ ,`/])", row)) >= wanted, entry.path


@pytest.mark.parametrize("program", [acme_iid.cli.main, acme_iid_client.cli.cli], ids=["acme-iid-ca", "acme-iid"])
def test_the_options_before_a_command_are_on_the_page(program: object) -> None:
    text = page("docs/reference/commands.md")
    title = "acme-iid" if program is acme_iid_client.cli.cli else "acme-iid-ca"
    section = text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    options = [option for entry in getattr(program, "params", []) for option in entry.opts]
    assert len(options) >= 3
    assert [option for option in options if f"`{option}`" not in section] == []
