"""VMs behind one address: each proves itself, and so none of them is kept out by the limits that are in force."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from running import ACCOUNT, CA, answer
from wire import Account, Key, Wire, problem

from acme_iid.simulator import aws

VMS = 500


@pytest.fixture
def ca(tmp_path: Path) -> Iterator[CA]:
    """A CA with the limits that it was made with."""
    made = CA(tmp_path / "ca")
    made.init(limits="")
    made.start("--workers", "2")
    yield made
    if made.process is not None:
        made.kill()


def boot(wire: Wire, number: int) -> str:
    """Make an account, order a name and prove it; the order's status then."""
    account = Account.new(wire)
    vm = replace(aws.Instance(account=ACCOUNT), instance_id=f"i-{number:017x}")
    ordered, _ = account.prove(f"vm{number}.local", answer=answer(vm))
    return str(account.post(ordered.headers["Location"]).json()["status"])


def test_five_hundred_vms_behind_one_address_get_what_they_order(ca: CA) -> None:
    def boot_some(first: int) -> set[str]:
        wire = ca.wire()
        return {boot(wire, number) for number in range(first, VMS, 4)}

    with ThreadPoolExecutor(4) as pool:
        assert set.union(*pool.map(boot_some, range(4))) == {"ready"}
    wire = ca.wire()
    for _ in range(100):
        Account.new(wire)
    assert problem(wire.post(wire.directory["newAccount"], {}, Key())) == "rateLimited"
