"""A command that failed, or never came to run, is run by the next program that looks after the certificate."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from machine import Machine, ec2_machine
from running import CA

from acme_iid.simulator import aws
from acme_iid_client.renewal import pending_notifications


@pytest.fixture
def vm(tmp_path: Path, shared_ca: CA, instance: aws.Instance) -> Iterator[Machine]:
    """A machine that has ordered foo.local."""
    with ec2_machine(tmp_path / "vm", instance) as machine:
        machine.bootstrap(shared_ca)
        machine.order()
        yield machine


def serial(vm: Machine) -> int:
    return x509.load_pem_x509_certificate(vm.crt.read_bytes()).serial_number


def hook(vm: Machine, script: str) -> str:
    file = vm.folder / "hook"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return str(file)


@pytest.mark.parametrize("script", ["exit 1", "kill -KILL $PPID"])
@pytest.mark.parametrize("named", [True, False])
def test_a_daemon_that_starts_runs_what_the_one_before_it_could_not(vm: Machine, script: str, named: bool) -> None:
    told = vm.folder / "told"
    pair = (vm.crt, vm.key) if named else ()
    with vm.stay("--exec", hook(vm, script), *pair) as daemon:
        daemon.wait_for("first renewal in")
        daemon.send(signal.SIGHUP)
        if "KILL" in script:
            assert daemon.process.wait(timeout=60) == -signal.SIGKILL
        else:
            daemon.wait_for("ended with status 1")
            # The end of the with is SIGKILL.
    for _ in range(2):
        with vm.stay("--exec", hook(vm, f'echo "$ACME_IID_SERIAL" >> {told}'), *pair) as daemon:
            daemon.wait_for("first renewal in")
            if not told.exists():
                daemon.wait_for("all notifications have been sent")
            assert daemon.stop() == 0
    assert told.read_text() == f"{serial(vm)}\n", "once, of the certificate that is there, and not again"


def test_a_command_that_failed_is_run_by_the_next_renewal(vm: Machine) -> None:
    told = vm.folder / "told"
    assert vm.try_("renew", "--force", "--exec", "/bin/false", vm.crt, vm.key).code >= 10
    before = serial(vm)
    # Without a command there is nobody to tell, and with one that fails it stays so.
    vm.run("renew", vm.crt, vm.key)
    assert "is in place, but a notification failed" in vm.try_("renew", "--exec", "/bin/false", vm.crt, vm.key).stderr
    for _ in range(2):
        vm.run("renew", "--exec", hook(vm, f'echo "$ACME_IID_SERIAL" >> {told}'), vm.crt, vm.key)
    assert serial(vm) == before
    assert told.read_text() == f"{before}\n"


def test_a_certificate_that_was_not_put_in_place_is_no_news(vm: Machine) -> None:
    leaf = x509.load_pem_x509_certificate(vm.crt.read_bytes())
    pending_notifications.keep(vm.folder / "state", vm.crt, leaf)
    told = vm.folder / "told"
    vm.run("renew", "--exec", f"touch {told}", vm.crt, vm.key)
    assert not told.exists()
    vm.run("renew", "--force", vm.crt, vm.key)
    vm.run("renew", "--exec", f"touch {told}", vm.crt, vm.key)
    assert told.exists()
