"""A store that can only be read: the file system says so. Clients are told to come back, and nothing is lost."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from injecting import injected
from running import ACCOUNT, CA, answer
from wire import b64, csr, problem

from acme_iid.simulator import aws


def unmount(folder: Path) -> None:
    # The kernel lets go of a killed process's files a moment after the process has ended.
    for attempt in range(100):
        if subprocess.run(["umount", folder], check=attempt == 99, stderr=subprocess.DEVNULL).returncode == 0:
            break
        time.sleep(0.05)


@pytest.fixture
def disk() -> Iterator[Path]:
    """A disk of its own, ext4, which turns read-only at its first error. It takes root; without, this fails."""
    folder = Path(tempfile.mkdtemp(prefix="read-only-"))
    image = folder / "image"
    with image.open("wb") as stream:
        stream.truncate(48 * 1024 * 1024)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    mounted = folder / "disk"
    mounted.mkdir()
    subprocess.run(["mount", "-o", "loop,errors=remount-ro", image, mounted], check=True)
    yield mounted
    unmount(mounted)
    image.unlink()
    mounted.rmdir()
    folder.rmdir()


def fail(disk: Path) -> None:
    """Have the kernel find an error on the disk, as it finds one that a broken disk has."""
    found = subprocess.run(["findmnt", "-no", "SOURCE", disk], check=True, capture_output=True, text=True)
    Path("/sys/fs/ext4", Path(found.stdout.strip()).name, "trigger_fs_error").write_text("a test's")


def check_refused(refused: requests.Response) -> None:
    assert refused.status_code == 503, refused.text
    assert problem(refused) == "serverInternal"
    assert int(refused.headers["Retry-After"]) > 0
    assert "nothing was changed" in refused.json()["detail"]


def test_a_read_only_disk_is_503_and_keeps_what_was_acknowledged(disk: Path) -> None:
    ca = CA(disk / "ca")
    ca.init(in_a_file=True)
    ca.start()
    try:
        account, instance = ca.account(), aws.Instance(account=ACCOUNT)
        issued = account.obtain("foo.local", answer=answer(aws.Instance(account=ACCOUNT)))
        ordered, (proven,) = account.prove("foo.local", answer=answer(instance))
        assert proven.json()["status"] == "valid"
        # What the test and the commands wrote; the server's own is there already.
        subprocess.run(["sync", "-f", disk], check=True)
        fail(disk)
        request = {"csr": b64(csr("foo.local")[1])}
        for refused in (account.order("bar.local"), account.post(ordered.json()["finalize"], request)):
            check_refused(refused)
        # What only reads is answered.
        assert account.post(ordered.headers["Location"]).json()["status"] == "ready"
        check_refused(account.wire.session.get(f"{ca.url}/health", timeout=10))
        ca.until_logged("disk I/O error", "readonly")
        assert "Traceback" not in "".join(ca.log)
        ca.kill()
        # On a disk that is still read-only there is no server, and it says why.
        said = ca.start_refused()
        assert "Read-only file system" in said or "readonly" in said or "unable to open" in said
        # An operator mends it: the disk is checked and mounted again.
        image = disk.parent / "image"
        unmount(disk)
        assert subprocess.run(["fsck.ext4", "-pf", image], check=False, capture_output=True).returncode in (0, 1)
        subprocess.run(["mount", "-o", "loop", image, disk], check=True)
        ca.start()
        done = account.post(ordered.json()["finalize"], request)
        assert done.json()["status"] == "valid", done.text
        assert account.post(issued.order).json()["status"] == "valid"
        assert ca.cli("events", "--check").stdout.startswith("OK: ")
    finally:
        if ca.process is not None:
            ca.kill()


@pytest.mark.parametrize("error", ["EROFS", "EIO", "ENOSPC"])
def test_orders_go_on_without_a_restart_once_files_are_writable_again(tmp_path: Path, error: str) -> None:
    ca = CA(tmp_path / "ca")
    ca.init(in_a_file=True)
    ca.start()
    try:
        account = ca.account()
        issued = account.obtain("foo.local", answer=answer(aws.Instance(account=ACCOUNT)))
        # Connections are not written to with any of these.
        with injected(ca.workers(), "pwrite64,ftruncate,fdatasync,fsync", f"error={error}"):
            for _ in range(3):
                check_refused(account.order("foo.local"))
            assert account.post(issued.order).json()["status"] == "valid"
        assert account.obtain("foo.local", answer=answer(aws.Instance(account=ACCOUNT))).chain
        assert "Traceback" not in "".join(ca.log)
        assert ca.stop() == 0
        assert ca.cli("events", "--check").stdout.startswith("OK: ")
    finally:
        if ca.process is not None:
            ca.kill()
