"""Renewing, rekeying and staying up to date, as people type it, against a real CA."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12
from machine import Machine, ec2_machine
from running import CA
from scripted_ca import issue

from acme_iid.issuance import ca as issuance
from acme_iid.issuance import keys as ca_keys
from acme_iid.simulator import aws
from acme_iid_client.storage import records
from acme_iid_client.x509 import keys


@pytest.fixture
def machine(tmp_path: Path, instance: aws.Instance) -> Iterator[Machine]:
    with ec2_machine(tmp_path / "vm", instance) as made:
        yield made


@pytest.fixture
def vm(shared_ca: CA, machine: Machine) -> Machine:
    """A machine that has ordered foo.local."""
    machine.bootstrap(shared_ca)
    machine.order()
    return machine


def leaf(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def short_lived(ca: CA, lifetime: str = "1m") -> None:
    """Have the CA give certificates that end soon."""
    file = ca.home / "ca.toml"
    file.write_text(file.read_text().replace("[ca]\n", f'[ca]\nlifetime = "{lifetime}"\nminimum_lifetime = "1m"\n', 1))


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
    assert "was renewed, but" in done.stderr
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


# The daemon.


def test_the_articles_daemon_stays_renews_on_sighup_and_ends_on_sigterm(vm: Machine) -> None:
    told = vm.folder / "told"
    before = vm.crt.read_bytes()
    with vm.stay("--exec", f"touch {told}", vm.crt, vm.key) as daemon:
        line = daemon.wait_for("first renewal in")
        found = re.fullmatch(
            rf"INFO: \d{{4}}/\d\d/\d\d \d\d:\d\d:\d\d first renewal in (\d+)h\d+m\d+s: {re.escape(str(vm.crt))}", line
        )
        assert found is not None, line
        assert 13 <= int(found[1]) <= 16
        assert vm.crt.read_bytes() == before
        daemon.send(signal.SIGHUP)
        daemon.wait_for("certificate renewed, next in")
        assert vm.crt.read_bytes() != before
        for _ in range(500):
            if told.exists():
                break
            time.sleep(0.01)
        assert told.exists()
        assert daemon.stop() == 0
    vm.check_pair()


def test_the_daemon_renews_again_and_again_though_its_command_fails(own_ca: CA, machine: Machine) -> None:
    short_lived(own_ca)
    own_ca.start()
    machine.bootstrap(own_ca)
    machine.order()
    with machine.stay("--expires-in", "57s", "--exec", "/bin/false", machine.crt, machine.key) as daemon:
        serials = set()
        for _ in range(3):
            daemon.wait_for("certificate renewed")
            serials.add(leaf(machine.crt).serial_number)
            assert "/bin/false ended with status 1" in daemon.wait_for("ERROR")
        assert len(serials) == 3
        assert daemon.stop() == 0


def test_the_daemon_runs_a_command_that_failed_again_until_it_succeeds(vm: Machine) -> None:
    ready, told = vm.folder / "ready", vm.folder / "told"
    script = vm.folder / "hook"
    script.write_text(f'#!/bin/sh\ntest -e {ready} && echo "$ACME_IID_SERIAL" >> {told}\n')
    script.chmod(0o755)
    with vm.stay("--exec", str(script), vm.crt, vm.key) as daemon:
        daemon.wait_for("first renewal in")
        daemon.send(signal.SIGHUP)
        for _ in range(2):
            assert "ended with status 1" in daemon.wait_for("The next try is in")
        ready.touch()
        daemon.wait_for("all notifications have been sent")
        assert told.read_text() == f"{leaf(vm.crt).serial_number}\n"
        assert daemon.stop() == 0


def test_a_revoked_certificate_is_no_longer_renewed_by_itself(vm: Machine) -> None:
    with vm.stay() as daemon:
        daemon.wait_for("first renewal in")
        vm.run("revoke", "--cert", vm.crt)
        daemon.wait_for("no longer renewed")
        assert daemon.stop() == 0
    assert "This machine has ordered no certificate that is to be renewed" in vm.try_("renew", "--force").stderr
    assert "closed to this instance" in vm.try_("renew", "--force", vm.crt, vm.key).stderr


def test_the_daemon_takes_up_new_certificates_and_drops_removed_ones(vm: Machine) -> None:
    bar = (vm.folder / "bar.crt", vm.folder / "bar.key")
    with vm.stay() as daemon:
        assert "foo.crt" in daemon.wait_for("first renewal in")
        vm.run("order", "bar.local", *bar)
        assert "bar.crt" in daemon.wait_for("first renewal in")
        vm.run("renew", "--force", *bar)
        assert "bar.crt" in daemon.wait_for("certificate has changed, next renewal in")
        bar[0].unlink()
        assert "bar.crt" in daemon.wait_for("ERROR")
        assert daemon.stop() == 0


def test_a_daemon_with_nothing_to_do_waits_for_an_order(shared_ca: CA, machine: Machine) -> None:
    machine.bootstrap(shared_ca)
    with machine.stay() as daemon:
        daemon.wait_for("waiting for 'acme-iid order'")
        machine.order()
        daemon.wait_for("first renewal in")
        assert daemon.stop() == 0


def test_the_daemon_says_in_json_what_it_does(vm: Machine) -> None:
    with vm.stay("--json") as daemon:
        daemon.wait_for("first renewal")
        daemon.send(signal.SIGHUP)
        daemon.wait_for('"renewed"')
        assert daemon.stop() == 0
    said = [json.loads(line) for line in daemon.lines]
    # Whether the CA's wish is worth a line depends on the certificate.
    assert said[0]["event"] == "planned"
    renewed = [entry for entry in said if entry["event"] != "planned"]
    assert [entry["event"] for entry in renewed] == ["hangup", "renewed", "stopped"]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry["time"]) for entry in said)
    assert renewed[1]["certificate"] == str(vm.crt)
    assert renewed[1]["serial"] == str(leaf(vm.crt).serial_number)


def test_the_daemon_tells_systemd(vm: Machine) -> None:
    address = f"\0acme-iid-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(30)
        hook = vm.folder / "env"
        env = {"NOTIFY_SOCKET": f"@{address[1:]}", "WATCHDOG_USEC": "1000000"}
        said: list[str] = []

        def until(what: str) -> None:
            while not (said and said[-1].startswith(what)):
                said.append(manager.recv(4096).decode())

        with vm.stay("--exec", f"sh -c 'env > {hook}'", vm.crt, vm.key, env=env) as daemon:
            until("READY=1")
            until("STATUS=1 certificates, next renewal at ")
            start = time.monotonic()
            for _ in range(4):
                said.clear()
                until("WATCHDOG=1")
            assert time.monotonic() - start < 30
            daemon.send(signal.SIGHUP)
            until("RELOADING=1\nMONOTONIC_USEC=")
            until("READY=1")
            daemon.wait_for("certificate renewed")
            assert daemon.stop() == 0
            until("STOPPING=1")
    assert "NOTIFY_SOCKET" not in hook.read_text()


def test_the_daemon_never_gives_up_while_the_ca_is_away(own_ca: CA, machine: Machine) -> None:
    short_lived(own_ca)
    own_ca.start()
    machine.bootstrap(own_ca)
    machine.order()
    own_ca.kill()
    with machine.stay("--expires-in", "59s", "--timeout", "1", machine.crt, machine.key) as daemon:
        for _ in range(3):
            assert "cannot be reached: connection refused" in daemon.wait_for("renewal failed, next try in")
        own_ca.start()
        daemon.wait_for("certificate renewed, next in", 30)
        assert daemon.stop() == 0


def test_what_a_daemon_that_was_killed_left_the_next_one_takes_up(vm: Machine) -> None:
    with vm.stay(vm.crt, vm.key) as first:
        first.wait_for("first renewal in")
        first.send(signal.SIGHUP)
    vm.check_pair()
    with vm.stay("--force", vm.crt, vm.key) as second:
        second.wait_for("certificate renewed")
        assert second.stop() == 0
    vm.check_pair()


def test_the_daemon_follows_a_ca_that_moved_its_intermediate(own_ca: CA, machine: Machine) -> None:
    own_ca.start()
    machine.bootstrap(own_ca)
    machine.order()
    own_ca.stop()
    root = issuance.Issuer(
        issuance.load_certificate(own_ca.home / issuance.ROOT_CERTIFICATE),
        ca_keys.load(own_ca.home / "secrets" / "root_ca_key", None),
    )
    moved = issuance.create_intermediate(root, "Moved", int(time.time()))
    (own_ca.home / issuance.INTERMEDIATE_CERTIFICATE).write_bytes(moved.certificate.public_bytes(Encoding.PEM))
    (own_ca.home / issuance.INTERMEDIATE_KEY).write_bytes(
        moved.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    own_ca.start()
    with machine.stay(machine.crt, machine.key) as daemon:
        daemon.wait_for("first renewal")
        daemon.send(signal.SIGHUP)
        daemon.wait_for("certificate renewed")
        assert daemon.stop() == 0
    chain = x509.load_pem_x509_certificates(machine.crt.read_bytes())
    assert chain[0].issuer == moved.certificate.subject
    assert chain[1] == moved.certificate


def test_a_ca_that_hangs_does_not_delay_renewals_at_another_ca(vm: Machine) -> None:
    state = vm.folder / "state"
    private = ec.generate_private_key(ec.SECP256R1())
    expired = issue(None, "foo.local", private, ["foo.local"], start=datetime.now(UTC) - timedelta(days=9))
    with socket.create_server(("127.0.0.1", 0), backlog=100) as silent:
        for number in range(12):
            pair = (vm.folder / f"{number}.crt", vm.folder / f"{number}.key")
            pair[0].write_bytes(expired.public_bytes(Encoding.PEM))
            pair[1].write_bytes(keys.to_pem(private))
            url = f"https://127.0.0.1:{silent.getsockname()[1]}"
            records.save(state, records.Record(*pair, url, vm.folder / "config/certs/root_ca.crt"))
        with vm.stay("--timeout", "3") as daemon:
            daemon.wait_for("renewal failed")
            daemon.send(signal.SIGHUP)
            assert "foo.crt" in daemon.wait_for("certificate renewed", 30)
            tried = [line for line in daemon.lines if "renewal failed" in line]
            # Four at a time at first, twice; from then on one finds out for all.
            assert len(tried) < 12
            assert daemon.stop() == 0
