"""The systemd units among the examples."""

from __future__ import annotations

import configparser
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from machine import Machine, ec2_machine
from programs import EXAMPLES, PROGRAM, system
from running import CA
from scripted_ca import issue

from acme_iid.simulator import aws
from acme_iid_client.x509 import keys

NAME = "foo.local"
UNITS = sorted(file for file in EXAMPLES.iterdir() if file.suffix in (".service", ".timer"))


@pytest.fixture
def vm(tmp_path: Path, shared_ca: CA, instance: aws.Instance) -> Iterator[Machine]:
    with ec2_machine(tmp_path / "vm", instance) as machine:
        machine.bootstrap(shared_ca)
        yield machine


def test_systemd_finds_nothing_wrong_with_any_unit(tmp_path: Path) -> None:
    names = []
    for unit in UNITS:
        name = unit.name.replace("@.", f"@{NAME}.")
        (tmp_path / name).write_text(unit.read_text().replace("/usr/local/bin/acme-iid", str(PROGRAM)))
        names.append(name)
    assert len(names) == 8
    done = system("systemd-analyze", "verify", "--man=no", *names, cwd=tmp_path)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("unit", ["acme-iid-bootstrap.service", "acme-iid-order@.service", "acme-iid-renew.service"])
def test_a_service_never_gives_up_and_tries_again_within_a_minute(unit: str) -> None:
    settings = dict(line.split("=", 1) for line in (EXAMPLES / unit).read_text().splitlines() if "=" in line)
    assert settings["Restart"] in ("on-failure", "always")
    assert settings.get("StartLimitIntervalSec") == "0"
    # The first certificate waits for two of them, one after the other.
    assert int(settings["RestartSec"]) <= 30
    if unit != "acme-iid-renew.service":
        assert int(settings["RestartSec"]) <= 15


def lines(unit: str, key: str, folder: Path) -> list[list[str]]:
    """The commands of a unit under a key, as systemd would run them for the name, in a folder of the test's."""
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[method-assign,assignment]
    parser.read(EXAMPLES / unit)
    text = parser["Service"][key].replace("%i", NAME).replace("/etc/ssl/acme-iid", str(folder))
    # A plus has systemd run it outside of the service's sandbox, which there is not here.
    return [shlex.split(text.removeprefix("+").replace("/usr/local/bin/acme-iid", str(PROGRAM)))]


def run(vm: Machine, unit: str, key: str) -> int:
    """Run the commands of a unit under a key; the status of the first that fails, or 0."""
    for command in lines(unit, key, vm.folder):
        done = system(*command, env=vm.environment)
        assert "Traceback" not in done.stderr
        if done.returncode:
            return done.returncode
    return 0


def test_the_first_certificate_is_ordered_and_then_looked_after(vm: Machine) -> None:
    # Nothing has been ordered: systemd takes this for nothing to do, as it does all from 1 to 254.
    assert run(vm, "acme-iid-renew@.service", "ExecCondition") == 2
    assert run(vm, "acme-iid-order@.service", "ExecStartPre") == 0
    assert run(vm, "acme-iid-order@.service", "ExecStart") == 0
    crt, key = (vm.folder / f"{NAME}.{end}" for end in ("crt", "key"))
    assert run(vm, "acme-iid-renew@.service", "ExecCondition") == 1
    # As it would be with a sixth of its life left.
    private = keys.load(key.read_bytes(), str(key))
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    old = issue(None, NAME, private, [NAME], start=datetime.now(UTC) - timedelta(hours=20), days=1)
    crt.write_bytes(old.public_bytes(Encoding.PEM))
    before = crt.read_bytes()
    assert run(vm, "acme-iid-renew@.service", "ExecCondition") == 0
    assert run(vm, "acme-iid-renew@.service", "ExecStart") == 0
    assert crt.read_bytes() != before
    crt.write_text("hello")
    # Something is wrong: systemd takes this for a failure.
    assert run(vm, "acme-iid-renew@.service", "ExecCondition") == 255
