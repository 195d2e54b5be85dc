"""A Machine whose provisioner has a proof_lifetime renews with three signed requests and no evidence."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import forge
import pytest
from enrolling import whole_id
from machine import Machine
from relying import proven_events
from running import CA, PROVISIONER, Outcome

from acme_iid.simulator import aws
from acme_iid.simulator.server import serve


class Counting:
    """An instance's metadata service that counts how often it was asked for a document."""

    def __init__(self, instance: aws.Instance) -> None:
        self.documents = 0
        self.tree = dict(aws.tree(instance, forge.keys()))
        for path in [path for path in self.tree if path.startswith(aws.IDENTITY)]:
            self.tree[path] = self._counted(path)

    def _counted(self, path: str) -> Callable[[], bytes]:
        served = self.tree[path]

        def answer() -> bytes:
            self.documents += path.endswith("rsa2048")
            return served()

        return answer


@pytest.fixture
def ca(own_ca: CA) -> CA:
    own_ca.cli("provisioner", "update", PROVISIONER, "--proof-lifetime", "24h")
    own_ca.start()
    return own_ca


@pytest.fixture
def service(instance: aws.Instance) -> Counting:
    return Counting(instance)


@pytest.fixture
def vm(tmp_path: Path, ca: CA, service: Counting) -> Iterator[Machine]:
    folder = tmp_path / "vm"
    folder.mkdir()
    with serve(service.tree) as served:
        machine = Machine(folder, served.url)
        machine.bootstrap(ca)
        yield machine


def posted(done: Outcome) -> list[str]:
    """The resources that a command sent signed requests to, by what follows /acme/."""
    return re.findall(r"POST https://\S+/acme/([a-z-]+)", done.stderr)


def test_a_renewal_takes_three_signed_requests(vm: Machine, ca: CA, service: Counting, instance: aws.Instance) -> None:
    vm.order()
    asked = service.documents
    renewed = vm.run("renew", vm.crt, vm.key, "--force", "-v")
    assert posted(renewed) == ["new-order", "order", "certificate"]
    assert service.documents == asked
    # What the server has recorded says the same: one answer was judged, and two certificates were issued.
    text = ca.cli("events", "--json", "--limit", "100", "--instance", whole_id(instance)).stdout
    kinds = [event["kind"] for event in json.loads(text)]
    assert (kinds.count("challenge.valid"), kinds.count("order.proven"), kinds.count("certificate.issued")) == (1, 1, 2)


def test_which_further_names_there_are_is_still_looked_up(vm: Machine, instance: aws.Instance) -> None:
    vm.run("order", instance.instance_id, vm.crt, vm.key, "--force")
    again = vm.run("order", instance.instance_id, vm.crt, vm.key, "--force", "-v")
    assert posted(again) == ["new-order", "authorization", "new-order", "order", "certificate"]


def test_enrolling_proves_anew(vm: Machine, ca: CA, service: Counting, instance: aws.Instance) -> None:
    vm.order()
    asked = service.documents
    enrolled = json.loads(vm.run("enroll", "foo.local", "--format", "json").stdout)
    assert service.documents == asked + 1
    vm.run("enroll", "--renew", "foo.local")
    assert service.documents == asked + 2
    assert enrolled["names"] == ["foo.local"]
    text = ca.cli("events", "--json", "--limit", "100", "--instance", whole_id(instance)).stdout
    assert len(proven_events(text)) == 2
