"""``acme-iid-ca provisioner`` for provisioners of type ACME."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from acme_iid.cli import main
from acme_iid.config import ca_toml
from acme_iid.protocol.addresses import Listen

ADD = ["provisioner", "add", "Racks", "--type", "ACME", "--challenge", "http-01", "--challenge", "dns-01",
       "--allow", "*.racks.local", "--allow-wildcards", "--network", "10.20.0.0/16", "--resolver", "10.0.0.53",
       "--http-port", "8080"]  # fmt: skip


def run(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--home", str(home), *arguments])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    assert run(tmp_path, "init", "--no-name-constraints").exit_code == 0
    done = run(tmp_path, *ADD)
    assert done.exit_code == 0, done.output
    assert "Warning" not in done.output
    return tmp_path


def test_add_writes_what_was_given(home: Path) -> None:
    (made,) = ca_toml.load(home).hosts
    assert (made.name, made.challenges, made.allow_wildcards) == ("Racks", ("http-01", "dns-01"), True)
    assert (made.resolver, made.http_port, made.tls_port) == ((Listen("10.0.0.53", 53),), 8080, 443)


def test_update_changes_it_between_others(home: Path) -> None:
    aws = ["provisioner", "add", "Web", "--type", "AWS", "--aws-account", "123456789042"]
    assert run(home, *aws).exit_code == 0
    done = run(
        home, "provisioner", "update", "Racks", "--challenge", "tls-alpn-01", "--remove-challenge", "http-01",
        "--tls-port", "8443", "--unset", "http_port", "--caa"
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    loaded = ca_toml.load(home)
    (made,) = loaded.hosts
    assert (made.challenges, made.http_port, made.tls_port, made.caa) == (("dns-01", "tls-alpn-01"), 80, 8443, True)
    assert loaded.names == ("Racks", "Web")


def test_list_shows_both_kinds_in_their_order(home: Path) -> None:
    run(home, "provisioner", "add", "Web", "--type", "AWS", "--aws-account", "123456789042")
    first, second = json.loads(run(home, "provisioner", "list", "--json").stdout)
    assert (first["name"], first["type"], first["challenges"]) == ("Racks", "ACME", ["http-01", "dns-01"])
    assert (second["name"], second["accounts"]) == ("Web", ["123456789042"])
    assert "*.racks.local" in run(home, "provisioner", "list").stdout


def test_remove_takes_it_out(home: Path) -> None:
    assert run(home, "provisioner", "remove", "Racks").exit_code == 0
    assert ca_toml.load(home).hosts == ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["add", "X", "--type", "ACME"], "say how hosts prove their names: --challenge"),
        (["add", "Racks", "--type", "ACME", "--challenge", "dns-01"], "there is a provisioner named 'Racks' already"),
        (["add", "X", "--type", "ACME", "--challenge", "dns-01", "--region", "x"], "--region is for type"),
        (["add", "X", "--type", "AWS", "--aws-account", "123456789042", "--challenge", "dns-01"],
         "--challenge is for type ACME, and this is of type AWS"),
        (["update", "Racks", "--instance-age", "1h"], "and this is of type ACME"),
        (["update", "Racks", "--remove-challenge", "dns-01"], "needs a challenge that can prove a wildcard"),
        (["update", "Racks", "--http-port", "0"], "0 is not in the range"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said(home: Path, arguments: list[str], message: str) -> None:
    before = (home / "ca.toml").read_text()
    done = run(home, "provisioner", *arguments)
    assert done.exit_code != 0
    assert message in done.stderr
    assert (home / "ca.toml").read_text() == before


def test_test_says_how_a_name_can_be_proven_and_why_not(home: Path) -> None:
    done = run(home, "provisioner", "test", "a.racks.local", "*.racks.local", "10.20.0.1")
    assert done.exit_code == 1
    assert "by http-01 or dns-01" in done.stdout
    assert "not among its names (*.racks.local)" in run(home, "provisioner", "test", "b.local").stdout
    for name, why in (("b.example", "outside this CA's domains"), ("10.21.0.1", "only inside its networks")):
        refused = run(home, "provisioner", "test", name)
        assert refused.exit_code == 1
        assert why in refused.stdout
    given = run(home, "provisioner", "test", "--json", "a.racks.local")
    assert given.exit_code == 0
    assert json.loads(given.stdout) == {"names": {"a.racks.local": {"Racks": ["http-01", "dns-01"]}}}


def test_the_help_has_a_part_for_hosts(home: Path) -> None:
    shown = run(home, "provisioner", "add", "--help").stdout
    assert "For ACME:" in shown
    assert shown.index("For ACME:") < shown.index("--challenge TYPE")
