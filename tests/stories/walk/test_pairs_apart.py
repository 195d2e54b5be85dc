"""One pair whose files cannot be used keeps no other from being renewed, and is taken up again when they can be."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine import Machine, Staying, ec2_machine
from running import CA

from acme_iid.simulator import aws
from acme_iid_client.storage import records

WITHOUT_PRIVILEGES = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
"""Root reads every file, unless these two capabilities are taken away."""


@pytest.fixture
def vm(tmp_path: Path, shared_ca: CA, instance: aws.Instance) -> Iterator[Machine]:
    """A machine with foo.crt, and with bar.crt in a folder of its own, which is looked at after it."""
    with ec2_machine(tmp_path / "vm", instance) as machine:
        machine.bootstrap(shared_ca)
        machine.order()
        (machine.folder / "volume").mkdir()
        machine.run("order", "bar.local", *bar(machine))
        yield machine


def bar(vm: Machine) -> tuple[Path, Path]:
    return vm.folder / "volume/bar.crt", vm.folder / "volume/bar.key"


def confined(vm: Machine, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run acme-iid as somebody to whom modes of files apply."""
    return vm.under(WITHOUT_PRIVILEGES, *arguments)


def confined_daemon(vm: Machine) -> Staying:
    return vm.stay(under=WITHOUT_PRIVILEGES)


def said(daemon: Staying, *words: str) -> int:
    return sum(all(word in line for word in words) for line in daemon.lines)


def test_a_folder_that_may_not_be_looked_into_stops_no_other_renewal(vm: Machine) -> None:
    before, (crt, _) = vm.crt.read_bytes(), bar(vm)
    crt.parent.chmod(0)
    done = confined(vm, "renew", "--force")
    assert done.returncode >= 10
    assert "1 of 2 were not renewed" in done.stderr
    assert f"{crt}: " in done.stderr
    assert "Permission denied" in done.stderr
    assert vm.crt.read_bytes() != before
    rows = {Path(row["certificate"]).name: row for row in json.loads(confined(vm, "list", "--json").stdout)}
    assert {name: row["status"] for name, row in rows.items()} == {"foo.crt": "valid", "bar.crt": "unreadable"}
    named = confined(vm, "list", "--json", vm.crt, crt.parent)
    assert [row["status"] for row in json.loads(named.stdout)] == ["valid", "unreadable"]


def test_the_daemon_says_once_that_it_may_not_look_until_it_may(vm: Machine) -> None:
    crt, key = bar(vm)
    crt.parent.chmod(0)
    with confined_daemon(vm) as daemon:
        daemon.wait_for("first renewal in")
        assert "bar.crt" in daemon.wait_for("cannot be renewed")
        daemon.send(signal.SIGHUP)
        assert "foo.crt" in daemon.wait_for("certificate renewed")
        crt.parent.chmod(0o755)
        daemon.wait_for("found again, next renewal")
        # SIGHUP was for this one, too.
        assert "bar.crt" in daemon.wait_for("certificate renewed")
        key.chmod(0)
        assert "Permission denied" in daemon.wait_for("cannot be renewed")
        key.chmod(0o600)
        assert "bar.crt" in daemon.wait_for("found again, next renewal")
        assert said(daemon, "cannot be renewed") == 2
        assert daemon.stop() == 0


def test_a_key_that_may_not_be_read_is_not_called_another_ones(vm: Machine) -> None:
    vm.key.chmod(0)
    before = bar(vm)[0].read_bytes()
    done = confined(vm, "renew", "--force", vm.crt, vm.key, *bar(vm))
    assert done.returncode >= 10
    assert "1 of 2 were not renewed" in done.stderr
    assert "Permission denied" in done.stderr
    assert "is not the key of" not in done.stderr
    assert bar(vm)[0].read_bytes() != before


def test_a_volume_that_is_mounted_later_is_found(vm: Machine) -> None:
    crt, _ = bar(vm)
    away = vm.folder / "not-yet-mounted"
    crt.parent.rename(away)
    with vm.stay() as daemon:
        daemon.wait_for("first renewal in")
        assert str(crt) in daemon.wait_for("not there, renewed once it is")
        away.rename(crt.parent)
        assert str(crt) in daemon.wait_for("found again, next renewal in")
        daemon.send(signal.SIGHUP)
        daemon.wait_for("certificate renewed", count=2)
        crt.parent.rename(away)
        assert "does not exist" in daemon.wait_for("cannot be renewed")
        away.rename(crt.parent)
        daemon.wait_for("found again, next renewal in")
        assert said(daemon, "ERROR") == 1
        assert daemon.stop() == 0


def test_what_is_not_there_is_named_and_is_no_failure(vm: Machine) -> None:
    crt, _ = bar(vm)
    crt.parent.rename(vm.folder / "away")
    done = vm.run("renew", "--force")
    assert f"{crt} does not exist, so it is not renewed" in done.stderr
    assert done.stdout == f"Your certificate has been saved in {vm.crt}.\n"


@pytest.mark.parametrize("wrong", ["folder", "loop", "text", "long"])
def test_whatever_is_in_a_certificates_place_others_are_renewed(vm: Machine, wrong: str) -> None:
    before, (crt, key) = vm.crt.read_bytes(), bar(vm)
    crt.unlink()
    match wrong:
        case "folder":
            crt.mkdir()
        case "loop":
            crt.symlink_to(crt)
        case "text":
            crt.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        case "long":
            crt = crt.with_name("x" * 300)
            records.save(vm.folder / "state", records.Record(crt, key))
    done = vm.try_("renew", "--force")
    assert done.code >= 10
    assert "1 of 2 were not renewed" in done.stderr or "1 of 3 were not renewed" in done.stderr
    assert str(crt) in done.stderr
    assert vm.crt.read_bytes() != before
    assert {row["status"] for row in vm.json("list")} >= {"valid", "unreadable"}
    with vm.stay() as daemon:
        daemon.wait_for("first renewal in")
        assert str(crt) in daemon.wait_for("cannot be renewed")
        daemon.send(signal.SIGHUP)
        assert "foo.crt" in daemon.wait_for("certificate renewed")
        assert said(daemon, "cannot be renewed") == 1
        assert daemon.stop() == 0


def test_what_is_looked_at_again_is_complained_of_once(vm: Machine) -> None:
    crt, _ = bar(vm)
    crt.write_text("no certificate")
    with vm.stay() as daemon:
        daemon.wait_for("cannot be renewed")
        crt.write_text("no certificate either")
        # One that is found after it was changed.
        vm.run("order", "more.local", vm.folder / "more.crt", vm.folder / "more.key")
        assert "more.crt" in daemon.wait_for("first renewal in")
        assert said(daemon, "cannot be renewed") == 1
        assert daemon.stop() == 0


@pytest.mark.parametrize("content", ["{", '{"certificate": "/a\\u0000b", "key": "/k"}', "[]"])
def test_a_damaged_record_stops_no_other_renewal_and_is_named_once(vm: Machine, content: str) -> None:
    before, damaged = vm.crt.read_bytes(), vm.folder / "state/certificates/0.json"
    damaged.write_text(content)
    done = vm.try_("renew", "--force")
    assert done.code >= 10
    assert "certificates/0.json cannot be read" in done.stderr
    assert vm.crt.read_bytes() != before
    with vm.stay() as daemon:
        daemon.wait_for("certificates/0.json cannot be read")
        daemon.wait_for("first renewal in", count=2)
        vm.run("order", "more.local", vm.folder / "more.crt", vm.folder / "more.key")
        assert "more.crt" in daemon.wait_for("first renewal in")
        assert said(daemon, "cannot be read") == 1
        assert daemon.stop() == 0


def test_a_record_that_cannot_be_read_is_no_fault_of_the_other_names(vm: Machine) -> None:
    before = vm.crt.read_bytes()
    records.file_of(records.directory(vm.folder / "state"), bar(vm)[0]).write_text("{")
    done = vm.try_("renew", "--force", *bar(vm), vm.crt, vm.key)
    assert done.code >= 10
    assert "cannot be read" in done.stderr
    assert vm.crt.read_bytes() != before


def test_what_was_revoked_while_it_was_away_is_not_renewed(vm: Machine) -> None:
    crt, key = bar(vm)
    away = vm.folder / "away"
    crt.parent.rename(away)
    with vm.stay() as daemon:
        daemon.wait_for("not there, renewed once it is")
        vm.run("revoke", "--cert", away / "bar.crt", "--key", away / "bar.key")
        away.rename(crt.parent)
        daemon.send(signal.SIGHUP)
        assert "foo.crt" in daemon.wait_for("certificate renewed")
        vm.run("order", "more.local", vm.folder / "more.crt", vm.folder / "more.key")
        daemon.wait_for("more.crt")
        assert said(daemon, "found again") == 0
        assert said(daemon, "certificate renewed", "bar.crt") == 0
        # Whoever orders it anew wants it looked after again.
        vm.run("order", "baz.local", crt, key, "--force")
        assert "renewal in" in daemon.wait_for(str(crt))
        assert daemon.stop() == 0


def test_records_that_may_not_be_read_at_the_start_are_read_when_they_may(vm: Machine) -> None:
    folder = vm.folder / "state/certificates"
    folder.chmod(0)
    done = confined(vm, "renew", "--force")
    assert done.returncode >= 10
    assert f"{folder}: Permission denied" in done.stderr
    with confined_daemon(vm) as daemon:
        assert "Permission denied" in daemon.wait_for("ERROR")
        folder.chmod(0o700)
        daemon.wait_for("first renewal in", count=2)
        folder.chmod(0)
        daemon.wait_for("ERROR")
        daemon.send(signal.SIGHUP)
        daemon.wait_for("certificate renewed", count=2)
        assert said(daemon, "no longer renewed") + said(daemon, "nothing was ordered") == 0
        assert said(daemon, "ERROR") == 2
        assert daemon.stop() == 0
