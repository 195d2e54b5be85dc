"""The system's store of trusted roots as a test's own copy, in a namespace of mounts that ends with the test.

Java's keystore is written by a trigger of dpkg's. So what dpkg keeps is the test's own too: two tests at a time would
take each other's triggers up, and one that fails would leave the machine with a package half configured.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

LOCAL = Path("/usr/local/share/ca-certificates")
_ETC = Path("/etc/ssl")
_ENTER = f"""
mount --bind "$1/ssl" {_ETC} && mount --bind "$1/local" {LOCAL} &&
mount -t overlay overlay -o "lowerdir=/var/lib,upperdir=$1/lib,workdir=$1/work" /var/lib && echo ready && exec cat
"""
_OTHERWISE = ("SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE")
"""Variables that have programs trust something else."""


@dataclass(frozen=True)
class OwnStore:
    """A namespace of mounts. Programs that run in it see the copy, and all else as it is.

    :ivar folder: where the copies are, from outside.
    :ivar holder: the process that keeps it.
    """

    folder: Path
    holder: int

    @property
    def inside(self) -> tuple[str, ...]:
        """The beginning of a command that runs in it."""
        variables = [word for name in _OTHERWISE for word in ("--unset", name)]
        return ("nsenter", "--mount", f"--target={self.holder}", "--", "env", *variables)

    @property
    def files(self) -> set[str]:
        """The names in the administrator's directory."""
        return {path.name for path in (self.folder / "local").iterdir()}

    @property
    def links(self) -> set[str]:
        """The names in the directory by which OpenSSL finds roots."""
        return {path.name for path in (self.folder / "ssl/certs").iterdir()}

    def run(self, *command: str | Path, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a program in it."""
        return subprocess.run(
            [*self.inside, *map(str, command)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )


@contextmanager
def own_store(folder: Path) -> Iterator[OwnStore]:
    """A copy without any root of the machine's administrator's. It takes root; without it this fails."""
    for name in ("local", "lib", "work"):
        (folder / name).mkdir(parents=True)
    subprocess.run(["cp", "-a", _ETC, folder / "ssl"], check=True)
    command = ["unshare", "--mount", "--propagation=private", "sh", "-c", _ENTER, "sh", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        yield OwnStore(folder, holder.pid)
