"""A change of the account key that is killed at any point of it loses neither the key that counts nor the account."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine import Machine, ec2_machine
from running import CA

from acme_iid.simulator import aws

POINTS = [
    ("connect", 1),
    *(("fsync", number) for number in range(1, 6)),
    ("renameat", 1),
    ("renameat", 2),
    ("unlinkat", 1),
]
"""System calls in front of which it is killed. The CA takes the new key between the second fsync and the third."""


@pytest.fixture
def vm(tmp_path: Path, shared_ca: CA, instance: aws.Instance) -> Iterator[Machine]:
    with ec2_machine(tmp_path / "vm", instance) as machine:
        machine.bootstrap(shared_ca)
        machine.order()
        yield machine


@pytest.mark.parametrize(("call", "number"), POINTS)
def test_a_killed_change_of_the_key_leaves_the_account_usable(vm: Machine, call: str, number: int) -> None:
    before = vm.json("account", "show")
    tracer = ("strace", "-f", "-qq", "-o", vm.folder / "trace", "-e", f"trace={call}",
              "-e", f"inject={call}:signal=KILL:when={number}")  # fmt: skip
    killed = vm.under(tracer, "account", "rollover")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    vm.run("renew", "--force", vm.crt, vm.key)
    after = vm.json("account", "show")
    assert after["account"] == before["account"]
    assert after["status"] == "valid"

    left = [file.name for file in Path(after["key_file"]).parent.iterdir() if file.name.endswith(".coming")]
    assert left == []
