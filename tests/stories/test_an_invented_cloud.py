"""A further cloud takes a descriptor, a verifier, keys, a collector and a stand-in, and no change of anything else."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import nimbus
import pytest
from cryptography import x509
from machine import Machine
from running import CA

from acme_iid.simulator.listener import listening

SUPPORT = Path(nimbus.__file__).parent


@pytest.fixture
def with_nimbus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each process that begins from now on know the cloud."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("import nimbus\n\nnimbus.register()\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(SUPPORT), os.environ.get("PYTHONPATH", "")]))


@pytest.fixture
def machine() -> nimbus.Simulator:
    return nimbus.Simulator()


@pytest.fixture
def ca(with_nimbus: None, machine: nimbus.Simulator, tmp_path: Path) -> Iterator[CA]:  # noqa: ARG001 - what it has done
    made = CA(tmp_path / "ca")
    made.init()
    roots = tmp_path / "nimbus.pem"
    roots.write_bytes(machine.roots)
    made.cli("provisioner", "add", "Clouds", "--type", "NIMBUS", "--nimbus-realm", "cirrus", "--iid-roots", roots,
             "--allow", "{number}.local")  # fmt: skip
    made.start()
    yield made
    made.stop()


def order(vm: Machine, ca: CA, name: str) -> str:
    """Order a certificate; what the client says of a refusal, or nothing."""
    vm.bootstrap(ca)
    done = vm.try_("order", name, vm.crt, vm.key, "--force", "--metadata-url", vm.metadata)
    return "" if done.code == 0 else done.stderr


def test_a_machine_of_another_cloud_orders_a_certificate(ca: CA, machine: nimbus.Simulator, tmp_path: Path) -> None:
    (tmp_path / "vm").mkdir()
    with listening(machine) as service:
        vm = Machine(tmp_path / "vm", service.url)
        assert order(vm, ca, "7.local") == ""
    leaf = x509.load_pem_x509_certificate(vm.crt.read_bytes())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["7.local"]
    (row,) = json.loads(ca.cli("certificate", "list", "--cloud", "nimbus", "--owner", "cirrus", "--json").stdout)
    assert row["instance"] == "nimbus:cirrus:7"
    assert row["names"] == ["7.local"]
    issued = json.loads(ca.cli("events", "--cloud", "nimbus", "--json").stdout)
    assert {"challenge.valid", "certificate.issued"} <= {event["kind"] for event in issued}
    ca.cli("instance", "block", "nimbus:cirrus:8")
    shown = ca.cli("provisioner", "test", "--fact", "realm=cirrus", "--fact", "number=7", "7.local").stdout
    assert "Provisioner 'Clouds' would give 7.local." in shown


def test_its_rules_hold_as_those_of_other_clouds_do(ca: CA, machine: nimbus.Simulator, tmp_path: Path) -> None:
    (tmp_path / "vm").mkdir()
    with listening(machine) as service:
        vm = Machine(tmp_path / "vm", service.url)
        assert "'Clouds' does not give 8.local: its allow is {number}.local" in order(vm, ca, "8.local")
        assert "it is the cloud's name for another instance" in order(vm, ca, "vm9.nimbus.internal")
        machine.realm = "stratus"
        assert "realms" in order(vm, ca, "7.local")
    stranger = nimbus.Simulator()
    with listening(stranger) as service:
        assert "no key of Nimbus's that is trusted here signed it" in order(
            Machine(vm.folder, service.url), ca, "7.local"
        )


def test_without_its_descriptor_nothing_is_recorded_under_its_name(tmp_path: Path) -> None:
    made = CA(tmp_path / "ca")
    made.init()
    done = made.try_cli("instance", "block", "nimbus:cirrus:8")
    assert done.code != 0
    assert "give its whole id: aws:PARTITION" in done.stderr
    done = made.try_cli("provisioner", "add", "Clouds", "--type", "NIMBUS")
    assert done.code != 0
    assert "NIMBUS" in done.stderr
