"""list: what this machine has ordered, and what is in files and directories."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from machine import Machine, ec2_machine
from running import CA
from scripted_ca import issue, new_issuer

from acme_iid.simulator import aws
from acme_iid_client.x509 import keys

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def vm(tmp_path: Path, shared_ca: CA, instance: aws.Instance) -> Iterator[Machine]:
    with ec2_machine(tmp_path / "vm", instance) as machine:
        machine.bootstrap(shared_ca)
        yield machine


def by_name(vm: Machine, *paths: Path) -> dict[str, Any]:
    return {Path(row["certificate"]).name: row for row in vm.json("list", *paths)}


def test_a_machine_that_has_ordered_nothing_says_so(vm: Machine) -> None:
    done = vm.run("list")
    assert done.stdout == ""
    assert "ordered no certificate yet" in done.stderr
    assert vm.json("list") == []


def test_what_was_ordered_is_listed_with_names_serial_end_and_status(vm: Machine, shared_ca: CA) -> None:
    vm.order("--san", "www.foo.local")
    vm.run("order", "bar.local", vm.folder / "bar.crt", vm.folder / "bar.key")
    rows = by_name(vm)
    assert rows.keys() == {"foo.crt", "bar.crt"}
    row = rows["foo.crt"]
    inspected = vm.json("inspect", vm.crt)
    assert {name: row[name] for name in inspected} == inspected
    assert (row["key"], row["ca"], row["status"]) == (str(vm.key), shared_ca.url, "valid")
    assert row["not_before"] < row["due"] < row["not_after"]
    head, first, second = vm.run("list").stdout.splitlines()
    assert head.split() == ["NAMES", "SERIAL", "UNTIL", "STATUS", "FILE"]
    assert first.split() == ["bar.local", rows["bar.crt"]["serial"][:4] + "..." + rows["bar.crt"]["serial"][-4:],
                             rows["bar.crt"]["not_after"], "valid", str(vm.folder / "bar.crt")]  # fmt: skip
    assert second.startswith("foo.local, www.foo.local  ")


def test_the_status_is_what_the_files_are(vm: Machine) -> None:
    vm.order()
    vm.run("revoke", "--cert", vm.crt, "--key", vm.key, "--reason", "superseded")
    assert by_name(vm)["foo.crt"]["status"] == "revoked"
    assert by_name(vm, vm.crt)["foo.crt"]["status"] == "revoked"
    vm.run("renew", "--force", vm.crt, vm.key)
    assert by_name(vm)["foo.crt"]["status"] == "valid", "another certificate than the revoked one"
    vm.key.write_bytes(keys.to_pem(ec.generate_private_key(ec.SECP256R1())))
    assert by_name(vm)["foo.crt"]["status"] == "mismatched"
    vm.crt.write_text("hello")
    assert by_name(vm)["foo.crt"]["status"] == "unreadable"
    vm.crt.unlink()
    assert by_name(vm)["foo.crt"]["status"] == "missing"
    assert vm.run("list").stdout.splitlines()[1].split()[:4] == ["-", "-", "-", "missing"]


def write(file: Path, start: datetime, days: float) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = issue(None, "foo.local", key, ["foo.local"], start=start, days=days)
    file.write_bytes(leaf.public_bytes(Encoding.PEM))


def test_a_directory_is_searched_for_certificates_of_no_ca(acme_iid: Run, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    folder = tmp_path / "pki"
    folder.mkdir()
    write(folder / "valid.crt", now - timedelta(days=1), 30)
    write(folder / "due.pem", now - timedelta(days=29), 30)
    write(folder / "expired.cer", now - timedelta(days=31), 30)
    write(folder / "early.crt", now + timedelta(days=1), 30)
    (folder / "root.pem").write_bytes(new_issuer("Root").pem)
    (folder / "key.pem").write_bytes(keys.to_pem(ec.generate_private_key(ec.SECP256R1())))
    (folder / "large.crt").write_bytes(b"x" * 2_000_000)
    (folder / "readme.txt").write_text("hello")
    (folder / "below.crt").mkdir()
    rows = json.loads(acme_iid("list", "--json", folder).stdout)
    assert {Path(row["certificate"]).stem: row["status"] for row in rows} == {
        "valid": "valid", "due": "due", "expired": "expired", "early": "early",
    }  # fmt: skip
    assert {row["key"] for row in rows} == {None}
    alone = json.loads(acme_iid("list", "--json", folder / "due.pem", folder / "readme.txt").stdout)
    assert [row["status"] for row in alone] == ["due", "unreadable"]
    (folder / "empty").mkdir()
    assert "no certificate in these paths" in acme_iid("list", folder / "empty").stderr


def test_a_path_that_does_not_exist_is_wrong_usage(acme_iid: Run) -> None:
    done = acme_iid("list", "nowhere")
    assert done.returncode == 2
    assert "nowhere" in done.stderr


def test_a_damaged_record_hides_no_other_and_is_named(vm: Machine) -> None:
    vm.order()
    (vm.folder / "state/certificates/0.json").write_text("{")
    done = vm.run("list")
    assert len(done.stdout.splitlines()) == 2
    assert "certificates/0.json cannot be read" in done.stderr
