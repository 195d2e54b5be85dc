"""A CA under a company's root: offline root, policy CA and issuing CA, as ``openssl ca`` signs them."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import forge
import pytest
from cryptography import x509
from machine import ec2_machine
from running import ACCOUNT, CA, PROVISIONER

from acme_iid.simulator import aws

CONFIG = """\
[ca]
default_ca = this
[this]
dir = {folder}
database = {folder}/index.txt
new_certs_dir = {folder}/certs
serial = {folder}/serial
certificate = {folder}/ca.pem
private_key = {folder}/ca.key
default_md = sha384
policy = any
copy_extensions = copy
[any]
commonName = supplied
serialNumber = optional
[req]
distinguished_name = name
prompt = no
[name]
commonName = {name}
[root]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[subordinate]
basicConstraints = critical,CA:TRUE{path_length}
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[bare]
authorityKeyIdentifier = keyid
"""


class Company:
    """One CA of the company, kept with OpenSSL's own command."""

    def __init__(self, folder: Path, name: str, path_length: str = "") -> None:
        self.folder = folder
        (folder / "certs").mkdir(parents=True)
        (folder / "index.txt").touch()
        (folder / "serial").write_text("1000\n")
        (folder / "ca.cnf").write_text(CONFIG.format(folder=folder, name=name, path_length=path_length))
        self.openssl("ecparam", "-name", "secp384r1", "-genkey", "-noout", "-out", "ca.key")

    @property
    def certificate(self) -> Path:
        return self.folder / "ca.pem"

    def openssl(self, *arguments: str | Path) -> None:
        done = subprocess.run(
            ["openssl", *map(str, arguments)], cwd=self.folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def sign_itself(self) -> None:
        self.openssl("req", "-x509", "-new", "-key", "ca.key", "-days", "7300", "-config", "ca.cnf",
                     "-extensions", "root", "-out", "ca.pem")  # fmt: skip

    def request(self) -> Path:
        self.openssl("req", "-new", "-key", "ca.key", "-config", "ca.cnf", "-out", "ca.csr")
        return self.folder / "ca.csr"

    def sign(self, request: Path, out: Path, extensions: str, days: int) -> None:
        self.openssl("ca", "-batch", "-config", "ca.cnf", "-extensions", extensions, "-days", str(days), "-notext",
                     "-in", request, "-out", out)  # fmt: skip


@pytest.fixture
def company(tmp_path: Path) -> tuple[Company, Company]:
    """The offline root and the policy CA."""
    root, policy = Company(tmp_path / "root", "Acme Root R1"), Company(tmp_path / "policy", "Acme Policy CA")
    root.sign_itself()
    root.sign(policy.request(), policy.certificate, "subordinate", 3650)
    return root, policy


def joined(path: Path, *parts: Path) -> Path:
    """A PEM file of the certificates in others."""
    path.write_text("".join(part.read_text() for part in parts))
    return path


@contextmanager
def serving(ca: CA) -> Iterator[None]:
    ca.start()
    try:
        yield
    finally:
        ca.stop()


def founded(ca: CA, csr: Path) -> None:
    """A CA that waits for the answer to its request, with a provisioner that believes the forge's keys."""
    ca.cli("init", "--name", "My CA", "--domain", "local", "--url", ca.url, "--listen", f"127.0.0.1:{ca.port}",
           "--csr", csr)  # fmt: skip
    roots = ca.home / "test-roots.pem"
    roots.write_bytes(forge.keys().certificates)
    ca.cli("provisioner", "add", PROVISIONER, "--type", "AWS", "--aws-account", ACCOUNT, "--iid-roots", roots)


def test_from_a_request_under_three_tiers_to_a_vms_certificate(
    tmp_path: Path, company: tuple[Company, Company], instance: aws.Instance
) -> None:
    root, policy = company
    ca = CA(tmp_path / "ca")
    csr, issuing = tmp_path / "ca.csr", tmp_path / "issuing.pem"
    founded(ca, csr)
    assert "was not answered yet" in ca.try_cli("serve").stderr
    policy.sign(csr, issuing, "bare", 1825)
    wrong = ca.try_cli("issuer", "import", joined(tmp_path / "wrong.pem", issuing, root.certificate))
    assert wrong.code == 1
    assert "was not signed by" in wrong.stderr
    assert not (ca.home / "certs").exists()
    said = ca.cli("issuer", "import", joined(tmp_path / "chain.pem", issuing, policy.certificate, root.certificate))
    assert ca.fingerprint in said.stdout
    status = json.loads(ca.cli("issuer", "status", "--json").stdout)
    assert [entry["role"] for entry in status] == ["issuer", "between", "root"]
    assert "+local" in status[0]["constraints"]
    with serving(ca), ec2_machine(tmp_path / "vm", instance) as vm:
        vm.bootstrap(ca)
        vm.order()
        chain = x509.load_pem_x509_certificates(vm.crt.read_bytes())
        assert [entry.subject.rfc4514_string().rpartition("CN=")[2] for entry in chain[1:]] == [
            "My Intermediate CA", "Acme Policy CA",
        ]  # fmt: skip
        done = subprocess.run(
            ["openssl", "verify", "-x509_strict", "-CAfile", str(root.certificate), "-untrusted", str(vm.crt),
             str(vm.crt)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        refused = vm.try_("order", "foo.example")
        assert refused.code != 0


def test_the_next_issuer_signs_once_every_server_has_its_key(
    tmp_path: Path, company: tuple[Company, Company], instance: aws.Instance
) -> None:
    root, policy = company
    ca = CA(tmp_path / "ca")
    csr, issuing = tmp_path / "ca.csr", tmp_path / "issuing.pem"
    founded(ca, csr)
    policy.sign(csr, issuing, "bare", 1000)
    ca.cli("issuer", "import", joined(tmp_path / "chain.pem", issuing, policy.certificate, root.certificate))
    first = ca.issuer_id
    with serving(ca), ec2_machine(tmp_path / "vm", instance) as vm:
        vm.bootstrap(ca)
        vm.order()
        ca.cli("issuer", "rotate", "prepare", "--csr", tmp_path / "next.csr")
        policy.sign(tmp_path / "next.csr", tmp_path / "next.pem", "bare", 1825)
        chain = joined(tmp_path / "chain2.pem", tmp_path / "next.pem", policy.certificate, root.certificate)
        ca.cli("issuer", "import", chain)
        (second,) = {entry["id"] for entry in json.loads(ca.cli("issuer", "list", "--json").stdout)} - {first}
        early = ca.try_cli("issuer", "rotate", "activate", second)
        assert "lack the issuer's key" in early.stderr
        assert ca.process is not None
        ca.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 60
        while (done := ca.try_cli("issuer", "rotate", "activate", second)).code:
            assert "lack the issuer's key" in done.stderr
            assert time.monotonic() < deadline
            time.sleep(0.5)
        deadline = time.monotonic() + 60
        while True:
            vm.order()
            leaf, issuer, *_ = x509.load_pem_x509_certificates(vm.crt.read_bytes())
            if issuer == x509.load_pem_x509_certificate((tmp_path / "next.pem").read_bytes()):
                break
            assert time.monotonic() < deadline
            time.sleep(0.5)
        leaf.verify_directly_issued_by(issuer)
    assert "was activated before" in ca.try_cli("issuer", "rotate", "activate", first).stderr
