"""Names in a directory that is open: what is done to them is done by the directory's descriptor, and follows no link.

How a directory is reached without a link of somebody else's is what :mod:`acme_iid_client.storage.descriptors` sees to.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_MAX_BYTES = 1024 * 1024
"""More than any certificate, key or PKCS #12 file takes."""
_LONGEST_NAME = 255
"""Octets in a name on usual file systems."""
_GET_FLAGS = 0x80000000 | struct.calcsize("l") << 16 | ord("f") << 8 | 1
"""FS_IOC_GETFLAGS of ioctl_iflags(2)."""
_IMMUTABLE_OR_APPEND_ONLY = 0x10 | 0x20
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory that is open.

    :ivar path: where it was when it was opened, without links: for messages, and for links that others follow.
    :ivar shared: whether anybody but root and the present user can put another directory in its place.
    """

    path: Path
    descriptor: int
    shared: bool

    @property
    def identity(self) -> tuple[int, int]:
        """The same for two that are one."""
        status = os.fstat(self.descriptor)
        return status.st_dev, status.st_ino

    @property
    def is_own(self) -> bool:
        """Whether nobody but root and the present user can have put something into it."""
        return not self.shared and is_own(os.fstat(self.descriptor))

    def lock(self) -> None:
        """Keep other programs of ours out until the directory is closed."""
        fcntl.flock(self.descriptor, fcntl.LOCK_EX)

    def sync(self) -> None:
        """Make its names durable: a rename is not until its directory is."""
        try:
            os.fsync(self.descriptor)
        except OSError as error:
            # SMB shares have no such thing for directories.
            if error.errno != errno.EINVAL:
                raise

    def entry(self, name: str) -> Entry:
        """A name in it, whether there is anything or not."""
        return Entry(self, name)

    def names(self) -> list[str]:
        """The entries of the directory."""
        return os.listdir(self.descriptor)  # noqa: PTH208 - a descriptor, not a path


@dataclass(frozen=True, slots=True)
class Entry:
    """A name in an open directory. No method follows a link that has this name."""

    directory: Directory
    name: str

    @property
    def path(self) -> Path:
        """For messages, and for links that others follow."""
        return self.directory.path / self.name

    def beside(self, suffix: str) -> Entry:
        """The hidden name for what belongs to this one; a name that would be too long is cut in a way of its own."""
        name = f".{self.name}{suffix}"
        if len(os.fsencode(name)) > _LONGEST_NAME:
            name = f".{hashlib.sha256(os.fsencode(self.name)).hexdigest()[:32]}{suffix}"
        return Entry(self.directory, name)

    def status(self) -> os.stat_result | None:
        """The status of the entry, of a link itself if it is one; None if the name is free."""
        try:
            return os.stat(self.name, dir_fd=self.directory.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def link_text(self) -> str | None:
        """The target of a symbolic link; None for anything else."""
        try:
            return os.readlink(self.name, dir_fd=self.directory.descriptor)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return None

    @contextlib.contextmanager
    def opened(self) -> Iterator[tuple[int, os.stat_result]]:
        """The regular file, open for reading, and its status.

        :raises OSError: if there is no such file.
        """
        # A pipe would be waited for; a device may do anything.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        with self._named():
            descriptor = os.open(self.name, flags, dir_fd=self.directory.descriptor)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "Not a regular file", str(self.path))
            yield descriptor, status
        finally:
            os.close(descriptor)

    def read(self) -> bytes:
        """The content of the regular file.

        :raises OSError: if there is no such file, or it is larger than any of ours.
        """
        with self.opened() as (descriptor, _):
            return read(descriptor, self.path)

    def may_be_linked(self, status: os.stat_result) -> bool:
        """Whether somebody else may have given a file from elsewhere this name (a hard link)."""
        return status.st_nlink != 1 and not self.directory.is_own

    def create(self, content: bytes, mode: int, owner: int | None = None, group: int | None = None) -> None:
        """Make a new file, durably, that nobody else can open before it has its owner and its mode.

        :param owner: a user id; None is the present user. ``group`` likewise.
        :raises FileExistsError: if there is anything.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with self._named():
            descriptor = os.open(self.name, flags, 0o600, dir_fd=self.directory.descriptor)
        with self._named(), open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
            file.write(content)
            file.flush()
            made = os.fstat(descriptor)
            if owner not in (None, made.st_uid) or group not in (None, made.st_gid):
                os.fchown(descriptor, -1 if owner is None else owner, -1 if group is None else group)
            # After the owner, so that nobody gets bits that were meant for another.
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)

    def overwrite(self, content: bytes) -> None:
        """Have other content in a file of ours, in the room that it takes already."""
        with self._named():
            descriptor = os.open(
                self.name, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.directory.descriptor
            )
        with self._named(), open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
            file.write(content)
            file.truncate()
            file.flush()
            os.fsync(descriptor)

    def symlink(self, text: str) -> None:
        """Make a symbolic link."""
        with self._named():
            os.symlink(text, self.name, dir_fd=self.directory.descriptor)

    def link(self, other: Entry) -> None:
        """Give what is there a second name."""
        mine, theirs = self.directory.descriptor, other.directory.descriptor
        with other._named():
            os.link(self.name, other.name, src_dir_fd=mine, dst_dir_fd=theirs, follow_symlinks=False)

    def rename(self, other: Entry) -> None:
        """Give what is there another name, in the place of what had it."""
        mine, theirs = self.directory.descriptor, other.directory.descriptor
        with other._named():
            os.rename(self.name, other.name, src_dir_fd=mine, dst_dir_fd=theirs)

    def unlink(self) -> None:
        """Remove a file or link; without one, nothing happens, not even where nothing may be removed."""
        if self.status() is not None:
            with contextlib.suppress(FileNotFoundError), self._named():
                os.unlink(self.name, dir_fd=self.directory.descriptor)

    @contextlib.contextmanager
    def as_directory(self) -> Iterator[Directory]:
        """The directory of this name, open.

        :raises OSError: if there is no such directory.
        """
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        with self._named():
            descriptor = os.open(self.name, flags, dir_fd=self.directory.descriptor)
        try:
            yield Directory(self.path, descriptor, self.directory.shared)
        finally:
            os.close(descriptor)

    def make_directory(self) -> None:
        """Make an empty directory that others can pass through, whatever the umask is.

        :raises OSError: if there is anything.
        """
        with self._named():
            os.mkdir(self.name, 0o755, dir_fd=self.directory.descriptor)
        self.pass_through()

    def pass_through(self) -> None:
        """Let others through an empty directory of ours.

        :raises OSError: if it is another one, which somebody may have put there since ours was made.
        """
        with self.as_directory() as made:
            status = os.fstat(made.descriptor)
            if status.st_uid != os.geteuid() or made.names():
                raise OSError(errno.EEXIST, "Somebody else has put something there", str(self.path))
            if stat.S_IMODE(status.st_mode) != 0o755:
                os.fchmod(made.descriptor, 0o755)

    def remove_directory(self) -> None:
        """Remove an empty directory; without one, nothing happens."""
        with contextlib.suppress(FileNotFoundError), self._named():
            os.rmdir(self.name, dir_fd=self.directory.descriptor)

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Have errors say the path, where the system says but the name."""
        try:
            yield
        except OSError as error:
            if error.errno is not None:
                error.filename, error.filename2 = str(self.path), None
            raise

    def is_mount_point(self) -> bool:
        """Whether the file is mounted there by itself, so that no rename can replace it."""
        try:
            descriptor = os.open(self.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.directory.descriptor)
        except FileNotFoundError:
            return False
        try:
            return _mount_of(descriptor) != _mount_of(self.directory.descriptor)
        finally:
            os.close(descriptor)

    def is_immutable(self) -> bool:
        """Whether the file system holds the regular file as immutable or append-only, where it knows such a thing."""
        try:
            with self.opened() as (descriptor, _):
                flags = struct.unpack("l", fcntl.ioctl(descriptor, _GET_FLAGS, bytes(struct.calcsize("l"))))[0]
        except OSError:
            return False
        return bool(flags & _IMMUTABLE_OR_APPEND_ONLY)


def is_own(status: os.stat_result) -> bool:
    """Whether nobody but root and the present user can write to a file or directory."""
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & _WRITABLE_BY_OTHERS


def read(descriptor: int, path: Path) -> bytes:
    """The content of an open file of ours.

    :raises OSError: if it is larger than any.
    """
    with open(descriptor, "rb", closefd=False) as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise OSError(errno.EFBIG, "Larger than any certificate or key", str(path))
    return content


def _mount_of(descriptor: int) -> str:
    """The kernel's number of the mount that an open file was reached in; "" without /proc."""
    try:
        lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text(encoding="ascii").splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith("mnt_id:")), "")
