"""A daemon whose clock is set while it runs, by libfaketime."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from clocks import Clock
from cryptography import x509
from machine import Machine, ec2_machine
from running import CA

from acme_iid.simulator import aws


@pytest.fixture
def machine(tmp_path: Path, instance: aws.Instance) -> Iterator[Machine]:
    with ec2_machine(tmp_path / "vm", instance) as made:
        yield made


@pytest.fixture
def vm(shared_ca: CA, machine: Machine) -> Machine:
    """A machine that has ordered foo.local."""
    machine.bootstrap(shared_ca)
    machine.order()
    return machine


def leaf(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_the_daemon_does_what_an_operator_wishes(own_ca: CA, machine: Machine, tmp_path: Path) -> None:
    own_ca.start()
    machine.bootstrap(own_ca)
    machine.order()
    clock = Clock(tmp_path / "clock")
    with machine.stay(env=clock.env) as daemon:
        daemon.wait_for("first renewal in")
        assert "for the renewal of 1 certificates" in own_ca.cli("certificate", "renew-now", "--over", "10s").stdout
        # It has asked a moment ago, and asks again when something happens, as here, or after a while.
        clock.set(5)
        daemon.wait_for("the CA's wish: next renewal")
        daemon.wait_for("certificate renewed", 40)
        assert daemon.stop() == 0
    shown = json.loads(own_ca.cli("certificate", "list", "--json").stdout)
    assert len(shown) == 2


def test_a_clock_that_jumps_ten_years_and_back_does_not_stop_the_daemon(vm: Machine, tmp_path: Path) -> None:
    clock = Clock(tmp_path / "clock")
    with vm.stay(vm.crt, vm.key, env=clock.env) as daemon:
        daemon.wait_for("first renewal in")
        clock.set(3650 * 86400)
        daemon.wait_for("the clock was set forward by", 10)
        assert "clock" in daemon.wait_for("renewal failed")
        before = vm.crt.read_bytes()
        clock.set(0)
        daemon.wait_for("the clock was set back by", 10)
        assert vm.crt.read_bytes() == before
        daemon.send(signal.SIGHUP)
        daemon.wait_for("certificate renewed")
        assert daemon.stop() == 0


def test_a_day_without_the_ca_ends_with_fresh_orders(own_ca: CA, machine: Machine, tmp_path: Path) -> None:
    clock = Clock(tmp_path / "clock")
    own_ca.start(env=clock.env)
    machine.bootstrap(own_ca)
    machine.order()
    bar = (machine.folder / "bar.crt", machine.folder / "bar.key")
    machine.run("order", "bar.local", *bar)
    with machine.stay("--timeout", "1", env=clock.env) as daemon:
        daemon.wait_for("first renewal in", count=2)
        own_ca.kill()
        for hours in (17, 20, 23, 26):
            clock.set(hours * 3600)
            daemon.wait_for("the clock was set forward")
            daemon.wait_for("renewal failed, next try in")
        own_ca.start(env=clock.env)
        daemon.wait_for("certificate renewed, next in", count=2)
        assert daemon.stop() == 0
    later = datetime.now(UTC) + timedelta(hours=26)
    for path in (machine.crt, bar[0]):
        assert leaf(path).not_valid_before_utc < later < leaf(path).not_valid_after_utc
