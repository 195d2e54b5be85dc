"""The one file: acme-iid with its libraries for several Pythons, unpacked once into a cache, and run from there.

packaging/pyz makes the file. What is in the cache runs as the present user, who often is root, so whoever can write to
it has root: it is used only if nobody but root and the present user can have put anything into it or into its place.
A tree in it is whole, because it has its name only once all of it is on the disk, and is held by a lock while a program
runs from it, so that the trees of former versions can be removed.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import io
import os
import shutil
import stat
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from acme_iid_client.errors import LOCAL, ClientError, sentence
from acme_iid_client.storage.descriptors import open_directory
from acme_iid_client.storage.entries import Directory, is_own

_FOLDER = "acme-iid-pyz"
_START = "from acme_iid_client.cli import main\n\nmain()\n"
_HINT = "Set XDG_CACHE_HOME to a directory of yours that others can't write to."


def main(archive: Path, index: Mapping[str, Any], tag: str, arguments: Sequence[str]) -> NoReturn:
    """Run acme-iid, by the libraries for this Python; what keeps it from that is said in a sentence.

    :param index: what is in the file: ``version``, ``machine``, ``glibc`` and, in ``wheels``, for each tag of a Python
        the names of its wheels with their SHA-256.
    :param tag: this Python's, such as ``cp311``.
    """
    try:
        _require_machine(index)
        with _cache(_place(os.environ)) as cache:
            name = f"{index['version']}-{tag}-{_digest(index['wheels'][tag])}"
            held = _held(cache, name)
            if held is None:
                held = _unpacked(archive, index["wheels"][tag], cache, name)
    except (ClientError, OSError) as error:
        _end(archive, sentence(error))
    except zipfile.BadZipFile as error:
        _end(archive, f"The file is damaged ({error}). Get it again.")
    # The lock stays with the program, which begins afresh: no module of this one, none of the machine's libraries.
    os.set_inheritable(held, True)
    os.execv(sys.executable, [sys.executable, "-I", "-S", str(cache.path / name), *arguments])  # noqa: S606 - it is this very Python


def _end(archive: Path, why: str) -> NoReturn:
    sys.stderr.write(f"{archive.name}: {why}\n")
    sys.exit(LOCAL)


def _require_machine(index: Mapping[str, Any]) -> None:
    machine, least = os.uname().machine, tuple(index["glibc"])
    try:
        library, _, number = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except ValueError:
        library, number = "", ""
    there = tuple(int(part) for part in number.split(".")) if library == "glibc" else ()
    if machine != index["machine"] or there < least:
        raise ClientError(
            f"This file is for {index['machine']} with glibc {'.'.join(map(str, least))} or later; this machine is "
            f"{machine} with {f'glibc {number}' if there else 'another C library'}."
        )


def _place(env: Mapping[str, str]) -> Path:
    """Where the cache is: in a unit's CacheDirectory, or in the user's directory of caches.

    :raises ClientError: if neither can be told.
    """
    # systemd has a colon between several.
    caches = env.get("CACHE_DIRECTORY", "").partition(":")[0] or env.get("XDG_CACHE_HOME", "")
    # The specification has relative paths ignored.
    if caches.startswith("/"):
        return Path(caches, _FOLDER)
    try:
        home = Path(env.get("HOME") or "~").expanduser()
    except RuntimeError:
        home = Path()
    if not (home.is_absolute() and home.is_dir()):
        raise ClientError(f"The user {os.geteuid()} has no home directory for a cache. {_HINT}")
    return home / ".cache" / _FOLDER


@contextlib.contextmanager
def _cache(place: Path) -> Iterator[Directory]:
    """The cache's directory, open; made if it is missing.

    :raises ClientError: if somebody else can write to it, or put another one in its place.
    """
    # First where it would be made: nothing is left in a directory of somebody else's.
    for folder in (place, *place.parents):
        with contextlib.suppress(FileNotFoundError), open_directory(folder) as there:
            if not there.is_own:
                raise ClientError(f"{there.path} can be changed by others, who could have their code run here. {_HINT}")
            break
    with open_directory(place, make=0o700) as cache:
        status = os.fstat(cache.descriptor)
        if cache.shared or status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
            raise ClientError(f"{cache.path} has to belong to the user {os.geteuid()} alone, mode 0700. {_HINT}")
        if os.fstatvfs(cache.descriptor).f_flag & os.ST_NOEXEC:
            raise ClientError(f"{cache.path} is on a file system that runs no programs (noexec). {_HINT}")
        yield cache


def _digest(wheels: Mapping[str, str]) -> str:
    return hashlib.sha256("\n".join(f"{name} {wheels[name]}" for name in sorted(wheels)).encode()).hexdigest()[:16]


def _held(cache: Directory, name: str) -> int | None:
    """A tree of the cache, open and locked so that it stays; None if it is not there.

    :raises ClientError: if somebody else can write to it.
    """
    with contextlib.suppress(FileNotFoundError):
        held = _opened(cache, name)
        fcntl.flock(held, fcntl.LOCK_SH)
        # It may have been removed before the lock was had.
        if os.path.samestat(os.fstat(held), os.stat(name, dir_fd=cache.descriptor, follow_symlinks=False)):
            if not is_own(os.fstat(held)):
                raise ClientError(f"{cache.path / name} can be changed by others. Remove it.")
            return held
        os.close(held)
    return None


def _opened(cache: Directory, name: str) -> int:
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=cache.descriptor)


def _unpacked(archive: Path, wheels: Mapping[str, str], cache: Directory, name: str) -> int:
    """Unpack wheels into the cache; the tree, open and locked.

    :raises BadZipFile: if the file is damaged.
    """
    cache.lock()
    if (held := _held(cache, name)) is not None:
        return held  # another process was faster
    _remove_others(cache)
    tree = Path(tempfile.mkdtemp(prefix="new-", dir=cache.path))
    with zipfile.ZipFile(archive) as file:
        for wheel in wheels:
            with zipfile.ZipFile(io.BytesIO(file.read(f"wheels/{wheel}"))) as packed:
                packed.extractall(tree, [member for member in packed.namelist() if ".data/" not in member])
    (tree / "__main__.py").write_text(_START, "utf-8")
    # All of it on the disk before it has its name: after a power failure it is whole, or not there.
    ctypes.CDLL(None).syncfs(cache.descriptor)
    tree.rename(cache.path / name)
    held = _held(cache, name)
    assert held is not None, "nobody removes a tree while the cache is locked"
    return held


def _remove_others(cache: Directory) -> None:
    """Remove the trees that no program runs from: those of other versions, and what a kill has left."""
    for name in cache.names():
        with contextlib.suppress(OSError):
            other = _opened(cache, name)
            try:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(name, dir_fd=cache.descriptor)
            finally:
                os.close(other)
