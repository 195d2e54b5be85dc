"""The Debian packages, on machines that have nothing else: from the installation to the purge."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import forge
import pytest
from packages import debian
from packages.debian import DebianMachine, deb, machine
from pages import commands
from ports import free_port
from running import CA
from stand_ins import ec2

from acme_iid.simulator import aws

HOME = "/var/lib/acme-iid-ca"
ON_THE_CA = ("runuser", "-u", "acme-iid-ca", "--", "acme-iid-ca")


@pytest.fixture
def vm(tmp_path: Path, debs: Path) -> Iterator[DebianMachine]:
    """A machine with all packages beside each other, none of them installed."""
    del debs
    with machine(tmp_path / "vm") as made:
        yield made


@contextmanager
def served(made: DebianMachine) -> Iterator[None]:
    """Serve the CA of a machine, until it listens and while it is needed."""
    command = made.command(*ON_THE_CA, "serve", "--workers", "1")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if "Listening on" in line:
                break
        else:
            raise AssertionError(said)
        try:
            yield
        finally:
            process.terminate()
            process.wait(timeout=60)


def written(made: DebianMachine) -> set[Path]:
    return {path for path in (made.written / "usr").rglob("*") if not path.is_dir()}


def test_machines_with_nothing_but_the_packages_serve_and_order(
    tmp_path: Path, debs: Path, vm: DebianMachine, instance: aws.Instance
) -> None:
    """A CA and a VM; the programs write nothing below /usr, and no package's file is altered."""
    url = f"https://127.0.0.1:{free_port()}"
    with machine(tmp_path / "ca") as ca, ec2(instance) as service:
        ca.put(deb(debs, "acme-iid-ca"))
        ca.type(commands("install-ca").replace("https://ca.local", f"{url} --listen {url.partition('//')[2]}"))
        (ca.root / "test-roots.pem").write_bytes(forge.keys().certificates)
        ca.run(*ON_THE_CA, "provisioner", "add", "AWS", "--type", "AWS", "--aws-account", "123456789042",
               "--iid-roots", "/test-roots.pem")  # fmt: skip
        before = written(ca)
        vm.put(deb(debs, "acme-iid"))
        with served(ca):
            fingerprint = ca.run(*ON_THE_CA, "fingerprint").strip()
            text = commands("install-vm").replace("https://ca.local", url).replace("FINGERPRINT", fingerprint)
            vm.type(text, AWS_EC2_METADATA_SERVICE_ENDPOINT=service.url)
        vm.run("openssl", "x509", "-in", "/etc/ssl/foo.local.crt", "-checkhost", "foo.local", "-noout")
        installed = vm.run("dpkg-query", "--listfiles", "acme-iid").splitlines()
        assert {f"/{path.relative_to(vm.written)}" for path in written(vm) if "acme-iid" in str(path)} <= set(installed)
        assert written(ca) == before
        for made in (ca, vm):
            assert made.altered() == ""
            # Each library finds the libraries that it was linked with.
            found = made.run("sh", "-c", "find /usr/lib/acme-iid* -name '*.so*' -exec ldd {} + | grep 'not found' || :")
            assert found == ""


def test_an_upgrade_touches_nobody_elses_files_and_a_purge_no_keys(
    tmp_path: Path, debs: Path, vm: DebianMachine
) -> None:
    """At an upgrade a folder of the environment becomes a link to one of the system's, or was such a link before."""
    links = {"click": "/usr/lib/python3.11/json", "idna": "/usr/lib/python3.11/json"}
    for name in ("acme-iid", "acme-iid-ca"):
        (tmp_path / name).mkdir()
    client = deb(debs, "acme-iid")
    former = debian.made_up(client, "0.0.9", tmp_path / "acme-iid", {"idna": links["idna"]})
    newer = debian.made_up(client, "0.1.1", tmp_path / "acme-iid", {"click": links["click"]})
    newer_ca = debian.made_up(deb(debs, "acme-iid-ca"), "0.1.1", tmp_path / "acme-iid-ca", {})

    vm.put(former, deb(debs, "acme-iid-ca"))
    vm.type("apt-get install -y ./*.deb")
    user = vm.run("id", "acme-iid-ca")
    vm.run(*ON_THE_CA, "init")
    vm.run(*ON_THE_CA, "backup", f"{HOME}/backup")
    (vm.root / "etc/default/acme-iid").write_text("ACME_IID_CA_URL=https://ca.local\n")
    (vm.root / "etc/acme-iid-ca/note").write_text("the operator's\n")
    vm.run("chmod", "0711", HOME)
    kept = ["find", HOME, "/etc/acme-iid-ca", "/etc/default", "-type", "f", "-exec", "sha256sum", "{}", "+"]
    before = vm.run(*kept)
    for packages in ((client,), (newer, newer_ca)):
        vm.put(*packages)
        vm.type("apt-get install -y ./*.deb")
        assert vm.altered() == ""
    assert "acme-iid-ca 0.1.1" in vm.run("acme-iid-ca", "--version")
    assert [path.name for path in (vm.root / "usr/lib/acme-iid-ca").iterdir()] == ["0.1.1-1~deb12u1"]
    assert vm.run("id", "acme-iid-ca") == user
    assert vm.run("stat", "-c", "%a", HOME) == "711\n"
    assert vm.run(*kept) == before

    said = vm.run("apt-get", "purge", "-y", "acme-iid-ca", "acme-iid")
    assert f"{HOME} is kept, with what the CA has there: keys, store, backups, ca.toml." in said
    assert "/etc/acme-iid-ca is kept" in said
    assert vm.run(*kept) == before
    assert not list((vm.root / "usr/lib").glob("acme-iid*"))
    assert vm.altered() == ""

    vm.type("apt-get install -y ./acme-iid-ca_*.deb")
    assert vm.run("id", "acme-iid-ca") == user
    said = vm.type(commands("install-purge"))
    assert f"{HOME} is removed, as was asked for." in said
    assert not (vm.root / HOME.lstrip("/")).exists()
    assert not (vm.root / "etc/acme-iid-ca").exists()


def test_debians_certbot_orders_with_the_plugins_package(
    debs: Path, vm: DebianMachine, shared_ca: CA, instance: aws.Instance
) -> None:
    vm.put(deb(debs, "python3-certbot-acme-iid"), shared_ca.root)
    vm.run("apt-get", "update", "-qq")
    text = commands("install-certbot").replace("https://ca.local", shared_ca.url)
    with ec2(instance) as service:
        vm.type(text.replace("root_ca.crt", shared_ca.root.name), AWS_EC2_METADATA_SERVICE_ENDPOINT=service.url)
    vm.run("openssl", "x509", "-in", "/etc/letsencrypt/live/foo.local/cert.pem", "-checkhost", "foo.local", "-noout")
    assert vm.altered() == ""
