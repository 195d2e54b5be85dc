"""Fixtures for whole ways: a machine, and one that has ordered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
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
