"""Renewing and rekeying, as people type it, against a real CA."""

from __future__ import annotations

import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12
from machine import Machine
from pairs import leaf
from running import CA
from scripted_ca import issue

from acme_iid.simulator import aws
from acme_iid_client.x509 import keys


def test_renewing_makes_a_new_key_where_the_old_one_is_compromised(
    vm: Machine, shared_ca: CA, instance: aws.Instance
) -> None:
    old = leaf(vm.crt)
    by_account = vm.try_("revoke", "--cert", vm.crt, "--reason", "keyCompromise")
    assert by_account.code >= 10
    assert "with --key: keyCompromise has to be signed by it" in by_account.stderr
    vm.run("revoke", "--cert", vm.crt, "--key", vm.key, "--reason", "keyCompromise")
    shared_ca.cli("instance", "reopen", instance.instance_id, "foo.local")
    done = vm.run("renew", "--force", vm.crt, vm.key)
    assert "it was revoked as compromised. Making a new one." in done.stderr
    vm.check_pair()
    new = leaf(vm.crt)
    assert new.public_key() != old.public_key()
    assert keys.type_of(new.public_key()) == keys.type_of(old.public_key())
    vm.run("renew", "--force", vm.crt, vm.key)
    assert leaf(vm.crt).public_key() == new.public_key()


def test_renewing_keeps_the_key_and_rekeying_makes_a_new_one(vm: Machine) -> None:
    key, serials = vm.key.read_bytes(), {leaf(vm.crt).serial_number}
    done = vm.run("renew", "--force", vm.crt, vm.key)
    assert done.stdout == f"Your certificate has been saved in {vm.crt}.\n"
    assert vm.key.read_bytes() == key
    vm.check_pair()
    done = vm.run("rekey", "--force", vm.crt, vm.key)
    assert done.stdout.splitlines() == [
        f"Your certificate has been saved in {vm.crt}.",
        f"Your private key has been saved in {vm.key}.",
    ]
    assert vm.key.read_bytes() != key
    vm.check_pair()
    serials.add(leaf(vm.crt).serial_number)
    key = vm.key.read_bytes()
    vm.run("renew", "--force", "--new-key", vm.crt, vm.key)
    assert vm.key.read_bytes() != key
    vm.check_pair()
    assert len(serials) == 2


def test_rekeying_changes_the_kind_of_key_and_keeps_names_owner_and_mode(vm: Machine) -> None:
    vm.key.chmod(0o640)
    vm.run("rekey", "--force", "--kty", "RSA", "--size", "3072", vm.crt, vm.key)
    key = leaf(vm.crt).public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    assert key.key_size == 3072
    assert stat.S_IMODE(vm.key.stat().st_mode) == 0o640
    vm.check_pair()
    vm.run("renew", "--force", vm.crt, vm.key)
    assert isinstance(leaf(vm.crt).public_key(), rsa.RSAPublicKey)


def test_rekeying_asks_before_it_replaces_a_key(vm: Machine) -> None:
    key = vm.key.read_bytes()
    refused = vm.try_("rekey", vm.crt, vm.key)
    assert refused.code >= 10
    assert "Use --force to overwrite" in refused.stderr
    assert vm.key.read_bytes() == key


def test_renewing_too_early_says_when_and_expires_in_decides(vm: Machine) -> None:
    before = vm.crt.read_bytes()
    early = vm.run("renew", vm.crt, vm.key)
    ends = leaf(vm.crt).not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert f"{vm.crt} expires at {ends}" in early.stderr
    assert vm.crt.read_bytes() == before
    vm.run("renew", "--expires-in", "1h", vm.crt, vm.key)
    assert vm.crt.read_bytes() == before
    vm.run("renew", "--expires-in", "5%", vm.crt, vm.key)
    assert vm.crt.read_bytes() == before
    vm.run("renew", "--expires-in", "30h", vm.crt, vm.key)
    assert vm.crt.read_bytes() != before
    assert vm.try_("renew", "--expires-in", "soon", vm.crt, vm.key).code == 2


def test_a_certificate_that_expired_long_ago_is_ordered_afresh(vm: Machine) -> None:
    private = keys.load(vm.key.read_bytes(), "foo.key")
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    old = issue(None, "foo.local", private, ["foo.local"], start=datetime.now(UTC) - timedelta(days=90))
    vm.crt.write_bytes(old.public_bytes(Encoding.PEM))
    vm.run("renew", vm.crt, vm.key)
    assert leaf(vm.crt).not_valid_after_utc > datetime.now(UTC)
    vm.check_pair()


def test_a_key_that_is_gone_is_made_anew(vm: Machine) -> None:
    vm.key.unlink()
    vm.run("renew", "--force", vm.crt, vm.key)
    vm.check_pair()


def test_without_files_everything_that_was_ordered_here_is_renewed(vm: Machine) -> None:
    bar = (vm.folder / "bar.crt", vm.folder / "bar.key")
    vm.run("order", "bar.local", *bar)
    gone = (vm.folder / "gone.crt", vm.folder / "gone.key")
    vm.run("order", "gone.local", *gone)
    gone[0].unlink()
    before = [vm.crt.read_bytes(), bar[0].read_bytes()]
    done = vm.run("renew", "--force")
    assert sorted(done.stdout.splitlines()) == [
        f"Your certificate has been saved in {bar[0]}.",
        f"Your certificate has been saved in {vm.crt}.",
    ]
    assert not {vm.crt.read_bytes(), bar[0].read_bytes()} & set(before)
    assert not gone[0].exists(), "who removed it does not want it back"
    records = list((vm.folder / "state/certificates").iterdir())
    assert len(records) == 3
    assert all(stat.S_IMODE(record.stat().st_mode) == 0o600 for record in records)


def test_one_that_fails_does_not_keep_the_others_from_being_renewed(vm: Machine) -> None:
    bar = (vm.folder / "bar.crt", vm.folder / "bar.key")
    vm.run("order", "bar.local", *bar)
    bar[1].write_bytes(keys.to_pem(ec.generate_private_key(ec.SECP256R1())))
    before = vm.crt.read_bytes()
    done = vm.try_("renew", "--force", *bar, vm.crt, vm.key)
    assert done.code >= 10
    assert "1 of 2 were not renewed" in done.stderr
    assert "bar.key is not the key of" in done.stderr
    assert vm.crt.read_bytes() != before


def test_a_machine_that_ordered_nothing_says_so(shared_ca: CA, machine: Machine) -> None:
    machine.bootstrap(shared_ca)
    done = machine.try_("renew")
    assert done.code >= 10
    assert "This machine has ordered no certificate" in done.stderr
    assert machine.try_("renew", machine.crt).code == 2


def test_a_command_sees_what_was_renewed_and_no_shell_reads_it(vm: Machine) -> None:
    told = vm.folder / "told"
    script = vm.folder / "hook"
    script.write_text(f'#!/bin/sh\nenv > {told}\nprintf "%s|" "$@" >> {told}\n')
    script.chmod(0o755)
    vm.run("renew", "--force", "--exec", f"{script} 'a b' $HOME *", vm.crt, vm.key)
    text = told.read_text()
    for line in (
        f"ACME_IID_CERTIFICATE={vm.crt}",
        f"ACME_IID_KEY={vm.key}",
        "ACME_IID_NAMES=foo.local",
        f"ACME_IID_SERIAL={leaf(vm.crt).serial_number}",
    ):
        assert f"{line}\n" in text
    assert text.endswith("a b|$HOME|*|")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("/bin/false", "ended with status 1"),
        ("sh -c 'kill -KILL $$'", "was ended by signal 9"),
        ("/nowhere/hook", "cannot be run: No such file or directory"),
        ("sh -c 'sleep 60 & sleep 60'", "did not end within 0.5 seconds and was ended"),
    ],
)
def test_a_failing_command_is_reported_and_the_certificate_stays_renewed(vm: Machine, command: str, said: str) -> None:
    before = vm.crt.read_bytes()
    done = vm.try_("renew", "--force", "--exec", command, "--exec-timeout", "0.5", vm.crt, vm.key)
    assert done.code >= 10
    assert said in done.stderr
    assert "is in place, but" in done.stderr
    assert vm.crt.read_bytes() != before


def test_a_process_gets_a_signal_by_its_id_or_by_a_file(vm: Machine) -> None:
    script = (
        "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, {1, 10})\nprint(flush=True)\n"
        "print(*(signal.Signals(signal.sigwait({1, 10})).name for _ in range(2)))"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        vm.run("renew", "--force", "--pid", str(process.pid), vm.crt, vm.key)
        file = vm.folder / "pid"
        file.write_text(f"{process.pid}\n")
        vm.run("renew", "--force", "--signal", "USR1", "--pid-file", file, vm.crt, vm.key)
        assert process.stdout.read().split() == ["SIGHUP", "SIGUSR1"]
    refused = vm.try_("renew", "--force", "--pid-file", file, vm.crt, vm.key)
    assert refused.code >= 10
    assert "No such process" in refused.stderr
    for text in ("-1", "0", str(2**31)):
        file.write_text(text)
        assert "holds no process id" in vm.try_("renew", "--force", "--pid-file", file, vm.crt, vm.key).stderr
    for usage in (("--signal", "HUP"), ("--signal", "LOUD", "--pid", "1"), ("--exec", "'"), ("--exec", " ")):
        assert vm.try_("renew", *usage, vm.crt, vm.key).code == 2


def test_a_bundle_and_a_pkcs12_file_are_written_and_kept_up_to_date(shared_ca: CA, machine: Machine) -> None:
    machine.bootstrap(shared_ca)
    bundle, p12, password = (machine.folder / name for name in ("foo.pem", "foo.p12", "password"))
    password.write_text("secret\n")
    machine.order("--bundle", bundle, "--p12", p12, "--p12-password-file", password)
    for command in ((), ("renew", "--force", machine.crt, machine.key), ("rekey", "--force", machine.crt, machine.key)):
        if command:
            machine.run(*command)
        assert bundle.read_bytes() == machine.crt.read_bytes() + machine.key.read_bytes()
        held = pkcs12.load_pkcs12(p12.read_bytes(), b"secret")
        assert held.cert is not None
        assert held.cert.certificate == leaf(machine.crt)
        assert isinstance(held.key, ec.EllipticCurvePrivateKey)
        assert keys.to_pem(held.key) == machine.key.read_bytes()
        assert len(held.additional_certs) == 1
        assert [stat.S_IMODE(path.stat().st_mode) for path in (bundle, p12)] == [0o600, 0o600]
    bundle.write_text("what a crash left")
    machine.run("renew", machine.crt, machine.key)
    assert bundle.read_bytes() == machine.crt.read_bytes() + machine.key.read_bytes()
    refused = machine.try_("order", "foo.local", machine.folder / "x", machine.folder / "y", "--bundle", bundle)
    assert refused.code >= 10
    assert "foo.pem exists already" in refused.stderr


def test_somebody_elses_signing_request_gets_a_certificate(shared_ca: CA, machine: Machine) -> None:
    machine.bootstrap(shared_ca)
    key = ec.generate_private_key(ec.SECP384R1())
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a.local")]))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("b.local")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = machine.folder / "request"
    for encoding in (Encoding.PEM, Encoding.DER):
        file.write_bytes(request.public_bytes(encoding))
        machine.run("order", "b.local", machine.crt, "--csr", file, "--force")
        issued = leaf(machine.crt)
        assert issued.public_key() == key.public_key()
        names = issued.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert sorted(names.get_values_for_type(x509.DNSName)) == ["a.local", "b.local"]
        assert not machine.key.exists()
    machine.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    machine.run("renew", "--force", machine.crt, machine.key)
    machine.check_pair()
    assert "does not ask for c.local" in machine.try_("order", "c.local", "--csr", file).stderr
    assert machine.try_("order", "a.local", "--csr", file, "--san", "c.local").code == 2
    file.write_text("nonsense")
    assert "no certificate signing request" in machine.try_("order", "--csr", file).stderr


def test_how_long_was_asked_for_is_asked_for_again(shared_ca: CA, machine: Machine) -> None:
    machine.bootstrap(shared_ca)
    machine.order("--not-after", "2h")
    machine.run("renew", "--force")
    assert leaf(machine.crt).not_valid_after_utc < datetime.now(UTC) + timedelta(hours=2, minutes=1)
