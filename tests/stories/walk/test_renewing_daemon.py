"""The daemon that keeps certificates renewed, as people run it, against a real CA."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from machine import Machine
from pairs import leaf
from running import CA
from scripted_ca import issue

from acme_iid.config import ca_toml
from acme_iid.issuance import ceremony, home
from acme_iid.issuance import keys as ca_keys
from acme_iid.issuance.issuer import Signer, key_id
from acme_iid.operations import rotation
from acme_iid.store.database import open_store
from acme_iid_client.storage import records
from acme_iid_client.x509 import keys


def short_lived(ca: CA, lifetime: str = "1m") -> None:
    """Have the CA give certificates that end soon."""
    file = ca.home / "ca.toml"
    file.write_text(file.read_text().replace("[ca]\n", f'[ca]\nlifetime = "{lifetime}"\nminimum_lifetime = "1m"\n', 1))


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


def activate_another(ca: CA) -> Signer:
    """Have another intermediate sign, with a key of its own; the server does not run."""
    now = int(time.time())
    root = Signer(home.load_certificate(ca.root), ca_keys.load(ca.root_key, None))
    made = ceremony.create_intermediate(root, "Moved", now)
    issuer_id = key_id(made.certificate.public_key())
    home.keep_key(ca.home, made.key, None, waiting=False)
    home.add(ca.home, made, ())
    database = open_store(ca.store_url)
    rotation.activate(ca_toml.load(ca.home), database, home.folder_of(issuer_id).name, None, now)
    database.close()
    return made


def test_the_daemon_follows_a_ca_that_moved_its_intermediate(own_ca: CA, machine: Machine) -> None:
    own_ca.start()
    machine.bootstrap(own_ca)
    machine.order()
    own_ca.stop()
    moved = activate_another(own_ca)
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
