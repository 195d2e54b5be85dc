"""A small Debian that boots with systemd in a container: what runs at a machine's first boot is run as there.

It shares the network of the machine that runs the tests, whose loopback has a CA and a metadata service.
Its root file system is made once and kept in the folder for temporary files; each container writes to a layer above it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from processes import children

REPOSITORY = Path(__file__).resolve().parents[2]
_BASE = "systemd,systemd-sysv,dbus,python3,ca-certificates,iproute2"
_FURTHER = ("cloud-init", "ansible-core", "python3-venv", "python3-setuptools", "python3-apt")
_ROOT = Path(tempfile.gettempdir(), "acme-iid-test-bookworm-1")
_ENV = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/root"}


def _checked(*command: str | Path, seconds: float = 600, env: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(
        [*map(str, command)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        env={**os.environ, **(env or {})},
        check=False,
    )
    assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-2000:])


def base() -> Path:
    """The root file system, made if it is not there."""
    with _ROOT.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _ROOT.exists():
            assert _ROOT.stat().st_uid == os.getuid(), f"{_ROOT} is somebody else's"
        else:
            made = Path(tempfile.mkdtemp(prefix="acme-iid-test-root-"))
            made.chmod(0o755)
            _checked("debootstrap", "--variant=minbase", f"--include={_BASE}", "bookworm", made)
            shutil.copy("/etc/resolv.conf", made / "etc/resolv.conf")
            # Nothing is started while it is no machine yet.
            (made / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
            (made / "usr/sbin/policy-rc.d").chmod(0o755)
            env = {**_ENV, "DEBIAN_FRONTEND": "noninteractive"}
            _checked(
                "chroot", made, "apt-get", "install", "-y", "-qq", "--no-install-recommends", *_FURTHER, env=env
            )  # fmt: skip
            (made / "usr/sbin/policy-rc.d").unlink()
            made.rename(_ROOT)
    return _ROOT


def wheels(folder: Path) -> Path:
    """Fill a folder with the project's wheel and with all that it needs; the project's own."""
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    _checked(*pip, "wheel", "--no-deps", "--wheel-dir", folder, REPOSITORY)
    own = next(folder.glob("acme_iid-*.whl"))
    _checked(*pip, "download", "--only-binary", ":all:", "--dest", folder, own)
    return own


@dataclass
class Container:
    """A machine that has not booted yet, or runs.

    :ivar root: its files.
    :ivar leader: the process id of its init, once it runs.
    """

    root: Path
    leader: int = 0

    def write(self, path: str, text: str) -> None:
        """Put a file in place."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def run(self, *command: str, seconds: float = 240, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it."""
        return subprocess.run(
            ["nsenter", "--target", str(self.leader), "--all", *command],
            stdin=subprocess.DEVNULL,
            env={**_ENV, **env},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def until(self, what: Callable[[], bool], seconds: float) -> None:
        """Wait until something holds."""
        deadline = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < deadline, self.run("journalctl", "--no-pager", "-n", "80").stdout
            time.sleep(0.2)

    @contextmanager
    def booted(self) -> Iterator[None]:
        """Boot it, until systemd answers."""
        command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--boot", f"--directory={self.root}",
                   f"--machine=acme-iid-{os.getpid()}", "--resolv-conf=copy-host", "--console=pipe",
                   "--system-call-filter=landlock_create_ruleset landlock_add_rule landlock_restrict_self"]  # fmt: skip
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                self._find_leader(process)
                yield
            finally:
                # Its init gets SIGRTMIN+3 for it, and what still runs is killed.
                process.terminate()
                try:
                    process.wait(timeout=30)
                except subprocess.TimeoutExpired:
                    process.kill()

    def _find_leader(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + 60
        while True:
            assert process.poll() is None, "the container ended"
            assert time.monotonic() < deadline, "the container did not boot"
            if found := children(process.pid):
                self.leader = found[0]
                state = self.run("systemctl", "is-system-running").stdout.strip()
                if state in ("starting", "running", "degraded"):
                    return
            time.sleep(0.2)


@contextmanager
def container(folder: Path) -> Iterator[Container]:
    """A machine of one's own."""
    upper, work, root = (folder / name for name in ("upper", "work", "root"))
    for part in (upper, work, root):
        part.mkdir(parents=True)
    layers = f"lowerdir={base()},upperdir={upper},workdir={work}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, root], check=True)
    try:
        yield Container(root)
    finally:
        subprocess.run(["umount", "--lazy", root], check=True)
