"""Fixtures for tests of what needs programs of the system."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from machine import Machine, ec2_machine
from own_store import OwnStore, own_store
from running import CA

from acme_iid.simulator import aws


@pytest.fixture
def vm(tmp_path: Path, shared_ca: CA, instance: aws.Instance) -> Iterator[Machine]:
    """A machine that trusts the shared CA."""
    with ec2_machine(tmp_path / "vm", instance) as machine:
        machine.bootstrap(shared_ca)
        yield machine


@pytest.fixture
def store(tmp_path: Path) -> Iterator[OwnStore]:
    """A system's store of trusted roots."""
    with own_store(tmp_path / "store") as made:
        yield made
