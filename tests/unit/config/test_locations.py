"""Where a CA is that a command is about, and its ca.toml beside its home or in it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from ca_toml_texts import MINIMAL
from running import CA

from acme_iid.config import ca_toml, findings
from acme_iid.config.locations import MACHINE, Location, located


@pytest.fixture
def machine(tmp_path: Path) -> Location:
    """A machine's CA in other folders, since a test's machine may have a CA."""
    made = Location(tmp_path / "var/acme-iid-ca", tmp_path / "etc/acme-iid-ca/ca.toml")
    for folder in (made.home, made.file.parent):
        folder.mkdir(parents=True)
    return made


def apart(folder: Path) -> tuple[CA, Path]:
    """A CA whose ca.toml is elsewhere, and that file."""
    ca, file = CA(folder / "home"), folder / "etc/ca.toml"
    ca.cli("--config", file, "init", "--url", ca.url, "--listen", f"127.0.0.1:{ca.port}")
    return ca, file


@pytest.mark.parametrize(
    ("environment", "home"),
    [
        ({"HOME": "/home/me", "XDG_CONFIG_HOME": "/xdg"}, "/xdg/acme-iid-ca"),
        ({"HOME": "/home/me"}, "/home/me/.config/acme-iid-ca"),
        ({"HOME": "/home/me", "XDG_CONFIG_HOME": ""}, "/home/me/.config/acme-iid-ca"),
        ({"HOME": "/home/me", "XDG_CONFIG_HOME": "relative"}, "/home/me/.config/acme-iid-ca"),
    ],
    ids=str,
)
def test_the_ca_of_a_user_is_among_their_configuration(environment: dict[str, str], home: str) -> None:
    assert located(None, None, environment, 1000) == Location(Path(home), Path(home, "ca.toml"))


def test_root_means_the_machines_ca(machine: Location) -> None:
    assert located(None, None, {"XDG_CONFIG_HOME": "/xdg"}, 0, machine) == machine


def test_whoever_names_the_machines_home_need_not_name_its_ca_toml(machine: Location) -> None:
    assert located(machine.home, None, {}, 1000, machine) == machine
    (machine.home / "ca.toml").write_text(MINIMAL)
    assert located(machine.home, None, {}, 1000, machine).file == machine.home / "ca.toml"


def test_a_former_home_is_still_found_until_there_is_another(machine: Location) -> None:
    former = machine.file.parent
    machine.file.write_text(MINIMAL)
    assert located(None, None, {}, 0, machine) == machine
    (former / "certs").mkdir()
    assert located(None, None, {}, 0, machine) == Location(former, machine.file)
    (machine.home / "issuers").mkdir()
    assert located(None, None, {}, 0, machine) == machine


def test_a_ca_toml_that_was_named_is_taken(machine: Location, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    assert located(None, file, {}, 0, machine) == Location(machine.home, file)
    assert located(tmp_path / "home", file, {}, 0, machine) == Location(tmp_path / "home", file)


def test_a_former_home_is_told_where_to_move() -> None:
    former, apart_now = MACHINE.file.parent, MACHINE.home
    config = ca_toml.parse(MINIMAL.encode(), former)
    (found,) = [found for found in findings.of_files(config) if found.code == "home-in-etc"]
    assert f"move all but ca.toml from there to {apart_now}" in found.remedy
    moved = ca_toml.parse(MINIMAL.encode(), apart_now, former / "ca.toml")
    assert not [found for found in findings.of_files(moved) if found.code == "home-in-etc"]


def test_relative_paths_are_the_homes_wherever_ca_toml_is(tmp_path: Path) -> None:
    config = ca_toml.parse(MINIMAL.encode(), tmp_path / "home", tmp_path / "etc/ca.toml")
    assert config.store.path == tmp_path / "home/ca.db"


def test_init_makes_a_ca_toml_elsewhere_and_keys_in_the_home(tmp_path: Path) -> None:
    ca, file = apart(tmp_path)
    assert not (ca.home / "ca.toml").exists()
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o750
    assert sorted(path.name for path in file.parent.iterdir()) == ["ca.toml"]
    assert sorted(path.name for path in ca.home.iterdir() if path.is_dir()) == ["acts", "certs", "issuers", "secrets"]
    again = ca.try_cli("--config", file, "init")
    assert again.code == 1
    assert again.stderr == f"Error: {file} is there already; choose others with --config and --home\n"


def test_commands_edit_and_read_a_ca_toml_elsewhere(tmp_path: Path) -> None:
    ca, file = apart(tmp_path)
    added = ca.cli("--config", file, "provisioner", "add", "p", "--type", "AWS", "--aws-account", "123456789042")
    assert str(file) in added.stdout
    assert "123456789042" in file.read_text()
    assert "A reload would" in ca.cli("--config", file, "check", "--reload").stdout
    assert ca.try_cli("provisioner", "list").code == 1
    assert list(ca.home.glob("ca.toml*")) == []


@pytest.mark.parametrize("is_apart", [True, False])
def test_a_backup_holds_both_and_restore_puts_both_back(tmp_path: Path, *, is_apart: bool) -> None:
    ca, file = apart(tmp_path)
    ca.cli("--config", file, "backup", tmp_path / "backup.tar")
    restored = CA(tmp_path / "other")
    there = tmp_path / "elsewhere/ca.toml" if is_apart else restored.home / "ca.toml"
    restored.cli("--config", there, "restore", tmp_path / "backup.tar")
    assert (restored.home / "ca.toml").exists() is not is_apart
    assert f'url = "{ca.url}"' in there.read_text()
    assert ca_toml.load(restored.home, there).store.path == restored.home / "ca.db"
    assert "A reload would" in restored.cli("--config", there, "check", "--reload").stdout
    refused = CA(tmp_path / "third").try_cli("--config", there, "restore", tmp_path / "backup.tar")
    assert f"{there} exists" in refused.stderr
    assert not (tmp_path / "third").exists()
