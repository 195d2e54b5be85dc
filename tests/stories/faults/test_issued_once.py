"""A certificate that is issued is put in place, now or later, and never ordered a second time for want of a disk."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import disks
import forge
import pytest
from machine import Machine
from running import CA

from acme_iid.simulator import aws
from acme_iid.simulator.server import serve


@dataclass
class Disturbed:
    """A machine, and what happens when it is asked for its identity: after all that is done before an order."""

    machine: Machine
    name: str
    happen: list[Callable[[], object]] = field(default_factory=list)

    def issued(self, ca: CA) -> int:
        """How many certificates the CA has issued to it."""
        return len(ca.cli("certificate", "list", "--name", self.name).stdout.splitlines()[1:])

    def order(self, crt: Path, key: Path, *options: str | Path) -> tuple[str | Path, ...]:
        return ("order", self.name, crt, key, "--force", *options)


@pytest.fixture
def vm(shared_ca: CA, tmp_path: Path, instance: aws.Instance) -> Iterator[Disturbed]:
    happen: list[Callable[[], object]] = []

    def disturbed(get: Callable[[], bytes]) -> Callable[[], bytes]:
        def answer() -> bytes:
            while happen:
                happen.pop()()
            return get()

        return answer

    tree = aws.tree(instance, forge.keys())
    # The forms of evidence; the document itself is read before, too.
    forms = {
        path: disturbed(get) for path, get in tree.items() if path.startswith(aws.IDENTITY) and "document" not in path
    }
    assert forms
    with serve({**tree, **forms}) as service:
        (tmp_path / "vm").mkdir()
        machine = Machine(tmp_path / "vm", service.url)
        machine.bootstrap(shared_ca)
        yield Disturbed(machine, f"{instance.instance_id}.foo.local", happen)


@contextmanager
def mounted_by_itself(file: Path) -> Iterator[None]:
    """A single file that is mounted over another one. This takes root; without it this fails, it does not skip."""
    other = file.with_name("from-the-host")
    other.touch()
    file.touch()
    subprocess.run(["mount", "--bind", other, file], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", file], check=True)


def _without_links(vm: Disturbed, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run acme-iid where the kernel makes no links, as on an SMB share."""
    calls = "symlink,symlinkat,link,linkat"
    tracer = [
        "strace",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        f"trace={calls}",
        "-e",
        f"inject={calls}:error=EOPNOTSUPP",
    ]
    return vm.machine.under(tracer, *arguments)


def _kept(vm: Disturbed) -> list[Path]:
    return list((vm.machine.folder / "state/issued").iterdir())


def test_a_file_that_is_mounted_by_itself_is_refused_before_an_order(shared_ca: CA, vm: Disturbed) -> None:
    crt, key = vm.machine.crt, vm.machine.key
    with mounted_by_itself(crt):
        refused = vm.machine.try_(*vm.order(crt, key))
        assert refused.code != 0
        assert f"{crt} is mounted by itself" in refused.stderr
        assert not key.exists()
    crt.unlink()
    vm.machine.run(*vm.order(crt, key))
    (vm.machine.folder / "from-the-host").write_bytes(crt.read_bytes())
    with mounted_by_itself(crt), vm.machine.stay("--force") as daemon:
        for _ in range(3):
            assert "is mounted by itself" in daemon.wait_for("renewal failed")
        assert daemon.stop() == 0
    assert vm.issued(shared_ca) == 1


def test_an_immutable_certificate_is_refused_before_an_order(shared_ca: CA, vm: Disturbed) -> None:
    vm.machine.run(*vm.order(vm.machine.crt, vm.machine.key))
    subprocess.run(["chattr", "+i", vm.machine.crt], check=True)
    try:
        refused = vm.machine.try_("renew", "--force", vm.machine.crt, vm.machine.key)
    finally:
        subprocess.run(["chattr", "-i", vm.machine.crt], check=True)
    assert refused.code != 0
    assert "is immutable or append-only" in refused.stderr
    assert vm.issued(shared_ca) == 1


def test_where_there_are_no_links_a_pair_is_put_in_place_nevertheless(shared_ca: CA, vm: Disturbed) -> None:
    crt, key, folder = vm.machine.crt, vm.machine.key, vm.machine.folder
    names = []
    for arguments in (
        vm.order(crt, key, "--bundle", folder / "all.pem", "--p12", folder / "all.p12"),
        vm.order(crt, key),
        ("renew", "--force", crt, key),
        ("rekey", "--force", crt, key),
    ):
        before = crt.read_bytes() if crt.exists() else b""
        done = _without_links(vm, *arguments)
        assert done.returncode == 0, done.stderr
        assert crt.read_bytes() != before
        vm.machine.check_pair()
        names = sorted(path.name for path in folder.iterdir())
    assert names == ["all.p12", "all.pem", "config", "foo.crt", "foo.key", "state"]
    assert (folder / "all.pem").exists()
    assert vm.issued(shared_ca) == 4


def test_a_name_as_long_as_names_may_be_can_be_used(vm: Disturbed) -> None:
    stem = "x" * 251
    crt, key = vm.machine.folder / f"{stem}.crt", vm.machine.folder / f"{stem}.key"
    for _ in range(2):
        vm.machine.run(*vm.order(crt, key))
    vm.machine.run("renew", "--force", crt, key)
    assert {path.name for path in vm.machine.folder.iterdir()} == {crt.name, key.name, "config", "state"}


def test_a_disk_that_is_full_is_seen_before_an_order(shared_ca: CA, vm: Disturbed) -> None:
    with disks.small() as disk:
        disks.fill(disk)
        refused = vm.machine.try_(*vm.order(disk / "foo.crt", disk / "foo.key"))
        assert refused.code != 0
        assert f"({os.strerror(errno.ENOSPC)}), so nothing was ordered" in refused.stderr
        assert [path.name for path in disk.iterdir()] == ["filler"]
    assert vm.issued(shared_ca) == 0


def test_a_state_directory_that_is_full_is_seen_before_an_order(shared_ca: CA, vm: Disturbed) -> None:
    vm.machine.run(*vm.order(vm.machine.crt, vm.machine.key))
    with disks.small() as disk:
        subprocess.run(["cp", "-a", f"{vm.machine.folder}/state/.", disk], check=True)
        vm.machine.env["ACME_IID_STATE_DIR"] = str(disk)
        filler = disks.fill(disk)
        refused = vm.machine.try_("renew", "--force", vm.machine.crt, vm.machine.key)
        assert refused.code != 0
        assert f"could not be kept in {disk / 'issued'}" in refused.stderr
        assert vm.issued(shared_ca) == 1
        filler.unlink()
        vm.machine.run("renew", "--force", vm.machine.crt, vm.machine.key)
    assert vm.issued(shared_ca) == 2


def test_what_was_issued_while_the_disk_got_full_is_put_in_place_later(shared_ca: CA, vm: Disturbed) -> None:
    with disks.small() as disk:
        order = vm.order(disk / "foo.crt", disk / "foo.key", "--mode", "640")
        vm.happen.append(lambda: disks.fill(disk))
        first = vm.machine.try_(*order)
        assert first.code != 0
        assert "The certificate that the CA issued is kept" in first.stderr
        assert [path.name for path in disk.iterdir()] == ["filler"]
        assert [stat.S_IMODE(path.stat().st_mode) for path in _kept(vm)] == [0o600]
        assert vm.machine.try_(*order).code != 0
        assert vm.machine.try_("renew", "--force").code != 0
        assert vm.issued(shared_ca) == 1
        (disk / "filler").unlink()
        vm.machine.run("renew")
        assert _kept(vm) == []
        assert sorted(path.name for path in disk.iterdir()) == ["foo.crt", "foo.key"]
        assert [stat.S_IMODE(path.stat().st_mode) for path in disk.iterdir()] == [0o640, 0o640]
        assert "is due for renewal from" in vm.machine.run("renew").stderr
    assert vm.issued(shared_ca) == 1


def test_the_same_order_uses_what_was_issued_and_another_does_not(shared_ca: CA, vm: Disturbed) -> None:
    with disks.small() as disk:
        order = vm.order(disk / "foo.crt", disk / "foo.key")
        vm.happen.append(lambda: disks.fill(disk))
        assert vm.machine.try_(*order).code != 0
        (disk / "filler").unlink()
        assert "is used now" in vm.machine.run(*order).stderr
        assert vm.issued(shared_ca) == 1
        vm.happen.append(lambda: disks.fill(disk))
        assert vm.machine.try_(*order).code != 0
        (disk / "filler").unlink()
        assert "is used now" not in vm.machine.run(*order, "--kty", "RSA").stderr
    assert vm.issued(shared_ca) == 3


@pytest.mark.parametrize("new_key", [(), ("--new-key",)], ids=["the key stays", "a new key"])
def test_a_daemon_puts_in_place_what_it_could_not(shared_ca: CA, vm: Disturbed, new_key: tuple[str, ...]) -> None:
    with disks.small() as disk:
        crt, key = disk / "foo.crt", disk / "foo.key"
        vm.machine.run(*vm.order(crt, key))
        before = crt.read_bytes(), key.read_bytes()
        vm.happen.append(lambda: disks.fill(disk))
        with vm.machine.stay("--force", *new_key) as daemon:
            daemon.wait_for("renewal failed", count=3)
            assert (crt.read_bytes(), key.read_bytes()) == before
            assert vm.issued(shared_ca) == 2
            (disk / "filler").unlink()
            daemon.wait_for("renewed")
            assert daemon.stop() == 0
        assert crt.read_bytes() != before[0]
        assert (key.read_bytes() == before[1]) is (not new_key)
    assert vm.issued(shared_ca) == 2


def test_a_daemon_puts_in_place_what_a_first_order_could_not(shared_ca: CA, vm: Disturbed) -> None:
    with disks.small() as disk:
        crt, key = disk / "foo.crt", disk / "foo.key"
        vm.happen.append(lambda: disks.fill(disk))
        assert vm.machine.try_(*vm.order(crt, key)).code != 0
        (disk / "filler").unlink()
        with vm.machine.stay("--exec", f"cp {crt} {vm.machine.folder}/told") as daemon:
            daemon.wait_for("first renewal")
            daemon.wait_for("all notifications have been sent")
            assert daemon.stop() == 0
        assert (vm.machine.folder / "told").read_bytes() == crt.read_bytes()
    assert vm.issued(shared_ca) == 1


def test_a_kill_after_the_order_costs_no_second_one(shared_ca: CA, vm: Disturbed) -> None:
    with disks.small() as disk:
        order = vm.order(disk / "foo.crt", disk / "foo.key")
        # Right before the first file of the installation, after what was issued was kept.
        inject = ("strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=symlinkat", "-e")
        killed = vm.machine.under((*inject, "inject=symlinkat:signal=SIGKILL"), *order)
        assert killed.returncode == -signal.SIGKILL
        assert not (disk / "foo.crt").exists()
        vm.machine.run("renew")
        assert sorted(path.name for path in disk.iterdir()) == ["foo.crt", "foo.key"]
    assert vm.issued(shared_ca) == 1
