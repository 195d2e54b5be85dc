"""Two hundred VMs in three clouds and their CA, and what befalls some of them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import forge_azure
import forge_tokens
import scraping
from chain_reader import ChainReader
from cloud_vms import CloudVM, of_aws, of_azure, of_gcp
from prometheus import Prometheus
from running import ACCOUNT, CA, SECONDS
from stand_ins import PROJECT, SUBSCRIPTION
from wire import Account, problem

STOLEN = "222222222222"
"""The AWS account whose keys somebody has stolen."""
PROJECT_NUMBER = 123456789012
STRANGE_PROJECT = "other-project"
"""A project that no provisioner lists."""
OUTSIDE, OUTSIDE_ADDRESS = "web.example.com", "127.0.0.99"
"""A name that the CA may not give to anybody, and the address of whoever asked for it."""
TICKET, NOTE = "INC-17", "the account's keys were stolen"
HOURS = 3600
SIZES = {"aws": 90, "stolen": 30, "gcp": 40, "azure": 40}
_CONNECTIONS = 4


class Follower(threading.Thread):
    """A reader of ``events --follow``, which makes the chain's hashes from the lines alone.

    :ivar events: those that came.
    :ivar fault: what was wrong with a line.
    """

    def __init__(self, ca: CA, after: str) -> None:
        """Begin behind a place in the chain, as ``events --check`` names it."""
        super().__init__()
        seq, _, head = after.partition(":")
        self._reader = ChainReader(int(seq), head)
        command = [sys.executable, "-m", "acme_iid.cli", "--home", str(ca.home)]
        self._process = subprocess.Popen(
            [*command, "events", "--follow", "--after", seq], stdout=subprocess.PIPE, text=True
        )
        self.events: list[dict[str, Any]] = []
        self.fault: str | None = None
        self.start()

    @property
    def head(self) -> str:
        """The place of the latest event that came."""
        return f"{self._reader.seq}:{self._reader.head}"

    def run(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                try:
                    event = self._reader.read(line)
                except AssertionError as error:
                    self.fault = str(error)
                    return
                self.events.append({**event, "detail": json.loads(event["detail"])})

    def end(self) -> None:
        """Stop it."""
        self._process.terminate()
        self._process.wait(SECONDS)
        self.join(SECONDS)


@dataclass
class Fleet:
    """The VMs by their groups, and those that were refused by why.

    :ivar addresses: the address that each refused VM asked from.
    """

    ca: CA
    prometheus: Prometheus
    follower: Follower
    groups: dict[str, list[CloudVM]]
    refused: dict[str, CloudVM] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    bulk: str = ""

    def refuse(self, why: str, vm: CloudVM, *, rebuilt: bool = True) -> None:
        """Have a VM come from an address of its own, and be refused.

        :param rebuilt: whether it has a new key, and not the one that it had before.
        """
        address = self.addresses[why] = f"127.0.0.{100 + len(self.addresses)}"
        if rebuilt:
            vm.joins(self.ca.wire(address))
        else:
            vm.moves(self.ca.wire(address))
        self.refused[why] = vm
        assert vm.refused() is not None, why

    def json(self, *command: str) -> Any:
        """What a command prints for scripts."""
        return json.loads(self.ca.cli(*command, "--json").stdout)

    def hang_up(self) -> None:
        """Have the server read its configuration again."""
        assert self.ca.process is not None
        self.ca.process.send_signal(signal.SIGHUP)

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something holds that costs a command or an order to see."""
        deadline = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < deadline, self.ca.log[-20:]
            time.sleep(0.3)


@contextmanager
def served(folder: Path) -> Iterator[Fleet]:
    """A CA with a provisioner for each cloud, Prometheus and a reader of its record, and the VMs with certificates."""
    ca = CA(folder / "ca")
    # Names are constrained, as they are where nobody says otherwise.
    ca.init("--aws-account", STOLEN, "--allow", "*.aws.local", "--instance-age", "1h", constrained=True)
    (ca.home / "google.json").write_bytes(forge_tokens.key_set(forge_tokens.google()))
    (ca.home / "azure-roots.pem").write_bytes(forge_azure.keys().roots)
    ca.cli("provisioner", "add", "GCE", "--type", "GCP", "--gcp-project", PROJECT, "--jwks", ca.home / "google.json",
           "--allow", "{instance_name}.gce.local")  # fmt: skip
    ca.cli("provisioner", "add", "Azure VMs", "--type", "AZURE", "--azure-subscription-id", SUBSCRIPTION,
           "--iid-roots", ca.home / "azure-roots.pem", "--allow", "*.azure.local")  # fmt: skip
    base = scraping.turn_on(ca)
    ca.start("--workers", "2")
    with ExitStack() as stack:
        stack.callback(ca.kill)
        follower = Follower(ca, json.loads(ca.cli("events", "--check", "--json").stdout)["head"])
        stack.callback(follower.end)
        prometheus = stack.enter_context(Prometheus.scraping(folder / "prometheus", [base]))
        fleet = Fleet(ca, prometheus, follower, _made())
        _join(ca, [vm for group in fleet.groups.values() for vm in group])
        yield fleet


def _made() -> dict[str, list[CloudVM]]:
    return {
        "aws": [of_aws(f"n{n}.aws.local", account=ACCOUNT) for n in range(SIZES["aws"])],
        "stolen": [of_aws(f"s{n}.aws.local", account=STOLEN) for n in range(SIZES["stolen"])],
        "gcp": [of_gcp(f"n{n}.gce.local", project=PROJECT, project_number=PROJECT_NUMBER) for n in range(SIZES["gcp"])],
        "azure": [of_azure(f"n{n}.azure.local", subscription=SUBSCRIPTION) for n in range(SIZES["azure"])],
    }


def _join(ca: CA, vms: Sequence[CloudVM]) -> None:
    """Get each VM its certificate."""

    def some(first: int) -> None:
        wire = ca.wire()
        for vm in vms[first::_CONNECTIONS]:
            vm.joins(wire)
            vm.obtain()

    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        list(pool.map(some, range(_CONNECTIONS)))


def befall(fleet: Fleet) -> None:
    """Refuse VMs by several rules: one is rebuilt, one is blocked, and the certificates of an account are revoked."""
    fleet.refuse("names", of_aws("web.azure.local", account=ACCOUNT))
    fleet.refuse("project", of_gcp("batch.gce.local", project=STRANGE_PROJECT, project_number=PROJECT_NUMBER + 1))
    fleet.refuse("age", of_aws("old.aws.local", account=ACCOUNT, pending_time=int(time.time()) - 2 * HOURS))
    fleet.refuse("stale", of_azure("stale.azure.local", subscription=SUBSCRIPTION, age=7 * HOURS))
    fleet.refuse("rebuilt", fleet.groups["aws"][0])
    blocked = fleet.groups["azure"][0]
    fleet.ca.cli("instance", "block", blocked.id, "--reason", "left the fleet")
    fleet.refuse("blocked", blocked, rebuilt=False)
    revoke = ("bulk", "revoke", "--owner", STOLEN, "--reason", "keyCompromise", "--ticket", TICKET, "--note", NOTE)
    assert fleet.json(*revoke, "--dry-run") == {"count": SIZES["stolen"], "done": 0}
    done = fleet.json(*revoke, "--yes")
    assert (done["done"], done["left_out"], done["stopped"]) == (SIZES["stolen"], 0, False)
    fleet.bulk = done["bulk"]
    fleet.refuse("stolen", fleet.groups["stolen"][0], rebuilt=False)
    stranger = Account.new(fleet.ca.wire(OUTSIDE_ADDRESS))
    assert problem(stranger.order(OUTSIDE)) == "rejectedIdentifier"
