"""Throw-away keys in files that several simulators share."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path


def open_or_make(path: Path, make: Callable[[], bytes]) -> bytes:
    """The file's bytes. A missing file is made (mode 0600), and readers see all of it or nothing.

    Of several that make it at the same time the first one wins, and all return its bytes.

    :raises OSError: if the file can neither be read nor made.
    """
    if not path.exists():
        _make(path, make())
    return path.read_bytes()


def _make(path: Path, content: bytes) -> None:
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        try:
            os.link(beside, path)
        except FileExistsError:
            return
    finally:
        beside.unlink()
