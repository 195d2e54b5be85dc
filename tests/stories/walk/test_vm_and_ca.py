"""A VM and a CA, each with its own programs: what people type, what they read, what is on the disk."""

from __future__ import annotations

import json
import re
import shlex
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import forge
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from machine import Machine, ec2_machine
from ports import free_port
from running import CA, PROVISIONER, Outcome, run_module

from acme_iid.simulator import aws, cms
from acme_iid.simulator.server import serve


@pytest.fixture
def vm(tmp_path: Path, instance: aws.Instance) -> Iterator[Machine]:
    """A VM that is ``instance``, its signature believed by the test CAs."""
    with ec2_machine(tmp_path / "vm", instance) as made:
        yield made


def order(vm: Machine, name: str, *options: str) -> Outcome:
    """Order a name into the machine's usual files, whatever comes of it."""
    return vm.try_("order", name, vm.crt, vm.key, "--force", *options)


def openssl(*arguments: str | Path) -> str:
    return subprocess.run(["openssl", *arguments], check=True, capture_output=True, text=True).stdout


def test_a_fresh_vm_gets_a_key_and_a_certificate_that_openssl_accepts(shared_ca: CA, vm: Machine) -> None:
    vm.bootstrap(shared_ca)
    done = order(vm, "foo.local", "--provisioner", PROVISIONER)
    assert done.code == 0, done.stderr
    assert done.stderr.splitlines() == [
        f"\u2714 Provisioner: {PROVISIONER} (AWS)",
        f"\u2714 CA: {shared_ca.url}",
        f"\u2714 Certificate: {vm.crt}",
        f"\u2714 Private Key: {vm.key}",
    ]
    for file in (vm.crt, vm.key):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    leaf, intermediate = x509.load_pem_x509_certificates(vm.crt.read_bytes())
    chain = vm.folder / "intermediate.pem"
    chain.write_bytes(intermediate.public_bytes(Encoding.PEM))
    assert "OK" in openssl("verify", "-x509_strict", "-CAfile", shared_ca.root, "-untrusted", chain, vm.crt)
    assert openssl("x509", "-in", vm.crt, "-noout", "-pubkey") == openssl("pkey", "-in", vm.key, "-pubout")
    assert "DNS:foo.local" in openssl("x509", "-in", vm.crt, "-noout", "-ext", "subjectAltName")
    assert leaf.not_valid_after_utc > leaf.not_valid_before_utc


def test_a_real_document_gets_a_certificate_under_the_pinned_keys_alone(
    own_ca: CA, tmp_path: Path, samples: Path
) -> None:
    (own_ca.home / "ca.toml").write_text(
        f'[ca]\nname = "My CA"\ndomains = ["local"]\n[server]\nurl = "{own_ca.url}"\n'
        f'listen = "127.0.0.1:{own_ca.port}"\n'
        '[[provisioner]]\nname = "Real"\ntype = "AWS"\naccounts = ["975426262029"]\n'
    )
    own_ca.start()
    recording = aws.recorded((samples / "aws-rsa2048-flaws.json").read_bytes())
    with serve(recording) as service:
        real = Machine(tmp_path, service.url)
        real.bootstrap(own_ca)
        done = order(real, "foo.local")
        assert done.code == 0, done.stderr
    leaf, intermediate = x509.load_pem_x509_certificates(real.crt.read_bytes())
    leaf.verify_directly_issued_by(intermediate)
    assert "OK" in openssl("verify", "-CAfile", own_ca.root, "-untrusted", real.crt, real.crt)
    shown = json.loads(own_ca.cli("instance", "list", "--json").stdout)
    assert [entry["instance"] for entry in shown] == ["aws:aws:975426262029:us-west-2:i-05bef8a081f307783"]


def test_renewing_revoking_and_the_refused_renewal_after_it(shared_ca: CA, vm: Machine) -> None:
    vm.bootstrap(shared_ca)
    assert order(vm, "foo.local").code == 0
    first = vm.crt.read_bytes()
    early = vm.try_("renew", vm.crt, vm.key)
    assert early.code == 0
    assert vm.crt.read_bytes() == first
    told = json.loads(vm.try_("renew", "--json", vm.crt, vm.key).stdout)
    assert told["renewed"] is False
    assert told["due"] < told["not_after"]
    renewed = vm.try_("renew", "--force", vm.crt, vm.key)
    assert renewed.code == 0, renewed.stderr
    assert f"Your certificate has been saved in {vm.crt}." in renewed.stdout + renewed.stderr
    assert vm.crt.read_bytes() != first
    serial = x509.load_pem_x509_certificate(vm.crt.read_bytes()).serial_number
    revoked = vm.try_("revoke", "--cert", vm.crt, "--key", vm.key)
    assert f"Certificate with Serial Number {serial} has been revoked." in revoked.stdout + revoked.stderr
    kept = vm.crt.read_bytes()
    refused = vm.try_("renew", "--force", vm.crt, vm.key)
    assert refused.code >= 10
    assert "closed to this instance" in refused.stderr
    assert vm.crt.read_bytes() == kept


def test_a_second_certificate_for_the_same_vm_is_given_to_the_same_key(shared_ca: CA, vm: Machine) -> None:
    vm.bootstrap(shared_ca)
    assert order(vm, "foo.local").code == 0
    assert vm.try_("order", "bar.local", vm.folder / "bar.crt", vm.folder / "bar.key").code == 0


def test_the_command_told_to_a_rebuilt_vm_lets_in_that_vm_alone(shared_ca: CA, vm: Machine, tmp_path: Path) -> None:
    vm.bootstrap(shared_ca)
    assert order(vm, "foo.local").code == 0
    rebuilt, other = Machine(tmp_path / "rebuilt", vm.metadata), Machine(tmp_path / "other", vm.metadata)
    for machine in (rebuilt, other):
        machine.folder.mkdir()
        machine.bootstrap(shared_ca)
        refused = order(machine, "foo.local")
        assert refused.code >= 10
        assert not machine.crt.exists()
        assert not machine.key.exists()
    command = re.search(r"acme-iid-ca (instance release \S+ --to \S+)", order(rebuilt, "foo.local").stderr)
    assert command is not None
    shared_ca.cli(*shlex.split(command[1]))
    assert order(other, "foo.local").code >= 10
    assert order(rebuilt, "foo.local").code == 0
    assert order(vm, "foo.local").code >= 10


def test_an_instance_name_certificate_by_the_instances_own_id(
    shared_ca: CA, vm: Machine, instance: aws.Instance
) -> None:
    vm.bootstrap(shared_ca)
    done = order(vm, instance.instance_id, "--san", instance.private_name, "--san", instance.private_ip)
    assert done.code == 0, done.stderr
    leaf = x509.load_pem_x509_certificate(vm.crt.read_bytes())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [instance.instance_id, instance.private_name]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == [instance.private_ip]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("foo.example", "outside this CA's domains (local, internal)"),
        ("i-00000000000000000", "another instance"),
        ("*.foo.local", "wildcard"),
        ("foo..local", "foo..local"),
    ],
)
def test_a_name_that_is_not_given_is_explained_on_the_terminal(
    shared_ca: CA, vm: Machine, name: str, message: str
) -> None:
    vm.bootstrap(shared_ca)
    done = order(vm, name)
    assert done.code in (2, 10)
    assert message in done.stderr
    assert not vm.key.exists()


def test_an_account_that_is_not_admitted_is_explained_on_the_terminal(shared_ca: CA, tmp_path: Path) -> None:
    with serve(aws.tree(aws.Instance(account="999999999999"), forge.keys())) as service:
        stranger = Machine(tmp_path, service.url)
        stranger.bootstrap(shared_ca)
        done = order(stranger, "foo.local")
    assert done.code >= 10
    assert "does not list account 999999999999" in done.stderr


def _of(content: bytes) -> bytes:
    return cms.signed_data(content, forge.keys().rsa2048, forge.SIGNED_AT)


def _twice(content: bytes) -> bytes:
    return content[:-1] + b', "accountId" : "999999999999"}'


def _another_regions_key(content: bytes) -> bytes:
    recorded = content.replace(b"us-west-2", b"eu-west-1")
    return cms.signed_data(recorded, forge.other_keys().rsa2048, forge.SIGNED_AT)


def _two_signers(content: bytes) -> bytes:
    return forge.cms_refused()["two signers"][0](content, forge.keys().rsa2048)


def _changed(content: bytes) -> bytes:
    return _of(content).replace(b"t3.micro", b"x9.micro")


# The CMS reader's own tests have many more; these show that what it says arrives.
FAULTS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "duplicate keys": (lambda content: _of(_twice(content)), "the key 'accountId' twice"),
    "trailing bytes": (lambda content: _of(content) + b"\0", "1 bytes follow its end"),
    "two signers": (_two_signers, "the set of signers has 2 values"),
    "a key of nobody": (_another_regions_key, "not signed by AWS's key for the region eu-west-1"),
    "a changed document": (_changed, "changed after it was signed"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faulty_evidence_is_refused_and_the_fault_is_shown_and_recorded(
    shared_ca: CA, tmp_path: Path, instance: aws.Instance, fault: str
) -> None:
    make, said = FAULTS[fault]
    tree = dict(aws.tree(instance, forge.keys()))
    tree[aws.IDENTITY + "rsa2048"] = lambda: aws.wrap(make(instance.document))
    with serve(tree) as service:
        machine = Machine(tmp_path, service.url)
        machine.bootstrap(shared_ca)
        done = order(machine, "foo.local")
    assert done.code >= 10
    assert said in done.stderr
    assert not list(tmp_path.glob("foo.*"))
    newest = json.loads(shared_ca.cli("events", "--limit", "1", "--json").stdout)
    assert newest[0]["kind"] == "challenge.refused"
    assert said in newest[0]["reason"]


def test_a_missing_metadata_service_is_explained_on_the_terminal(shared_ca: CA, tmp_path: Path) -> None:
    nowhere = Machine(tmp_path, f"http://127.0.0.1:{free_port()}")
    nowhere.bootstrap(shared_ca)
    done = order(nowhere, "foo.local")
    assert done.code >= 10
    assert "metadata" in done.stderr
    assert not list(tmp_path.glob("foo.*"))


def test_a_wrong_fingerprint_saves_nothing(shared_ca: CA, vm: Machine) -> None:
    done = vm.try_("bootstrap", "--ca-url", shared_ca.url, "--fingerprint", "0" * 64)
    assert done.code >= 10
    assert "fingerprint" in done.stderr
    assert not list((vm.folder / "config").rglob("*.*"))
    unknown = order(vm, "foo.local")
    assert unknown.code >= 10
    assert "bootstrap" in unknown.stderr


def test_an_order_survives_a_server_that_is_killed_and_comes_back(own_ca: CA, vm: Machine) -> None:
    own_ca.start()
    vm.bootstrap(own_ca)
    for milliseconds in (250, 400, 550):
        client = vm.begin("order", "foo.local", vm.crt, vm.key, "--force")
        # Somewhere in the order; which request it hits differs from run to run, and all must be survived.
        time.sleep(milliseconds / 1000)
        own_ca.kill()
        own_ca.start()
        _, said = client.communicate(timeout=90)
        assert client.returncode == 0, said
        assert openssl("x509", "-in", vm.crt, "-noout", "-pubkey") == openssl("pkey", "-in", vm.key, "-pubout")


def test_orders_go_on_while_the_server_reloads(own_ca: CA, vm: Machine) -> None:
    own_ca.start()
    vm.bootstrap(own_ca)
    assert own_ca.process is not None
    reloads = threading.Thread(target=own_ca.process.send_signal, args=(signal.SIGHUP,))
    reloads.start()
    for _ in range(4):
        done = order(vm, "foo.local")
        assert done.code == 0, done.stderr
    reloads.join()


def test_the_demo_shows_the_whole_way_and_cleans_up(tmp_path: Path) -> None:
    done = run_module("acme_iid.cli", "demo", "web.example.internal", env={"TMPDIR": str(tmp_path)})
    assert done.code == 0, done.stderr
    for line in ("Subject:     web.example.internal", "has been revoked.", "closed to this instance"):
        assert line in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["*.foo.local", "foo..local", "10.0.0.1"])
def test_the_demo_refuses_what_is_no_name(name: str) -> None:
    done = run_module("acme_iid.cli", "demo", name)
    assert done.code == 2
    assert "NAME" in done.stderr


def test_a_serial_number_has_one_form_wherever_it_stands(shared_ca: CA, vm: Machine) -> None:
    vm.bootstrap(shared_ca)
    ordered = order(vm, "foo.local", "--json")
    assert ordered.code == 0, ordered.stderr
    serial = str(x509.load_pem_x509_certificate(vm.crt.read_bytes()).serial_number)
    assert serial in vm.try_("inspect", vm.crt, "--json").stdout
    assert f"[Serial: {serial[:4]}...{serial[-4:]}]" in vm.try_("inspect", "--short", vm.crt).stdout
    assert f'"serial": "{serial}"' in shared_ca.cli("certificate", "list", "--json").stdout
    assert f'"serial": "{serial}"' in shared_ca.cli("events", "--json").stdout
    revoked = vm.try_("revoke", "--cert", vm.crt, "--key", vm.key)
    assert f"Certificate with Serial Number {serial} has been revoked." in revoked.stdout
