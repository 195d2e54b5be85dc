"""Two certificates of one machine, each with a command of its own: nginx is not reloaded for PostgreSQL's."""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

import pytest
from cryptography import x509
from machine import Machine
from running import CA

NAMES = ("foo.local", "bar.local")


def files(vm: Machine, name: str) -> tuple[Path, Path]:
    return vm.folder / f"{name}.crt", vm.folder / f"{name}.key"


def serial(vm: Machine, name: str) -> str:
    return str(x509.load_pem_x509_certificate(files(vm, name)[0].read_bytes()).serial_number)


def told(vm: Machine, name: str) -> list[str]:
    """The serial numbers that a program has heard of; twice is once, for two that renew a pair may both tell it."""
    file = vm.folder / f"{name}.told"
    return list(dict.fromkeys(file.read_text().split())) if file.exists() else []


def hook(vm: Machine, name: str, script: str = "") -> str:
    file = vm.folder / f"{name}.hook"
    file.write_text(f'#!/bin/sh\n{script}\necho "$ACME_IID_SERIAL" >> {vm.folder}/{name}.told\n')
    file.chmod(0o755)
    return str(file)


@pytest.fixture
def two(machine: Machine, shared_ca: CA) -> Machine:
    """A machine whose two certificates have a command each."""
    machine.bootstrap(shared_ca)
    for name in NAMES:
        machine.run("order", name, *files(machine, name), "--exec", hook(machine, name))
    return machine


def test_a_command_is_run_for_the_order_and_its_own_renewals(two: Machine) -> None:
    before = [serial(two, name) for name in NAMES]
    assert [told(two, name) for name in NAMES] == [[before[0]], [before[1]]]
    two.run("renew", "--force", *files(two, "foo.local"))
    assert told(two, "foo.local") == [before[0], serial(two, "foo.local")]
    assert told(two, "bar.local") == [before[1]]
    # None is due, and no program is told.
    two.run("renew")
    assert (two.folder / "bar.local.told").read_text().count("\n") == 1
    two.run("rekey", "--force", *files(two, "bar.local"))
    assert told(two, "foo.local") == [before[0], serial(two, "foo.local")]
    assert told(two, "bar.local") == [before[1], serial(two, "bar.local")]


def test_a_daemon_runs_each_certificates_command_and_its_own(two: Machine) -> None:
    first = {name: serial(two, name) for name in NAMES}
    everybody = hook(two, "everybody")
    with two.stay("--exec", everybody) as daemon:
        daemon.wait_for("first renewal in", count=2)
        # One is renewed by somebody else: the daemon has told nobody, and the other one's program is left alone.
        two.run("renew", "--force", *files(two, "foo.local"))
        daemon.wait_for("certificate has changed")
        second = serial(two, "foo.local")
        assert [told(two, "foo.local"), told(two, "bar.local")] == [[first["foo.local"], second], [first["bar.local"]]]
        daemon.send(signal.SIGHUP)
        daemon.wait_for("certificate renewed, next in", count=2)
        assert daemon.stop() == 0
    assert told(two, "foo.local") == [first["foo.local"], second, serial(two, "foo.local")]
    assert told(two, "bar.local") == [first["bar.local"], serial(two, "bar.local")]
    assert sorted(told(two, "everybody")) == sorted(serial(two, name) for name in NAMES)


def test_a_command_that_fails_keeps_no_other_from_being_run(two: Machine) -> None:
    hook(two, "foo.local", "exit 3")
    done = two.try_("renew", "--force", "--exec", hook(two, "everybody"))
    assert (done.code, "foo.local.hook ended with status 3" in done.stderr) == (12, True)
    assert told(two, "bar.local")[1:] == [serial(two, "bar.local")]
    assert sorted(told(two, "everybody")) == sorted(serial(two, name) for name in NAMES)
    # It is run again, and that of the other is not.
    hook(two, "foo.local")
    two.run("renew")
    assert told(two, "foo.local")[1:] == [serial(two, "foo.local")]
    assert len(told(two, "bar.local")) == 2


def test_an_order_whose_command_fails_is_told_of_by_the_daemon(machine: Machine, shared_ca: CA) -> None:
    machine.bootstrap(shared_ca)
    failing = hook(machine, "foo.local", "exit 3")
    done = machine.try_("order", "foo.local", *files(machine, "foo.local"), "--exec", failing)
    assert (done.code, "foo.local.crt is in place, but a notification failed" in done.stderr) == (12, True)
    hook(machine, "foo.local")
    with machine.stay() as daemon:
        daemon.wait_for("all notifications have been sent")
        assert daemon.stop() == 0
    assert told(machine, "foo.local") == [serial(machine, "foo.local")]


def test_the_latest_order_says_what_is_run(two: Machine) -> None:
    def shown() -> dict[str, str]:
        return {Path(row["certificate"]).stem: row["exec"] for row in two.json("list")}

    assert shown() == {name: f"{two.folder}/{name}.hook" for name in NAMES}
    two.run("order", "bar.local", *files(two, "bar.local"), "--force")
    assert shown() == {"foo.local": f"{two.folder}/foo.local.hook", "bar.local": None}
    before = told(two, "bar.local")
    two.run("renew", "--force")
    assert told(two, "bar.local") == before


def test_a_command_that_others_could_change_since_is_not_run(two: Machine) -> None:
    assert os.getuid() == 0
    before = told(two, "foo.local")
    file = two.folder / "foo.local.hook"
    file.chmod(stat.S_IMODE(file.stat().st_mode) | 0o022)
    done = two.try_("renew", "--force", *files(two, "foo.local"))
    assert (done.code, "another user of this machine can write to it" in done.stderr) == (12, True)
    assert told(two, "foo.local") == before


def test_a_command_goes_with_no_signing_request(machine: Machine) -> None:
    done = machine.try_("order", "--csr", "a.csr", "foo.local", "a.crt", "--exec", "true")
    assert (done.code, "--csr brings the names and the key" in done.stderr) == (2, True)
