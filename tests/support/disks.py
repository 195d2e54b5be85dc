"""Disks that are really full: a small tmpfs, filled."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def small() -> Iterator[Path]:
    """A file system of 4 MiB. Mounting takes root; without it this fails, it does not skip."""
    # Not in pytest's own folders: those of earlier runs are removed while others may still be mounted there.
    folder = Path(tempfile.mkdtemp(prefix="small-disk-"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        # The kernel lets go of a killed process's files a moment after the process has ended.
        for attempt in range(100):
            if subprocess.run(["umount", folder], check=attempt == 99, stderr=subprocess.DEVNULL).returncode == 0:
                break
            time.sleep(0.05)
        folder.rmdir()


def fill(folder: Path, leaving: int = 0) -> Path:
    """Take all the space that is left in a small disk, but for so many octets; the file that takes it."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as stream:
        size = 65536
        while size:
            try:
                if stream.write(b"\0" * size) < size:
                    size //= 2
            except OSError:
                size //= 2
        assert os.statvfs(folder).f_bavail == 0
        if leaving:
            stream.truncate(stream.tell() - leaving)
    return filler
