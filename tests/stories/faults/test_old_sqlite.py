"""A machine whose SQLite is too old: it is said when the store is opened, in a sentence."""

from __future__ import annotations

import re
import sqlite3
import sys
from pathlib import Path

import pytest
from programs import system
from running import CA


def library(folder: Path, version: str) -> dict[str, str]:
    """The environment in which Python's SQLite says that it has this version: its own library with another number."""
    maps = Path("/proc/self/maps").read_text()
    (path,) = set(re.findall(r"\S+/libsqlite3\.so\S*", maps))
    content, own = Path(path).read_bytes(), sqlite3.sqlite_version.encode()
    assert len(version) == len(own)
    copied = folder / "libsqlite3.so.0"
    copied.write_bytes(content.replace(own + b"\0", version.encode() + b"\0"))
    return {"LD_LIBRARY_PATH": str(folder)}


@pytest.mark.parametrize("arguments", [("serve", "--workers", "1"), ("events",), ("instance", "list")])
def test_a_sqlite_that_is_too_old_is_said_when_the_store_is_opened(
    own_ca: CA, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    env = library(tmp_path, "3.34.1")
    done = system(sys.executable, "-m", "acme_iid.cli", "--home", own_ca.home, *arguments, env=env)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: the SQLite of this machine's Python is version 3.34.1, and 3.35 or later")
    assert "PostgreSQL" in done.stderr


def test_the_first_sqlite_that_will_do_is_taken(own_ca: CA, tmp_path: Path) -> None:
    env = library(tmp_path, "3.35.0")
    done = system(sys.executable, "-m", "acme_iid.cli", "--home", own_ca.home, "events", env=env)
    assert done.returncode == 0, done.stderr
