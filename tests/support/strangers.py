"""Another user of the machine, and a directory of theirs that root writes into."""

from __future__ import annotations

import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

NOBODY = pwd.getpwnam("nobody").pw_uid


@dataclass(frozen=True)
class Ground:
    """What there is.

    :ivar own: a directory that only root can write to, as /etc is.
    :ivar app: one that belongs to the user nobody, as a service's is.
    """

    own: Path
    app: Path


@contextmanager
def ground() -> Iterator[Ground]:
    """Two directories that all can reach. Giving one to nobody takes root; without it this fails, it does not skip."""
    # Not in pytest's own folders, which nobody else may pass through.
    folder = Path(tempfile.mkdtemp(prefix="strangers-"))
    try:
        folder.chmod(0o755)
        own, app = folder / "own", folder / "app"
        for made in (own, app):
            made.mkdir(0o755)
            made.chmod(0o755)
        shutil.chown(app, "nobody")
        yield Ground(own, app)
    finally:
        shutil.rmtree(folder)


def as_nobody(*command: str | Path) -> list[str]:
    """A command, run by the user nobody."""
    return ["setpriv", "--reuid", "nobody", "--regid", str(NOBODY), "--clear-groups", *map(str, command)]


def link(target: Path, place: Path) -> None:
    """Have the user nobody put a symbolic link somewhere."""
    subprocess.run(as_nobody("ln", "-sfn", target, place), check=True)


_SWAP = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
first, second, seconds = (os.fsencode(argument) for argument in sys.argv[1:4])
os.symlink(os.fsencode(sys.argv[4]), second)
print("ready", flush=True)
import time
end = time.monotonic() + float(seconds)
while time.monotonic() < end:
    for _ in range(200):
        # RENAME_EXCHANGE, renameat2(2): there is always something under both names.
        libc.renameat2(-100, first, -100, second, 2)
"""


@contextmanager
def swapping(first: Path, target: Path) -> Iterator[subprocess.Popen[str]]:
    """Have the user nobody exchange something with a link to ``target``, over and over, for a minute at most."""
    second = first.with_name("the-link")
    command = as_nobody("/usr/bin/python3", "-c", _SWAP, first, second, "60", target)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        assert process.poll() is None, "nobody was swapping any more"
    finally:
        process.kill()
        process.communicate(timeout=30)
