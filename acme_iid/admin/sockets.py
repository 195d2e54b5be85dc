"""The sockets on which operators are answered, made so that no moment is open to others."""

from __future__ import annotations

import errno
import grp
import os
import socket
import stat
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from acme_iid.config.admin_settings import AdminSettings
from acme_iid.errors import ServerError
from acme_iid.protocol.addresses import Listen
from acme_iid.serving import sockets

_MODE = 0o660
_OTHERS = stat.S_IRWXO
_ATTEMPTS = 10
_PAUSE = 0.1


class Listeners:
    """The sockets of one server: those that were handed over, and those that it has made.

    :param settings: the table ``[admin]``.
    :param opened: what the starter of the server has opened.
    :raises ServerError: if one cannot be had, or is open to others.
    """

    def __init__(self, settings: AdminSettings, opened: Sequence[socket.socket]) -> None:
        self.unix = [one for one in opened if one.family == socket.AF_UNIX]
        self.tls = [one for one in opened if one.family != socket.AF_UNIX]
        self._made: tuple[Path, int] | None = None
        if self.unix and settings.socket is None:
            raise ServerError("a unix socket was handed over for operators, and [admin] in ca.toml has no socket")
        if self.tls and settings.listen is None:
            raise ServerError("a TCP socket was handed over for operators, and [admin] in ca.toml has no listen")
        for one in self.unix:
            _require_closed(Path(os.fsdecode(one.getsockname())))
        if settings.listen is not None and not self.tls:
            self.tls = [sockets.bind(settings.listen, shared=False, setting="listen in [admin]")]
        if settings.socket is not None and not self.unix:
            self.unix = [bind(settings.socket, settings.group)]
            self._made = settings.socket, settings.socket.stat().st_ino

    def lines(self) -> list[str]:
        """Where they are, for the log."""
        at = [f"unix:{self._made[0] if self._made is not None else one.getsockname()}" for one in self.unix]
        at += [f"https://{Listen(*one.getsockname()[:2])}" for one in self.tls]
        return [f"Operators are answered at {place}" for place in at]

    def close(self) -> None:
        """Close them here; whoever has been given them has them still."""
        for one in (*self.unix, *self.tls):
            one.close()

    def remove(self) -> None:
        """Remove the file of the socket that was made here, unless another server's is in its place."""
        if self._made is None:
            return
        path, inode = self._made
        with suppress(OSError):
            if path.lstat().st_ino == inode:
                path.unlink()


def bind(path: Path, group: str | None) -> socket.socket:
    """A listening unix socket that its owner, and the members of a group, can open, and nobody else at any time.

    It is made in a folder that nobody else may enter, given to the group there, and then moved to its place. What a
    server that was killed has left there is replaced.

    :raises ServerError: if it cannot be had, or another server has it.
    """
    gid = None if group is None else _gid(group)
    _require_free(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        folder = Path(tempfile.mkdtemp(prefix=".admin-", dir=path.parent))
        try:
            made = folder / "socket"
            _bind_inside(listener, folder, made.name)
            if gid is not None:
                os.chown(made, -1, gid)
            made.chmod(_MODE if gid is not None else _MODE & ~stat.S_IRWXG)
            listener.listen(sockets.BACKLOG)
            made.rename(path)
        finally:
            with suppress(FileNotFoundError):
                (folder / "socket").unlink()
            folder.rmdir()
    except OSError as error:
        listener.close()
        hint = ""
        if error.errno == errno.EPERM:
            hint = f"; the user that the server runs as has to be a member of {group}"
        elif error.errno in (errno.EACCES, errno.ENOENT, errno.EROFS):
            hint = f"; the server's user has to be able to make files in {path.parent}"
        raise ServerError(f"the socket {path} of [admin] cannot be made: {error.strerror}{hint}") from error
    sockets.prepare(listener)
    return listener


def _bind_inside(listener: socket.socket, folder: Path, name: str) -> None:
    """Bind below a folder whose own path may be too long for a socket's."""
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    before = os.umask(0o177)
    try:
        listener.bind(f"/proc/self/fd/{descriptor}/{name}")
    finally:
        os.umask(before)
        os.close(descriptor)


def _gid(group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise ServerError(
            f"this machine has no group {group!r}, which [admin] in ca.toml names; make it, or correct group"
        ) from None


def _require_free(path: Path) -> None:
    """Refuse a place where something is that no server has left."""
    try:
        status = path.lstat()
    except OSError:
        return  # binding says what is wrong
    if not stat.S_ISSOCK(status.st_mode):
        raise ServerError(f"{path}, which [admin] in ca.toml names for its socket, is something else; move it away")
    # Processes of a server that was killed need a moment to end.
    for attempt in range(_ATTEMPTS):
        if not _is_answered(path):
            return
        if attempt < _ATTEMPTS - 1:
            time.sleep(_PAUSE)
    raise ServerError(f"another server answers at {path}; stop it, or give another socket in [admin]")


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.settimeout(1)
        try:
            trial.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
    return True


def _require_closed(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ServerError(f"the socket {path} that was handed over cannot be looked at: {error.strerror}") from error
    if mode & _OTHERS:
        raise ServerError(
            f"everybody on this machine can open the socket {path} that was handed over; its unit needs "
            f"SocketMode=0660 and SocketGroup=, and has mode {stat.S_IMODE(mode):04o}"
        )
