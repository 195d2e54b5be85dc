"""A key and its certificate on the disk: which files, whose, and how new ones are put in place.

A renewal keeps the key, so that one rename replaces the certificate and there is no moment at which the two
files do not belong together. Where the key changes as well, :mod:`acme_iid_client.switch` replaces both in one step.

There is no lock file: the directories themselves are locked for the time of an installation.
"""

from __future__ import annotations

import contextlib
import fcntl
import grp
import os
import pwd
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from acme_iid_client import keys, switch
from acme_iid_client.certificates import load_certificates
from acme_iid_client.errors import ClientError
from acme_iid_client.places import sync_directory

_NO_BITS_FOR_OTHERS = ~0o007
_MAX_LINKS = 40
_GRACE = 0.25
"""Seconds that a program may take to open a file whose name led through links, before they are removed."""


@dataclass(frozen=True, slots=True)
class Permissions:
    """Whose the files will be; None is what the file at the place has, or else 0600 and the present user.

    :ivar mode: the permission bits of both files; those for others are left off the key.
    :ivar owner: a user id.
    :ivar group: a group id.
    """

    mode: int | None = None
    owner: int | None = None
    group: int | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """Where a certificate and its key live. Made with :func:`pair`."""

    certificate: Path
    key: Path

    @property
    def existing(self) -> list[Path]:
        """Those of the two files that exist."""
        return [path for path in (self.certificate, self.key) if path.exists()]


def pair(certificate: Path, key: Path) -> Pair:
    """Check that a key and a certificate can be put there, and follow symbolic links to where the files really are.

    :raises ClientError: if they cannot.
    """
    found = Pair(place(certificate), place(key))
    if found.certificate == found.key:
        raise ClientError("The certificate and the key need a file each.")
    return found


def place(path: Path) -> Path:
    """Where a file really is, or will be; a link of an installation that was cut off is not followed.

    :raises ClientError: if no file can be put there.
    """
    found = path
    for _ in range(_MAX_LINKS):
        found = found.parent.resolve() / found.name
        if not found.is_symlink() or switch.is_link(found):
            break
        found = found.parent / found.readlink()
    else:
        raise ClientError(f"{path} is a symbolic link that leads nowhere.")
    if found.exists() and not found.is_file():
        raise ClientError(f"{found} is not a regular file.")
    if not found.parent.is_dir():
        raise ClientError(f"The directory {found.parent} does not exist.")
    if not os.access(found.parent, os.W_OK | os.X_OK):
        raise ClientError(f"No file can be written to {found.parent}: it does not permit it.")
    return found


def parse_permissions(mode: str | None, owner: str | None, group: str | None) -> Permissions:
    """The permissions that ``--mode``, ``--owner`` and ``--group`` ask for.

    :param mode: octal digits.
    :param owner: a user's name or number.
    :param group: a group's name or number.
    :raises ClientError: if the mode is none, or nobody has that name.
    """
    bits = None
    if mode is not None:
        try:
            bits = int(mode, 8)
        except ValueError:
            bits = -1
        if not 0o400 <= bits <= 0o777 or not bits & 0o400:
            raise ClientError(f"--mode {mode} is no mode with which the owner can read the files, as 0640 is.")
    try:
        uid = None if owner is None else int(owner) if owner.isdigit() else pwd.getpwnam(owner).pw_uid
    except KeyError as error:
        raise ClientError(f"This machine has no user called {owner}.") from error
    try:
        gid = None if group is None else int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise ClientError(f"This machine has no group called {group}.") from error
    return Permissions(bits, uid, gid)


def install(where: Pair, certificate: bytes, key: bytes, permissions: Permissions) -> None:
    """Put a new key and its certificate in place, both in one step.

    :param certificate: leaf and intermediates, PEM.
    :param key: PEM.
    :raises OSError: if they cannot be written; the old pair is in use then.
    """
    with _locked(where):
        _recover(where)
        try:
            _write(switch.new(where.key), key, where.key, permissions, _NO_BITS_FOR_OTHERS)
            _write(switch.new(where.certificate), certificate, where.certificate, permissions)
            for target in where.existing:
                _write(switch.old(target), target.read_bytes(), target, Permissions())
            switch.make(where.certificate, where.key)
            switch.settle(where.certificate, where.key)
            _sync(where)
            # Who was on the way through the links gets there before they go.
            time.sleep(_GRACE)
        finally:
            # What makes good an installation that was cut off is also how one ends.
            _recover(where)


def install_certificate(where: Pair, certificate: bytes, permissions: Permissions) -> None:
    """Put a new certificate for the key that is there in place.

    :param certificate: leaf and intermediates, PEM.
    :raises ClientError: if the key has become another one meanwhile; the old pair is in use then.
    :raises OSError: if it cannot be written; the old pair is in use then.
    """
    with _locked(where):
        _recover(where)
        new = switch.new(where.certificate)
        try:
            _write(new, certificate, where.certificate, permissions)
            if not belong_together(new, where.key):
                raise ClientError(f"{where.key} has become another key meanwhile, so nothing was changed.")
            _permit(where.key, permissions)
            new.replace(where.certificate)
        finally:
            _recover(where)


def install_file(path: Path, content: bytes, permissions: Permissions, *, private: bool = True) -> None:
    """Put one file in place whole or not at all.

    :param path: as :func:`place` returns it.
    :param private: whether others get no bits, as for a key.
    :raises OSError: if it cannot be written; what stood there before still does.
    """
    with _locked(Pair(path, path)):
        new = switch.new(path)
        new.unlink(missing_ok=True)
        try:
            _write(new, content, path, permissions, _NO_BITS_FOR_OTHERS if private else ~0)
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)
        sync_directory(path.parent)


def recover(where: Pair) -> None:
    """Finish or undo an installation that was cut off; without one, nothing happens."""
    if switch.is_left(where.certificate, where.key):
        with _locked(where):
            _recover(where)


def _recover(where: Pair) -> None:
    switch.settle(where.certificate, where.key)
    _sync(where)
    switch.clear(where.certificate, where.key)
    _sync(where)


def belong_together(certificate: Path, key: Path) -> bool:
    """Whether both files are whole and the certificate is for the key."""
    try:
        leaf = load_certificates(certificate.read_bytes())[0]
        private = keys.load(key.read_bytes(), str(key))
        return keys.spki(leaf.public_key()) == keys.spki(private.public_key())
    except (OSError, ClientError, ValueError, TypeError):
        return False


def _write(path: Path, content: bytes, target: Path, permissions: Permissions, mask: int = ~0) -> None:
    """Write and sync a temporary file that has the permissions which the target is to have."""
    mode, owner, group = permissions.mode, permissions.owner, permissions.group
    with contextlib.suppress(FileNotFoundError):
        before = target.stat()
        mode = stat.S_IMODE(before.st_mode) & 0o777 if mode is None else mode
        owner = before.st_uid if owner is None else owner
        group = before.st_gid if group is None else group
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
        file.write(content)
        file.flush()
        made = os.fstat(descriptor)
        if owner not in (None, made.st_uid) or group not in (None, made.st_gid):
            os.fchown(descriptor, -1 if owner is None else owner, -1 if group is None else group)
        # After the owner, so that nobody gets bits that were meant for another.
        os.fchmod(descriptor, (0o600 if mode is None else mode) & mask)
        os.fsync(descriptor)


def _permit(key: Path, permissions: Permissions) -> None:
    """Give a key that stays what it is the permissions that are asked for."""
    if permissions.owner is not None or permissions.group is not None:
        os.chown(
            key,
            -1 if permissions.owner is None else permissions.owner,
            -1 if permissions.group is None else permissions.group,
        )
    if permissions.mode is not None:
        key.chmod(permissions.mode & _NO_BITS_FOR_OTHERS)


def _sync(where: Pair) -> None:
    for directory in {where.certificate.parent, where.key.parent}:
        sync_directory(directory)


@contextlib.contextmanager
def _locked(where: Pair) -> Iterator[None]:
    """Hold the directories of a pair, always in the same order, so that two processes do not wait for each other."""
    with contextlib.ExitStack() as stack:
        for directory in sorted({where.certificate.parent, where.key.parent}):
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
