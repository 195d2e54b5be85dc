"""The page of exit statuses has those with which the code ends, and no others."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from pages import REPOSITORY, page, tables
from running import CA

import acme_iid.cli
import acme_iid_client.cli
from acme_iid_client import errors, manual
from acme_iid_client.cli import needs_renewal

PAGE = page("docs/reference/exit-statuses.md")
OF_CLIENT, OF_NEEDS_RENEWAL, OF_CA = ([int(row[0]) for row in rows] for rows in tables(PAGE, "status"))
(OF_COMMANDS,) = ({(row[0].strip("`"), int(row[1])) for row in rows} for rows in tables(PAGE, "command"))
USAGE = click.UsageError.exit_code


def numbers(node: ast.expr, module: ast.Module) -> Iterator[int]:
    """The numbers that an expression may be: literals, and names of the module that stand for them."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from numbers(node.body, module)
        yield from numbers(node.orelse, module)
    elif isinstance(node, ast.Name):
        for line in module.body:
            if isinstance(line, ast.Assign) and any(getattr(name, "id", None) == node.id for name in line.targets):
                yield from numbers(line.value, module)
    else:
        pytest.fail(f"line {node.lineno}: what statuses can {ast.unparse(node)} be?")


def ends(file: Path) -> set[int]:
    """The statuses with which a module of commands says that the program ends."""
    module = ast.parse(file.read_text())
    found: set[int] = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "exit":
            found |= set(numbers(node.args[0], module))
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "exit_code":
            found |= set(numbers(node.value, module))
        elif isinstance(node, ast.Name | ast.Attribute) and "SystemExit" in ast.unparse(node):
            pytest.fail(f"{file.name} ends in a way that this test does not know")
    return found


def command(path: str) -> click.Command:
    """A command of acme-iid-ca; options behind its name are of no account."""
    found: click.Command = acme_iid.cli.main
    for name in path.partition(" --")[0].split():
        assert isinstance(found, click.Group)
        below = found.get_command(click.Context(found), name)
        assert below is not None, path
        found = below
    return found


def test_the_clients_statuses_are_those_of_its_errors() -> None:
    assert OF_CLIENT == [0, USAGE, errors.REFUSED, errors.AWAY, errors.LOCAL]
    for status in OF_CLIENT:
        assert f"{status}: " in manual._EXIT_STATUS
        assert f"{status} " in str(acme_iid_client.cli.cli.help).partition("Exit status: ")[2]


def test_needs_renewal_has_statuses_of_its_own() -> None:
    own = (needs_renewal._DUE, needs_renewal._NOT_DUE, needs_renewal._NO_SUCH_FILE, needs_renewal._ERROR)
    assert tuple(OF_NEEDS_RENEWAL) == own


def test_commands_of_the_ca_end_with_the_statuses_of_the_page() -> None:
    assert [0, click.ClickException.exit_code, USAGE] == OF_CA
    files = {f"acme_iid.cli.{file.stem}": ends(file) for file in (REPOSITORY / "acme_iid/cli").glob("*.py")}
    telling = {module: statuses for module, statuses in files.items() if statuses - {0}}
    # events --follow is in a module of its own.
    modules = {
        path: "acme_iid.cli.following" if "--follow" in path else str(getattr(command(path).callback, "__module__", ""))
        for path, _ in OF_COMMANDS
    }
    assert sorted(modules.values()) == sorted(telling)
    for path, module in modules.items():
        listed = {status for name, status in OF_COMMANDS if name == path}
        assert listed == telling[module] | {0}, path


def test_a_check_and_a_status_answer_by_their_statuses(tmp_path: Path) -> None:
    ca = CA(tmp_path / "ca")
    ca.init()
    assert ca.try_cli("check").code == 1  # it says that any name is given
    file = ca.home / "ca.toml"
    text = file.read_text()
    file.write_text(text.replace('\ntype = "AWS"\n', '\ntype = "AWS"\ndisable_custom_sans = true\n'))
    assert ca.try_cli("check").code == 0
    file.write_text(text + "[nonsense]\n")
    assert ca.try_cli("check").code == 2
    assert ca.try_cli("check", "--reload").code == 2
    assert ca.try_cli("status").code == 1
    assert ca.try_cli("status", "--nonsense").code == 2
    assert ca.try_cli("provisioner", "test", "--nonsense").code == 2
