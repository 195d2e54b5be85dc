"""VMs in three clouds and one CA: each kind of evidence, and the names that an instance may hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import forge_azure
import pytest
import stand_ins
from cryptography import x509
from machine import Machine
from ports import free_port
from running import CA, Outcome, run_module
from stand_ins import ACCOUNT, PROJECT, RESOURCE, SUBSCRIPTION, StandIn, azure_vm, ec2, gce

from acme_iid.simulator import aws, gcp
from acme_iid.simulator.azure import Vm


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what the CA believes."""
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Iterator[CA]:
    """A CA that admits instances of all three clouds."""
    ca = CA(tmp_path_factory.mktemp("clouds") / "ca")
    ca.cli("init", "--name", "My CA", "--domain", "local", "--url", ca.url, "--listen", f"127.0.0.1:{ca.port}")
    with (ca.home / "ca.toml").open("a") as file:
        file.write(stand_ins.provisioners(keys))
    ca.start()
    yield ca
    if ca.process is not None:
        ca.stop()


@dataclass
class CloudVM:
    """A VM of one of the clouds, and the CA that it asks.

    :ivar machine: the client on it, whose commands are told by an option where the metadata service is.
    """

    machine: Machine
    ca: CA
    metadata_url: str

    @classmethod
    def of(cls, folder: Path, ca: CA, stand_in: StandIn) -> CloudVM:
        """A VM that is a simulated instance."""
        return cls(Machine(folder, env=stand_in.env), ca, stand_in.url)

    def run(self, *arguments: str | Path, **env: str) -> Outcome:
        """Run acme-iid, whatever comes of it."""
        return self.machine.try_(*arguments, env=env)

    def bootstrap(self, *options: str) -> None:
        self.machine.bootstrap(self.ca, *options)

    def order(self, *arguments: str, **env: str) -> Outcome:
        """Order into the machine's usual files, with the first argument as the name."""
        name, *options = arguments
        files = (self.machine.crt, self.machine.key)
        return self.run("order", name, *files, "--force", "--metadata-url", self.metadata_url, *options, **env)

    def names(self, crt: str = "foo.crt") -> list[str]:
        """The names in a certificate."""
        leaf = x509.load_pem_x509_certificate((self.machine.folder / crt).read_bytes())
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return [str(name.value) for name in found]

    def proof(self) -> dict[str, Any]:
        """The newest event about evidence."""
        events = json.loads(self.ca.cli("events", "--json").stdout)
        newest: dict[str, Any] = next(event for event in events if event["kind"].startswith("challenge."))
        return newest


def test_one_order_has_three_names(ca: CA, tmp_path: Path) -> None:
    with ec2(aws.Instance(account=ACCOUNT)) as service:
        vm = CloudVM.of(tmp_path, ca, service)
        vm.bootstrap()
        done = vm.order("a.local", "--san", "b.local", "--san", "c.b.local")
        assert done.code == 0, done.stderr
        assert vm.names() == ["a.local", "b.local", "c.b.local"]
        assert vm.proof()["format"] == "aws-rsa2048"
        assert (
            vm.run("renew", "--force", tmp_path / "foo.crt", tmp_path / "foo.key", "--metadata-url", service.url).code
            == 0
        )
        assert vm.names() == ["a.local", "b.local", "c.b.local"]


def test_an_instance_with_a_role_proves_itself_with_a_web_identity(ca: CA, tmp_path: Path) -> None:
    with ec2(aws.Instance(account=ACCOUNT), role=True) as service:
        vm = CloudVM.of(tmp_path, ca, service)
        vm.bootstrap()
        done = vm.order("foo.local")
        assert done.code == 0, done.stderr
        assert "✔ Provisioner: EC2 (AWS)" in done.stderr
        assert (vm.proof()["format"], vm.proof()["binding"]) == ("aws-web-identity", "audience")


def test_a_role_that_sts_refuses_leaves_the_next_format(ca: CA, tmp_path: Path) -> None:
    instance = aws.Instance(account=ACCOUNT, region="eu-west-1")
    with ec2(instance, role=True) as service:
        vm = CloudVM.of(tmp_path, ca, service)
        vm.bootstrap()
        assert vm.order("foo.local", AWS_ENDPOINT_URL_STS=f"http://127.0.0.1:{free_port()}").code == 0
        assert vm.proof()["format"] == "aws-rsa2048"


def test_an_instance_with_a_nitrotpm_proves_account_key_and_boot(ca: CA, keys: Path, tmp_path: Path) -> None:
    instance = aws.Instance(account=ACCOUNT)
    with ec2(instance) as service:
        vm = CloudVM.of(tmp_path, ca, service)
        vm.bootstrap()
        done = vm.order("foo.local", ACME_IID_NITRO_TPM_ATTEST=stand_ins.nitro_tpm_attest(keys, instance))
        assert done.code == 0, done.stderr
        assert (vm.proof()["format"], vm.proof()["binding"]) == ("aws-nitrotpm", "nonce")


def test_a_nitrotpm_document_of_another_instance_is_refused(ca: CA, keys: Path, tmp_path: Path) -> None:
    with ec2(aws.Instance(account=ACCOUNT)) as service:
        vm = CloudVM.of(tmp_path, ca, service)
        vm.bootstrap()
        other = stand_ins.nitro_tpm_attest(keys, aws.Instance(account=ACCOUNT))
        done = vm.order("foo.local", ACME_IID_NITRO_TPM_ATTEST=other)
        assert done.code >= 10
        assert "not of the same instance" in done.stderr


def test_a_google_vm_proves_itself_with_its_token(ca: CA, tmp_path: Path) -> None:
    with gce(gcp.Instance(project=PROJECT, instance_name="web-1")) as service:
        vm = CloudVM.of(tmp_path, ca, service)
        vm.bootstrap()
        done = vm.order("web-1.vm.local")
        assert done.code == 0, done.stderr
        assert "✔ Provisioner: GCE (GCP)" in done.stderr
        assert (vm.proof()["format"], vm.proof()["binding"]) == ("gcp-identity", "audience")
        wildcard = vm.order("*.apps.local")
        assert wildcard.code == 0, wildcard.stderr
        assert vm.names() == ["*.apps.local"]
        refused = vm.order("web-2.vm.local")
        assert refused.code >= 10
        assert "does not give web-2.vm.local" in refused.stderr


@pytest.mark.parametrize("stale", [0, 2])
def test_an_azure_vm_proves_itself_and_fetches_a_stale_document_again(ca: CA, tmp_path: Path, stale: int) -> None:
    with azure_vm(Vm(subscription=SUBSCRIPTION), stale_nonces=stale) as service:
        vm = CloudVM.of(tmp_path, ca, service)
        vm.bootstrap()
        done = vm.order("foo.local")
        assert done.code == 0, done.stderr
        assert "✔ Provisioner: Azure VMs (Azure)" in done.stderr
        assert (vm.proof()["format"], vm.proof()["binding"]) == ("azure-attested", "nonce")
        renewed = vm.run("renew", "--force", tmp_path / "foo.crt", tmp_path / "foo.key", "--metadata-url", service.url)
        assert renewed.code == 0, renewed.stderr


def test_an_azure_vm_with_the_cas_resource_adds_its_managed_identity(ca: CA, tmp_path: Path) -> None:
    with azure_vm(Vm(subscription=forge_azure.VM_ID, tenant=forge_azure.TENANT)) as service:
        vm = CloudVM.of(tmp_path, ca, service)
        vm.bootstrap("--azure-resource", RESOURCE)
        done = vm.order("foo.local")
        assert done.code == 0, done.stderr
        assert "✔ Provisioner: Azure tenant (Azure)" in done.stderr
        assert vm.proof()["format"] == "azure-managed-identity"
        vm.bootstrap()
        assert vm.order("foo.local").code == 0, "a second bootstrap for the same CA forgets nothing"


def test_a_managed_identity_of_another_resource_is_refused(ca: CA, tmp_path: Path) -> None:
    with azure_vm(Vm(subscription=forge_azure.VM_ID, tenant=forge_azure.TENANT)) as service:
        vm = CloudVM.of(tmp_path, ca, service)
        vm.bootstrap()
        done = vm.order("foo.local", "--azure-resource", "api://somebody.else")
        assert done.code >= 10
        assert "another audience" in done.stderr


@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_an_order_without_a_name_asks_for_all_names_the_instance_may_hold(
    ca: CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cloud: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ec2_instance = aws.Instance(account=ACCOUNT)
    gce_instance = gcp.Instance(project=PROJECT, instance_name="batch-7")
    context, expected = {
        "aws": (
            ec2(ec2_instance),
            [ec2_instance.private_name, ec2_instance.private_ip],
        ),
        "gcp": (
            gce(gce_instance),
            [gce_instance.hostname, f"batch-7.c.{PROJECT}.internal", "batch-7.vm.local"],
        ),
    }[cloud]
    with context as service:
        machine = CloudVM.of(tmp_path, ca, service)
        machine.bootstrap()
        done = machine.run("order", "--metadata-url", service.url, "--json")
        assert done.code == 0, done.stderr
        assert f"Ordering a certificate for {', '.join(expected)}." in done.stderr
        assert json.loads(done.stdout)["names"] == expected
        crt = f"{ec2_instance.instance_id if cloud == 'aws' else expected[0]}.crt"
        assert machine.names(crt) == expected
        assert machine.run("order", "--metadata-url", service.url).code >= 10, "files are not overwritten unasked"


def test_an_azure_vm_hears_that_its_id_is_not_offered(ca: CA, tmp_path: Path) -> None:
    vm = Vm(subscription=SUBSCRIPTION)
    with azure_vm(vm) as service:
        machine = CloudVM.of(tmp_path, ca, service)
        machine.bootstrap()
        done = machine.run("order", "--metadata-url", service.url)
        assert done.code >= 10
        assert f"The CA refused the order of {vm.vm_id}" in done.stderr
        assert "a bare instance id is in no domain, so a CA with name constraints offers none" in done.stderr


def test_an_order_of_the_instances_id_gets_its_private_name_and_address(ca: CA, tmp_path: Path) -> None:
    instance = aws.Instance(account=ACCOUNT)
    with ec2(instance) as service:
        vm = CloudVM.of(tmp_path, ca, service)
        vm.bootstrap()
        done = vm.order(instance.instance_id)
        assert done.code == 0, done.stderr
        assert "a bare instance id is in no domain" in done.stderr
        assert vm.names() == [instance.private_name, instance.private_ip]


@pytest.fixture(scope="module")
def free_ca(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Iterator[CA]:
    """The same CA without name constraints."""
    ca = CA(tmp_path_factory.mktemp("free") / "ca")
    ca.init()
    with (ca.home / "ca.toml").open("a") as file:
        file.write(stand_ins.provisioners(keys))
    ca.start()
    yield ca
    ca.stop()


def test_without_name_constraints_the_instances_id_is_the_first_name(free_ca: CA, tmp_path: Path) -> None:
    ec2_instance, vm = aws.Instance(account=ACCOUNT), Vm(subscription=SUBSCRIPTION)
    for folder, context, expected in (
        ("aws", ec2(ec2_instance), [ec2_instance.instance_id, ec2_instance.private_name, ec2_instance.private_ip]),
        ("azure", azure_vm(vm), [vm.vm_id]),
    ):
        with context as service:
            (tmp_path / folder).mkdir()
            machine = CloudVM.of(tmp_path / folder, free_ca, service)
            machine.bootstrap()
            done = machine.order(expected[0])
            assert done.code == 0, done.stderr
            assert machine.names() == expected


def test_an_order_of_the_instance_id_omits_names_outside_the_rules(free_ca: CA, tmp_path: Path) -> None:
    instance = aws.Instance(account="999999999999")
    with ec2(instance) as service:
        vm = CloudVM.of(tmp_path, free_ca, service)
        vm.bootstrap()
        done = vm.order(instance.instance_id)
        assert done.code == 0, done.stderr
        assert vm.names() == [instance.instance_id]


def test_a_google_vm_that_orders_its_id_gets_its_derived_names(ca: CA, tmp_path: Path) -> None:
    instance = gcp.Instance(project=PROJECT, instance_name="batch-8")
    with gce(instance) as service:
        vm = CloudVM.of(tmp_path, ca, service)
        vm.bootstrap()
        done = vm.order(instance.instance_id)
        assert done.code == 0, done.stderr
        assert vm.names() == [instance.hostname, f"batch-8.c.{PROJECT}.internal"]


def test_a_refusal_names_the_formats_of_the_ca_and_those_of_the_machine(shared_ca: CA, tmp_path: Path) -> None:
    with gce(gcp.Instance()) as service:
        vm = CloudVM.of(tmp_path, shared_ca, service)
        vm.bootstrap()
        done = vm.order("foo.local")
    assert done.code >= 10
    assert "The CA accepts aws-rsa2048, aws-signature for foo.local." in done.stderr
    assert "This machine (GCP) can give gcp-identity." in done.stderr


@pytest.mark.parametrize("cloud", ["gcp", "azure"])
def test_the_demo_tells_the_same_story_in_other_clouds(tmp_path: Path, cloud: str) -> None:
    done = run_module(
        "acme_iid.cli", "demo", "--cloud", cloud, "web.example.internal", "foo.local", env={"TMPDIR": str(tmp_path)}
    )
    assert done.code == 0, done.stderr + done.stdout
    for line in ("Subject:     web.example.internal", "foo.local\n", "has been revoked.", "closed to this instance"):
        assert line in done.stdout
    assert not list(tmp_path.iterdir())
