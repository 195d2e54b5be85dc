"""What the maps name exists, and nothing is missing from them."""

from __future__ import annotations

import configparser
import re
import shlex
from collections.abc import Iterator

import click
import pytest
from definitions import definitions, exists, module, named
from pages import PAGES, REPOSITORY, commands, page, table

import acme_iid.cli
import acme_iid_client.cli

MAP = "docs/contributing/map.md"
MAPPED = (
    MAP,
    "docs/contributing/adding-a-cloud.md",
    "docs/contributing/adding-a-setting.md",
    "CONTRIBUTING.md",
    "tests/README.md",
)


def ini(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(REPOSITORY / name)
    return parser


def children(package: str) -> set[str]:
    """The modules and packages in a package."""
    file = module(package)
    assert file is not None
    found = {path.stem for path in file.parent.glob("*.py")} | {path.parent.name for path in file.parent.glob("*/*.py")}
    return {name for name in found if not name.startswith("__")}


@pytest.mark.parametrize("package", [acme_iid, acme_iid_client], ids=lambda package: package.__name__)
def test_a_packages_own_map_has_what_is_in_it(package: object) -> None:
    text, name = str(package.__doc__), getattr(package, "__name__", "")
    rows = dict(re.findall(r"^    (\w+) +(.+)$", text, re.MULTILINE))
    assert set(rows) == children(name)
    wrong = [
        word for row, text in rows.items() for word in re.findall(r"``([\w.]+)``", text)
        if not exists(f"{name}.{row}.{word}")
    ]  # fmt: skip
    wrong += [
        word for word in re.findall(r"``([\w.]+)``", text.rpartition("\n\n")[2])
        if not exists(word) and not exists(f"{name}.{word}")
    ]  # fmt: skip
    assert wrong == []


def test_every_package_is_on_the_map() -> None:
    listed = [row[0].strip("`") for row in table(page(MAP).partition("## The client")[0], "package")]
    listed += [row[0].strip("`") for row in table(page(MAP).partition("## The client")[2], "package")]
    assert [name for name in listed if module(name) is None] == []
    packages = set(ini("setup.cfg")["options"]["packages"].split())
    assert packages - set(listed) == {"acme_iid"}
    # Of the server its few modules beside the packages as well.
    assert {f"acme_iid.{child}" for child in children("acme_iid")} <= set(listed)


@pytest.mark.parametrize("name", MAPPED)
def test_what_a_map_names_is_defined(name: str) -> None:
    text = page(name)
    found = [(REPOSITORY / file, names) for file, names in named(text) if "/" in file]
    assert [file for file, _ in found if not file.is_file()] == []
    assert [(file.name, wanted) for file, names in found for wanted in names if wanted not in definitions(file)] == []
    folders = re.findall(r"`((?:acme_iid|client|tests)/[\w/]+)`", text)
    assert [folder for folder in folders if not (REPOSITORY / folder).is_dir()] == []


def test_each_answer_of_the_map_names_a_file_and_a_function() -> None:
    rows = table(page(MAP), "where …")
    assert len(rows) > 15
    assert [question for question, answer in rows if not any(names for _, names in named(answer))] == []


def test_the_tests_own_map_is_whole() -> None:
    text = page("tests/README.md")
    folders = {row[0].strip("`") for row in table(text, "folder")}
    there = {f"tests/{wing}/{path.name}"
             for wing in ("stories", "suites", "tools")
             for path in (REPOSITORY / "tests" / wing).iterdir() if any(path.rglob("*.py"))}  # fmt: skip
    assert folders == {"tests/unit", *there}
    support = REPOSITORY / "tests" / "support"
    modules = {path.relative_to(support).with_suffix("").as_posix() for path in support.rglob("*.py")}
    assert {row[0].strip("`") for row in table(text, "module")} == modules


def test_the_table_of_environments_is_toxs() -> None:
    listed = {name for row in table(page("CONTRIBUTING.md"), "environment") for name in re.findall(r"`(\w+)`", row[0])}
    tox = ini("tox.ini")
    named_there = {section.removeprefix("testenv:") for section in tox.sections() if section.startswith("testenv:")}
    assert named_there | {"py311", "py312", "py313", "py314"} == listed


def test_what_contributors_type_is_what_tox_runs() -> None:
    tox = ini("tox.ini")
    assert commands("static").split("\n")[:-1] == tox["testenv:static"]["commands"].strip().split("\n")
    assert f"\n    {tox['testenv']['commands'].replace('{posargs:', '').rstrip('}')}\n" in page("CONTRIBUTING.md")


def test_ci_runs_the_environments_by_their_names() -> None:
    """And nothing else, so that whoever runs one of them sees what CI sees."""
    script = (REPOSITORY / ".ci" / "run").read_text("utf-8")
    (several,) = re.findall(r"^for name in (.*); do$", script, re.MULTILINE)
    alone = re.findall(r"^run_suite (\w+)", script, re.MULTILINE)
    known = {section.removeprefix("testenv:") for section in ini("tox.ini").sections()}
    assert {*shlex.split(several), *alone} == {name for name in known if name not in NOT_IN_CI}
    assert 'run_suite "$name"' in script
    assert "pytest " not in script.replace("s/^commands = pytest //p", "")


NOT_IN_CI = {"testenv", "tox", "pytest", "static", "daemon", "machines", "soak", "mutate"}
"""No environments; those that plain tox runs; one whose folder is given to ``fresh``; and three that take too long."""


def options(command: click.Command, context: click.Context | None = None) -> Iterator[str]:
    """The options of a command and of all below it."""
    context = click.Context(command, parent=context)
    for parameter in command.get_params(context):
        yield from (*parameter.opts, *parameter.secondary_opts)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from options(child, context)


def test_each_option_that_the_pages_name_is_there() -> None:
    """In running text, too, where no test types the command."""
    systemctl = {"--now"}
    known = {*options(acme_iid.cli.main), *options(acme_iid_client.cli.cli), *systemctl}
    pages = [name for name in PAGES if name.startswith(("README", "docs/")) and not name.startswith(OF_OTHERS)]
    lines = [
        line
        for name in pages
        # What programs print is held against their source by tests/unit/test_troubleshooting.py.
        for line in re.sub(r"^```text$.*?^```$", "", page(name), flags=re.MULTILINE | re.DOTALL).splitlines()
        if not line.startswith(("|", "aws ", "cloud-init ", "curl ", "softhsm2-util "))
    ]
    said = {option for line in lines for option in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", line)}
    assert len(said) > 50
    assert said - known == set()


OF_OTHERS = (
    "docs/how-to/install.md",
    "docs/how-to/run-in-a-container.md",
    "docs/how-to/certbot.md",
    "docs/reference/performance.md",
    "docs/reference/commands",
)
"""Pages with the options of other programs, which tests/stories runs; and what the commands themselves have written."""
