"""A machine whose clock is wrong, by libfaketime."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from machine import Machine, ec2_machine
from running import CA

from acme_iid.simulator import aws


@pytest.fixture
def vm(tmp_path: Path, shared_ca: CA, instance: aws.Instance) -> Iterator[Machine]:
    with ec2_machine(tmp_path / "vm", instance) as machine:
        machine.bootstrap(shared_ca)
        yield machine


@pytest.mark.parametrize(("clock", "cause"), [("-2d", "not yet valid"), ("+4000d", "has expired")])
def test_a_clock_that_is_wrong_is_named_as_the_cause(vm: Machine, clock: str, cause: str) -> None:
    done = vm.under(("faketime", "-f", clock), "order", "foo.local", vm.crt, vm.key)
    assert done.returncode >= 10
    assert "is not valid at this time" in done.stderr
    assert cause in done.stderr
    assert "This machine's clock says 20" in done.stderr
    assert "check it first" in done.stderr
    assert not vm.key.exists()
