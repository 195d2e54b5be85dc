"""The system trusts the CA: Debian's own update-ca-certificates runs, and curl, OpenSSL and Java believe it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from machine import Machine, ec2_machine
from own_store import LOCAL, OwnStore
from pages import blocks
from pki.root_rotating import Rotation
from pki.rotating import SECONDS, until
from programs import PROGRAM
from running import CA
from strangers import NOBODY

from acme_iid.issuance.roots import fingerprint
from acme_iid.simulator import aws

JAVA = ("keytool", "-list", "-keystore", "/etc/ssl/certs/java/cacerts", "-storepass", "changeit", "-alias")


@pytest.fixture
def rotation(tmp_path: Path) -> Iterator[Rotation]:
    made = Rotation(tmp_path)
    made.ca.start()
    yield made
    made.ca.kill()


def stem(digits: str) -> str:
    """The name that a root has in the store."""
    return f"acme-iid-{digits[:16]}"


def trusted(store: OwnStore, ca: CA) -> tuple[bool, bool]:
    """Whether curl, by the file of all roots, and OpenSSL, by the directory, believe the CA's server."""
    curl = store.run("curl", "--silent", "--noproxy", "*", f"{ca.url}/health")
    openssl = store.run(
        "openssl", "s_client", "-connect", f"127.0.0.1:{ca.port}", "-verify_return_error", "-verify_ip", "127.0.0.1"
    )  # fmt: skip
    assert (curl.returncode == 0) == (curl.stdout == "ok\n"), curl
    return curl.returncode == 0, openssl.returncode == 0


def test_all_programs_trust_the_ca_from_installation_to_removal(vm: Machine, store: OwnStore, shared_ca: CA) -> None:
    name = stem(shared_ca.fingerprint)
    assert trusted(store, shared_ca) == (False, False)
    done = vm.under(store.inside, "trust", "install")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"This system trusts {shared_ca.url} now.\nAdded: {LOCAL}/{name}.crt\n"
    assert trusted(store, shared_ca) == (True, True)
    assert store.run(*JAVA, f"debian:{name}.pem").returncode == 0
    (file,) = (store.folder / "local").iterdir()
    assert file.stat().st_mode & 0o777 == 0o644
    again = vm.under(store.inside, "trust", "install")
    assert again.stdout == f"This system trusts {shared_ca.url} already.\n"
    done = vm.under(store.inside, "trust", "remove")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(f"no more.\nRemoved: {LOCAL}/{name}.crt\n")
    assert trusted(store, shared_ca) == (False, False)
    assert store.run(*JAVA, f"debian:{name}.pem").returncode == 1
    assert (store.files, f"{name}.pem" in store.links) == (set(), False)
    assert vm.under(store.inside, "trust", "remove").stdout == "Nothing was removed.\n"


def test_the_pages_commands_leave_nothing_behind(vm: Machine, store: OwnStore) -> None:
    (block,) = (block for block in blocks("sh") if block.name == "trust")
    names = [f"{name}={value}" for name, value in vm.environment.items()]
    path = f"PATH={PROGRAM.parent}:{os.defpath}"
    done = store.run("env", *names, path, "sh", "-e", "-c", block.text)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.partition(": ")[0] for line in done.stdout.splitlines() if ": /" in line] == ["Added", "Removed"]
    assert store.files == set()


def test_programs_are_told_in_json_what_was_done(vm: Machine, store: OwnStore, shared_ca: CA) -> None:
    file = f"{LOCAL}/{stem(shared_ca.fingerprint)}.crt"
    told = [json.loads(vm.under(store.inside, "trust", verb, "--json").stdout) for verb in ("install", "remove")]
    assert told[0] == {"installed": [file], "added": [file], "removed": []}
    assert told[1] == {"installed": [], "added": [], "removed": [file]}


def test_the_store_follows_the_cas_roots(
    rotation: Rotation, store: OwnStore, tmp_path: Path, instance: aws.Instance
) -> None:
    old, new = (stem(fingerprint(root)) for root in (rotation.old.certificate, rotation.new))
    with ec2_machine(tmp_path / "vm", instance) as vm:
        vm.bootstrap(rotation.ca)
        vm.order()
        vm.under(store.inside, "trust", "install")
        assert store.files == {f"{old}.crt"}
        with vm.stay(under=store.inside) as daemon:
            daemon.wait_for("first renewal in", SECONDS)
            rotation.announce()
            daemon.send(signal.SIGHUP)
            until(lambda: {f"{old}.pem", f"{new}.pem"} <= store.links)
            assert store.files == {f"{old}.crt", f"{new}.crt"}
            assert daemon.stop() == 0
        rotation.use()
        until(lambda: len(rotation.served_chain()) == 3)
        assert trusted(store, rotation.ca) == (True, True)
        # The roots that are named take the place of all others.
        done = vm.under(store.inside, "bootstrap", "--ca-url", rotation.ca.url, "--fingerprint",
                        fingerprint(rotation.new), "--force")  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert store.files == {f"{new}.crt"}
        assert f"{old}.pem" not in store.links
        assert trusted(store, rotation.ca) == (True, True)


def test_nothing_is_touched_that_somebody_else_has_put_there(vm: Machine, store: OwnStore, shared_ca: CA) -> None:
    file = store.folder / "local" / f"{stem(shared_ca.fingerprint)}.crt"
    other = store.folder / "local" / "other.crt"
    for path in (file, other):
        path.write_bytes(shared_ca.intermediate.read_bytes())
    refused = vm.under(store.inside, "trust", "install")
    assert (refused.returncode, "is not what 'acme-iid trust install' writes" in refused.stderr) == (12, True)
    file.unlink()
    assert vm.under(store.inside, "trust", "install").returncode == 0
    assert x509.load_pem_x509_certificate(file.read_bytes()) == x509.load_pem_x509_certificate(
        shared_ca.root.read_bytes()
    )
    file.write_bytes(shared_ca.intermediate.read_bytes())
    done = vm.under(store.inside, "trust", "remove")
    assert (done.returncode, f"{LOCAL / file.name} was left" in done.stderr) == (0, True)
    assert store.files == {file.name, other.name}


def test_what_was_cut_off_is_finished_by_a_renewal(vm: Machine, store: OwnStore, shared_ca: CA) -> None:
    vm.order()
    assert store.run("mount", "-o", "remount,bind,ro", "/etc/ssl").returncode == 0
    failed = vm.under(store.inside, "trust", "install")
    assert failed.returncode == 12
    assert "update-ca-certificates ended with status" in failed.stderr
    failed = vm.under(store.inside, "renew")
    assert "What this system trusts could not follow the CA's roots" in failed.stderr
    assert store.run("mount", "-o", "remount,bind,rw", "/etc/ssl").returncode == 0
    assert trusted(store, shared_ca) == (False, False)
    assert vm.under(store.inside, "renew").returncode == 0
    assert trusted(store, shared_ca) == (True, True)


def test_only_root_may_change_what_the_system_trusts(vm: Machine, store: OwnStore) -> None:
    # The user may read the program, wherever it is, and has directories of its own.
    user = ("env", "--unset=ACME_IID_CONFIG_DIR", "--unset=ACME_IID_STATE_DIR", "HOME=/nonexistent", "setpriv",
            f"--reuid={NOBODY}", "--clear-groups", "--inh-caps=+dac_read_search",
            "--ambient-caps=+dac_read_search")  # fmt: skip
    for verb in ("install", "remove"):
        done = vm.under([*store.inside, *user], "trust", verb)
        assert done.returncode == 12
        assert done.stderr.startswith("Error: Only root may change what this system trusts.")
    assert store.files == set()
