"""Root orders and renews for a service whose user owns the directory, against a real CA."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine import Machine, ec2_machine
from running import CA
from strangers import NOBODY, Ground, as_nobody, ground, link

from acme_iid.simulator import aws


@pytest.fixture
def place() -> Iterator[Ground]:
    with ground() as made:
        yield made


@pytest.fixture
def machine(tmp_path: Path, instance: aws.Instance, shared_ca: CA) -> Iterator[Machine]:
    with ec2_machine(tmp_path / "vm", instance) as made:
        made.bootstrap(shared_ca)
        yield made


CALLS = "chmod,fchmodat,chown,lchown,fchownat"
CHANGING_NOTHING_BY_PATH = (
    *("strace", "-f", "-qq", "-o", "/dev/null"),
    *("-e", f"trace={CALLS}", "-e", f"inject={CALLS}:error=EACCES"),
)
"""Runs a program whose kernel gives no path an owner or a mode; descriptors it does."""


def test_the_services_user_gets_its_files_and_can_read_them(
    machine: Machine, place: Ground, instance: aws.Instance
) -> None:
    crt, key, bundle, p12 = (place.app / name for name in ("tls.crt", "tls.key", "all.pem", "all.p12"))
    order = ("order", f"{instance.instance_id}.foo.local", crt, key, "--bundle", bundle, "--p12", p12)
    for arguments in (
        (*order, "--owner", "nobody", "--mode", "640"),
        ("renew", "--force", crt, key, "--mode", "600"),
        ("rekey", "--force", crt, key),
    ):
        done = machine.under(CHANGING_NOTHING_BY_PATH, *arguments)
        assert done.returncode == 0, done.stderr
        for file in (crt, key, bundle, p12):
            assert file.stat().st_uid == NOBODY
            assert subprocess.run(as_nobody("cat", file), capture_output=True, check=True).stdout == file.read_bytes()


def test_a_link_that_is_put_there_between_two_renewals_leads_nowhere(
    shared_ca: CA, machine: Machine, place: Ground, instance: aws.Instance
) -> None:
    crt, key, bundle = (place.app / name for name in ("tls.crt", "tls.key", "all.pem"))
    name = f"{instance.instance_id}.foo.local"
    machine.run("order", name, crt, key, "--bundle", bundle, "--owner", "nobody")
    shadow = place.own / "shadow"
    shadow.write_text("root:secret:0\n")
    shadow.chmod(0o600)
    before = crt.read_bytes()
    link(shadow, bundle)
    refused = machine.try_("renew", "--force", crt, key)
    assert refused.code != 0
    assert f"{bundle} is a symbolic link that another user" in refused.stderr
    assert (shadow.read_text(), shadow.stat().st_uid, shadow.stat().st_mode & 0o777) == ("root:secret:0\n", 0, 0o600)
    with machine.stay("--force") as daemon:
        daemon.wait_for("is a symbolic link that another user")
        assert daemon.stop() == 0
    assert crt.read_bytes() == before
    assert len(shared_ca.cli("certificate", "list", "--name", name).stdout.splitlines()) == 2
    subprocess.run(as_nobody("rm", bundle), check=True)
    machine.run("renew", "--force", crt, key)
    assert bundle.read_bytes() == crt.read_bytes() + key.read_bytes()


def test_the_cas_configuration_is_edited_without_changing_a_mode_by_path(tmp_path: Path) -> None:
    ca = CA(tmp_path / "ca")
    ca.init()
    file = ca.home / "ca.toml"
    file.chmod(0o640)
    arguments = (
        "acme_iid.cli",
        "--home",
        ca.home,
        "provisioner",
        "add",
        "Other",
        "--type",
        "GCP",
        "--gcp-project",
        "one",
    )
    command = [*CHANGING_NOTHING_BY_PATH, sys.executable, "-m", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Other" in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o640
