"""Files that survive a power failure."""

from __future__ import annotations

import os
from pathlib import Path


def write_new(path: Path, data: bytes, mode: int, *, final: int | None = None) -> None:
    """Create ``path`` with ``data``, durably, and with ``mode`` from its first moment.

    :param final: the mode that it has in the end, whatever the umask is. It is given to the file that was made, never
        to the path: in a home that is the service's user's, that could be a link by then.
    :raises FileExistsError: if it exists; nothing is ever overwritten.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
        stream.flush()
        if final is not None:
            os.fchmod(stream.fileno(), final)
        os.fsync(stream.fileno())


def replace_file(path: Path, data: bytes, mode: int) -> None:
    """Give ``path`` new contents and ``mode``, whole or not at all, durably; a link is replaced, not followed."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        write_new(partial, data, 0o600, final=mode)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    sync_names(path.parent)


def sync_names(folder: Path) -> None:
    """Make the names in ``folder`` durable: what was created, renamed and removed in it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
