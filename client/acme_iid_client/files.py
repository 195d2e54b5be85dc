"""A key and its certificate, put in place together.

Two names in a file system cannot be changed in one step, so this is the order, and why:

1. Both new files are written under temporary names beside their targets and made durable. Until here
   nothing that is in use has been touched, and a full disk or a crash leaves the old pair.
2. The key is renamed onto its target, then the certificate, with nothing in between, and the
   directories are made durable.

If the machine or the process dies between the two renames, one temporary file is left, and what it
holds tells what happened: it belongs together with the file that *was* renamed, because the key of
every issuance is new. :func:`recover`, with which every command on a pair begins, then carries out the missing rename.
In every other case a temporary file belongs to an installation that had not touched the pair,
and is removed. So a pair from two issuances lasts for the instant between two system calls, or, after a
crash right there, until the next command on the pair; and no key that a certificate needs is ever lost.

There is no lock file: the directories themselves are locked for the time of an installation.
"""

from __future__ import annotations

import contextlib
import fcntl
import grp
import os
import pwd
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from acme_iid_client import keys
from acme_iid_client.certificates import load_certificates
from acme_iid_client.errors import ClientError
from acme_iid_client.places import sync_directory

_SUFFIX = ".acme-iid-new"
_OLD = ".acme-iid-old"


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
    found = Pair(certificate.resolve(), key.resolve())
    if found.certificate == found.key:
        raise ClientError("The certificate and the key need a file each.")
    for path in (found.certificate, found.key):
        if path.exists() and not path.is_file():
            raise ClientError(f"{path} is not a regular file.")
        if not path.parent.is_dir():
            raise ClientError(f"The directory {path.parent} does not exist.")
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise ClientError(f"No file can be written to {path.parent}: it does not permit it.")
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
        gid = None if group is None else int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise ClientError(f"This machine has no user or group called {owner if group is None else group}.") from error
    return Permissions(bits, uid, gid)


def install(where: Pair, certificate: bytes, key: bytes, permissions: Permissions) -> None:
    """Put a new key and its certificate in place.

    :param certificate: leaf and intermediates, PEM.
    :param key: PEM.
    :raises OSError: if they cannot be written; the old pair is in use then.
    """
    with _locked(where):
        _recover(where)
        temporary = Pair(_temporary(where.certificate), _temporary(where.key))
        try:
            _write(temporary.key, key, where.key, permissions, ~0o007)
            _write(temporary.certificate, certificate, where.certificate, permissions, ~0)
            _keep_old(where.key)
            _sync(where)
            temporary.key.replace(where.key)
            temporary.certificate.replace(where.certificate)
        except BaseException:
            # The second rename can be refused: the certificate may be immutable (chattr +i) where the key is not.
            if temporary.certificate.exists() and not temporary.key.exists() and _backup(where.key).exists():
                _backup(where.key).replace(where.key)
            _recover(where)
            raise
        _backup(where.key).unlink(missing_ok=True)
        _sync(where)


def recover(where: Pair) -> None:
    """Finish or undo an installation that was cut off; without one, nothing happens."""
    if any(path.exists() for path in (_temporary(where.certificate), _temporary(where.key), _backup(where.key))):
        with _locked(where):
            _recover(where)


def _recover(where: Pair) -> None:
    temporary = Pair(_temporary(where.certificate), _temporary(where.key))
    certificate, key = temporary.certificate.exists(), temporary.key.exists()
    if certificate and not key and belong_together(temporary.certificate, where.key):
        temporary.certificate.replace(where.certificate)
    elif key and not certificate and belong_together(where.certificate, temporary.key):
        # The two renames may become durable in the other order when the power fails.
        temporary.key.replace(where.key)
    else:
        temporary.certificate.unlink(missing_ok=True)
        temporary.key.unlink(missing_ok=True)
    _backup(where.key).unlink(missing_ok=True)
    _sync(where)


def belong_together(certificate: Path, key: Path) -> bool:
    """Whether both files are whole and the certificate is for the key."""
    try:
        leaf = load_certificates(certificate.read_bytes())[0]
        private = keys.load(key.read_bytes(), str(key))
        return keys.spki(leaf.public_key()) == keys.spki(private.public_key())
    except (OSError, ClientError, ValueError, TypeError):
        return False


def _temporary(target: Path) -> Path:
    return target.with_name(f".{target.name}{_SUFFIX}")


def _backup(key: Path) -> Path:
    return key.with_name(f".{key.name}{_OLD}")


def _keep_old(key: Path) -> None:
    """Give the key in use a second name, under which it can be put back."""
    # Not every file system has hard links; without one, a refused rename is left to recover(). The first time there
    # is no key to keep.
    with contextlib.suppress(OSError):
        _backup(key).hardlink_to(key)


def _write(path: Path, content: bytes, target: Path, permissions: Permissions, mask: int) -> None:
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
