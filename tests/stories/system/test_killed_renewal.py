"""SIGKILL at each system call of a renewal that changes the file system: what is on the disk works, at once."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine import Machine, ec2_machine
from running import CA

from acme_iid.simulator import aws

# What a command calls to change the file system, and how often at least. A kill as one call begins is also a kill after
# the one before it ended: between them, nothing changes that a reader of the two files could see, for opening and
# writing concern files that nobody reads yet.
CASES = [
    ("renew", "renameat", 2),
    ("renew", "fsync", 6),
    ("rekey", "renameat", 7),
    ("rekey", "fsync", 16),
    ("rekey", "symlinkat", 9),
    ("rekey", "linkat", 3),
    ("rekey", "mkdirat", 4),
    ("rekey", "unlinkat", 16),
    ("order", "renameat", 8),
    ("order", "fsync", 18),
]
COMMANDS = {"renew": ("renew",), "rekey": ("rekey",), "order": ("order", "foo.local")}


@pytest.fixture
def machine(shared_ca: CA, tmp_path: Path, instance: aws.Instance) -> Iterator[Machine]:
    """A machine with a certificate for foo.local."""
    with ec2_machine(tmp_path, instance) as made:
        made.env["PYTHONDONTWRITEBYTECODE"] = "1"
        made.bootstrap(shared_ca)
        made.order()
        yield made


def killed(machine: Machine, call: str, number: int, *arguments: str | Path) -> bool:
    """Run acme-iid, which dies as it enters ``call`` for the ``number``-th time; whether it came to that."""
    tracer = ("strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}",
              "-e", f"inject={call}:signal=SIGKILL:when={number}")  # fmt: skip
    done = machine.under(tracer, *arguments)
    assert done.returncode in (0, -signal.SIGKILL, 128 + signal.SIGKILL), done.stderr
    return done.returncode != 0


@pytest.mark.parametrize(("command", "call", "least"), CASES)
def test_a_command_that_is_killed_anywhere_leaves_a_working_pair(
    machine: Machine, command: str, call: str, least: int
) -> None:
    certificates = [machine.crt.read_bytes()]
    for number in range(1, 40):
        # What the killed command before this one kept would be put in place without an order, by fewer calls.
        shutil.rmtree(machine.folder / "state/issued", ignore_errors=True)
        died = killed(machine, call, number, *COMMANDS[command], machine.crt, machine.key, "--force")
        machine.check_pair()
        certificates.append(machine.crt.read_bytes())
        if not died:
            break
    assert not died
    assert number - 1 >= least
    assert certificates[-1] != certificates[-2], "the last run was not killed"
    # It has also cleared away what the ones before it left.
    assert sorted(path.name for path in machine.folder.iterdir() if path.is_file()) == ["foo.crt", "foo.key"]
    assert not list(machine.folder.glob(".*"))
