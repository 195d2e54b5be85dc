"""A CA under a company's root: offline root, policy CA and issuing CA, as ``openssl ca`` signs them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from machine import ec2_machine
from pki.openssl_ca import Company, founded, joined
from pki.rotating import activate, hang_up, serving, until
from running import CA

from acme_iid.simulator import aws


@pytest.fixture
def company(tmp_path: Path) -> tuple[Company, Company]:
    """The offline root and the policy CA."""
    root, policy = Company(tmp_path / "root", "Acme Root R1"), Company(tmp_path / "policy", "Acme Policy CA")
    root.sign_itself()
    root.sign(policy.request(), policy.certificate, "subordinate", 3650)
    return root, policy


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
        hang_up(ca)
        activate(ca, second)
        following = x509.load_pem_x509_certificate((tmp_path / "next.pem").read_bytes())

        def issued() -> bool:
            vm.order()
            return x509.load_pem_x509_certificates(vm.crt.read_bytes())[1] == following

        until(issued)
        leaf, issuer, *_ = x509.load_pem_x509_certificates(vm.crt.read_bytes())
        leaf.verify_directly_issued_by(issuer)
    assert "was activated before" in ca.try_cli("issuer", "rotate", "activate", first).stderr
