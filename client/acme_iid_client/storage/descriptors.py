"""Directories, opened so that nothing is reached through a link that somebody else may have put there.

Root runs this client for services whose users own the directories. A path is only text: between a look at it and its
use, whoever may write to one of its directories can put a link there, and what root writes then lands elsewhere. So a
path is walked once, a directory at a time, each opened in the one before it (``openat``, ``O_NOFOLLOW``). What follows
is done to names in the directory that was reached, by its descriptor, whatever becomes of the path meanwhile; and what
a new file is to be (its owner, its mode) is settled on the file's own descriptor.

A link on the way is followed if nobody but root and the present user can have put it there: it is theirs, in a
directory that they alone can write to, and so are those that lead to it. The links of the system, such as those below
/etc/ssl, are such; one in the directory of a service's user is not.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from acme_iid_client.errors import ClientError
from acme_iid_client.storage.entries import Directory, Entry, is_own, read

_MAX_LINKS = 40


@contextlib.contextmanager
def open_directory(path: Path, make: int | None = None) -> Iterator[Directory]:
    """A directory, open until the block ends.

    :param make: the mode with which it is made if it is missing; its missing parents are made for the present user.
    :raises ClientError: if somebody else may have put a link on the way.
    :raises OSError: if it cannot be opened.
    """
    reached = _walk(path.absolute(), make=make)
    try:
        # The walk's own descriptor serves no more than to pass on.
        descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=reached.descriptor)
    finally:
        os.close(reached.descriptor)
    try:
        yield Directory(reached.path, descriptor, reached.shared)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def open_entry(path: Path, stays: Callable[[str], bool] = lambda _: False) -> Iterator[Entry]:
    """The place that a path leads to, in its directory, which is open until the block ends.

    :param stays: whether a link with this text is the place itself, and not followed.
    :raises ClientError: if somebody else may have put a link on the way, or links lead in a circle.
    :raises OSError: if a directory cannot be opened.
    """
    path = path.absolute()
    for _ in range(_MAX_LINKS):
        with open_directory(path.parent) as directory:
            entry = directory.entry(path.name)
            text = entry.link_text()
            if text is None or stays(text):
                yield entry
                return
            _require_own_link(directory, entry.status(), entry.path)
            path = directory.path / text
    raise ClientError(f"{path} is a symbolic link that leads nowhere.")


def _walk(path: Path, make: int | None) -> Directory:
    """Reach a directory, opened to pass on from it only; the caller closes it."""
    links, todo = 0, list(reversed(path.parts[1:]))
    with contextlib.ExitStack() as opened:
        here = _root(opened)
        while todo:
            name = todo.pop()
            if name == "..":
                # From the top again, so that what is known of the parents holds.
                todo += reversed(here.path.parent.parts[1:])
                here = _root(opened)
                continue
            child = _step(here, name, make if not todo else 0o700, missing=make is not None)
            opened.callback(os.close, child)
            status = os.fstat(child)
            if stat.S_ISLNK(status.st_mode):
                _require_own_link(here, status, here.path / name)
                links += 1
                if links > _MAX_LINKS:
                    raise ClientError(f"{path} is a symbolic link that leads nowhere.")
                text = os.readlink("", dir_fd=child)
                todo += reversed([part for part in Path(text).parts if part != "/"])
                here = _root(opened) if text.startswith("/") else here
                continue
            if not stat.S_ISDIR(status.st_mode):
                raise NotADirectoryError(errno.ENOTDIR, "Not a directory", str(here.path / name))
            here = Directory(here.path / name, child, may_be_replaced(here, status))
        return Directory(here.path, os.dup(here.descriptor), here.shared)


def _root(opened: contextlib.ExitStack) -> Directory:
    descriptor = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    opened.callback(os.close, descriptor)
    return Directory(Path("/"), descriptor, shared=False)


def _step(here: Directory, name: str, mode: int | None, *, missing: bool) -> int:
    """The entry of a name in a directory, opened to look at it and to pass on; made if it is missing and may be."""
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        # Asked for as a directory, so that one which is mounted when it is used is mounted.
        return os.open(name, flags | os.O_DIRECTORY, dir_fd=here.descriptor)
    except NotADirectoryError:
        return os.open(name, flags, dir_fd=here.descriptor)
    except OSError as error:
        if not (missing and isinstance(error, FileNotFoundError)):
            # The name alone says too little.
            error.filename = str(here.path / name)
            raise
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700 if mode is None else mode, dir_fd=here.descriptor)
    return os.open(name, flags, dir_fd=here.descriptor)


def may_be_replaced(directory: Directory, status: os.stat_result) -> bool:
    """Whether somebody else can put another file or directory in the place of one.

    :param directory: the directory that it is in.
    :param status: its status.
    """
    if directory.shared:
        return True
    parent, owners = os.fstat(directory.descriptor), (0, os.geteuid())
    if is_own(parent):
        return False
    # In a directory such as /tmp each may rename and remove their own.
    return not (parent.st_mode & stat.S_ISVTX and parent.st_uid in owners and status.st_uid in owners)


def read_secret(path: Path, what: str) -> bytes:
    """The content of a file that a person, the service manager or a container's secrets keep for this program alone.

    Those of a container are reached through links, and those of systemd and of Kubernetes are root's, for a group to
    read: who is in it was root's choice.

    :param what: the name of the file in error messages.
    :raises ClientError: if others can read it.
    :raises OSError: if it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        mode = stat.S_IMODE(status.st_mode)
        if mode & (0o037 if status.st_uid == 0 else 0o077):
            raise ClientError(
                f"{what} has the mode {mode:04o}, so that others can use it. Make it yours alone: chmod 600 {path}"
            )
        return read(descriptor, path)
    finally:
        os.close(descriptor)


def _require_own_link(directory: Directory, status: os.stat_result | None, path: Path) -> None:
    """See that nobody else can have put a link there.

    :raises ClientError: if somebody can.
    """
    if status is not None and status.st_uid in (0, os.geteuid()) and directory.is_own:
        return
    raise ClientError(
        f"{path} is a symbolic link that another user of this machine may have put there, so it is not followed. Give "
        f"the path of the file itself, or remove the link; links count where only root{_and_present_user()} can write."
    )


def _and_present_user() -> str:
    return "" if os.geteuid() == 0 else " and the present user"
