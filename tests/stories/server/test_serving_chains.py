"""Servers whose own certificate no client would take, chains that are changed while they run, and name constraints."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from running import ACCOUNT, CA, PROVISIONER, answer
from wire import b64, csr, problem

from acme_iid.issuance import ceremony, keys
from acme_iid.issuance.home import load_certificate
from acme_iid.issuance.issuer import Signer
from acme_iid.simulator import aws


def resign(ca: CA, *, by: Signer | None = None, constraints: x509.NameConstraints | None = None) -> x509.Certificate:
    """Sign the intermediate again, with another serial number; returns it as it is in its file then."""
    root = Signer(load_certificate(ca.root), keys.load(ca.root_key, None))
    new = ceremony.cross_sign(by or root, load_certificate(ca.intermediate), int(time.time()))
    if constraints is not None:
        builder = x509.CertificateBuilder(
            new.issuer, new.subject, new.public_key(), new.serial_number, new.not_valid_before_utc,
            new.not_valid_after_utc, list(new.extensions),
        )  # fmt: skip
        new = builder.add_extension(constraints, critical=True).sign(root.key, hashes.SHA256())
    ca.replace_intermediate(new)
    return new


def change(ca: CA, old: str, new: str) -> None:
    """Change ca.toml."""
    file = ca.home / "ca.toml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


DOMAINS = '["local", "internal"]'


def test_a_name_that_the_issuers_constraints_exclude_is_a_reason_to_end(own_ca: CA) -> None:
    resign(own_ca, constraints=x509.NameConstraints([x509.DNSName("corp.example")], None))
    change(own_ca, own_ca.url, "https://ca.local")
    said = own_ca.start_refused()
    assert "the domain local in [ca] domains is wider than the name constraints" in said
    change(own_ca, DOMAINS, '["corp.example"]')
    said = own_ca.start_refused()
    assert "the name constraints shut out the server itself, ca.local: the CA's certificate permits" in said
    assert not (own_ca.home / "tls").exists()


def test_a_root_that_is_not_self_signed_is_a_reason_to_end(own_ca: CA) -> None:
    now = int(time.time())
    above = ceremony.create_root("Above", now)
    path = own_ca.root
    root = x509.load_pem_x509_certificate(path.read_bytes())
    signed = ceremony.cross_sign(above, root, now)  # the same key and name, signed by another
    builder = x509.CertificateBuilder(
        signed.issuer, signed.subject, signed.public_key(), signed.serial_number, signed.not_valid_before_utc,
        signed.not_valid_after_utc,
        [entry if not isinstance(entry.value, x509.BasicConstraints)
         else x509.Extension(entry.oid, True, x509.BasicConstraints(ca=True, path_length=1))
         for entry in signed.extensions],
    )  # fmt: skip
    path.write_bytes(builder.sign(above.key, hashes.SHA256()).public_bytes(Encoding.PEM))
    assert "OpenSSL says 'unable to get issuer certificate'" in own_ca.start_refused()


def shown_intermediate(ca: CA) -> int:
    """The serial number of the intermediate that the server shows."""
    shown = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{ca.port}", "-showcerts"],
        input=b"", capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    _, intermediate = x509.load_pem_x509_certificates(shown.stdout)
    return intermediate.serial_number


def wait_until_shown(ca: CA, serial: int) -> None:
    deadline = time.monotonic() + 60
    while shown_intermediate(ca) != serial:
        assert time.monotonic() < deadline, ca.log
        time.sleep(0.1)


def test_sighup_takes_up_an_intermediate_that_was_signed_again(own_ca: CA) -> None:
    own_ca.start()
    assert own_ca.process is not None
    before = shown_intermediate(own_ca)
    new = resign(own_ca)
    assert new.serial_number != before
    own_ca.process.send_signal(signal.SIGHUP)
    wait_until_shown(own_ca, new.serial_number)


@pytest.mark.parametrize("text", ["", "no certificate"])
def test_an_unusable_intermediate_leaves_the_one_before_in_force(own_ca: CA, text: str) -> None:
    own_ca.start()
    assert own_ca.process is not None
    before = shown_intermediate(own_ca)
    path = own_ca.intermediate
    path.write_text(text)
    own_ca.process.send_signal(signal.SIGHUP)
    own_ca.until_logged("stays in force")
    own_ca.until_logged("has a new certificate")
    assert shown_intermediate(own_ca) == before
    assert own_ca.account().order("foo.local").status_code == 201


CORP = x509.NameConstraints([x509.DNSName("corp.local")], [x509.DNSName("closed.corp.local")])
PERMITS = "the CA's certificate permits names below corp.local, not "


def test_what_the_intermediate_does_not_permit_is_refused_at_once(
    own_ca: CA, instance: aws.Instance, tmp_path: Path
) -> None:
    own_ca.cli("provisioner", "update", PROVISIONER, "--allow-wildcard", "*.local", "--allow-wildcard", "*.corp.local",
               "--allow", "*.local", "--allow", "*.corp.local", "--allow", "corp.local")  # fmt: skip
    resign(own_ca, constraints=CORP)
    change(own_ca, DOMAINS, '["corp.local"]')
    own_ca.start()
    account = own_ca.account()
    for name in ("foo.local", "*.local", "xcorp.local", instance.instance_id):
        refused = account.order("a.corp.local", name)
        assert problem(refused) == "rejectedIdentifier"
        sentence = "is outside this CA's domains (corp.local)" if "." in name else PERMITS + name
        assert sentence in refused.json()["detail"]
    for name in ("closed.corp.local", "*.corp.local"):
        assert "excludes names below closed.corp.local" in account.order(name).json()["detail"]
    issued = account.obtain("a.corp.local", "corp.local", answer=answer(instance))
    chain, root = tmp_path / "chain.pem", own_ca.root
    chain.write_text(issued.chain)
    verify: list[str | Path] = ["openssl", "verify", "-x509_strict", "-CAfile", root, "-untrusted", chain, chain]
    done = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_name_proven_under_another_chain_is_refused_at_finalize(own_ca: CA, instance: aws.Instance) -> None:
    own_ca.start()
    account, other = own_ca.account(), own_ca.account()
    order, _ = account.prove("foo.local", answer=answer(instance))
    new = resign(own_ca, constraints=CORP)
    change(own_ca, DOMAINS, '["corp.local"]')
    assert own_ca.process is not None
    own_ca.process.send_signal(signal.SIGHUP)
    wait_until_shown(own_ca, new.serial_number)
    deadline = time.monotonic() + 60
    while other.order("foo.local").status_code == 201:
        assert time.monotonic() < deadline, own_ca.log
    refused = account.post(order.json()["finalize"], {"csr": b64(csr("foo.local")[1])})
    assert problem(refused) == "rejectedIdentifier"
    assert "foo.local is outside this CA's domains (corp.local)" in refused.json()["detail"]


def test_provisioner_test_says_what_the_certificates_permit(own_ca: CA) -> None:
    facts = ["--fact", f"account={ACCOUNT}", "--fact", "region=us-west-2"]
    own_ca.cli("provisioner", "add", "Racks", "--type", "ACME", "--challenge", "dns-01")
    resign(own_ca, constraints=CORP)
    for how in (facts, []):
        own_ca.cli("provisioner", "test", *how, "a.corp.local")
        done = own_ca.try_cli("provisioner", "test", *how, "foo.local")
        assert done.code == 1
        assert PERMITS + "foo.local" in done.stdout
