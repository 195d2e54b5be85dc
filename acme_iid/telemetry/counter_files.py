"""The folder of the files in which a server's processes count, and what is wrong with files in it."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def fresh(base: Path) -> Iterator[Path]:
    """An empty folder below ``base`` for one server; removed at its end, as those of killed servers are before.

    It is locked as long as a process of the server lives, so that of two servers with one home each has its own.

    :raises OSError: if it cannot be made.
    """
    base.mkdir(mode=0o700, exist_ok=True)
    with _locked(base, fcntl.LOCK_EX):
        for left in base.iterdir():
            with suppress(OSError), _locked(left, fcntl.LOCK_EX | fcntl.LOCK_NB):
                shutil.rmtree(left)
        folder = Path(tempfile.mkdtemp(dir=base))
        holding = _locked(folder, fcntl.LOCK_EX)
        holding.__enter__()
    try:
        yield folder
    finally:
        holding.__exit__(None, None, None)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    """Hold the lock of a folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


def clear(folder: Path, place: int) -> list[Path]:
    """Make a folder ready for a process that begins in a place; returns the files that had to go.

    Gauges of the process before it are over. A file that it left unreadable, since it was killed while it made it,
    would keep this one from beginning.
    """
    gone = []
    for file in folder.glob(f"*_{place}.db"):
        if file.name.startswith("gauge"):
            file.unlink()
        elif file.stat().st_size and not is_readable(file):
            file.unlink()
            gone.append(file)
    return gone


def readable(files: Iterable[Path]) -> list[str]:
    """The files that can be read, as paths."""
    return [str(file) for file in files if is_readable(file)]


def is_readable(file: Path) -> bool:
    """Whether a file can be read as one of counters: one that was killed at its beginning is empty."""
    from prometheus_client.mmap_dict import MmapedDict  # noqa: PLC0415 - only where somebody reads it

    try:
        for _ in MmapedDict.read_all_values_from_file(file):
            pass
    except (OSError, ValueError, RuntimeError, struct.error):
        return False
    return True
