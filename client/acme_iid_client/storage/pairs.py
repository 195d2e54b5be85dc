"""A key and its certificate on the disk: which files, whose, and how new ones are put in place.

A renewal keeps the key, so that one rename replaces the certificate and there is no moment at which the two
files do not belong together. Where the key changes as well, :mod:`acme_iid_client.storage.switch` replaces both in one
step.

There is no lock file: the directories themselves are locked for the time of an installation. They are opened as
:mod:`acme_iid_client.storage.descriptors` has it, so that no link of somebody else's leads what root writes elsewhere.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from acme_iid_client.errors import ClientError
from acme_iid_client.storage import descriptors, entries, switch
from acme_iid_client.storage.entries import Directory, Entry
from acme_iid_client.x509 import keys
from acme_iid_client.x509.certificates import load_certificates

_NO_BITS_FOR_OTHERS = ~0o007
_ROOM = 32 * 1024
"""Octets that are tried for each file: more than any key or chain takes."""
_GRACE = 0.25
"""Seconds that a program may take to open a file whose name led through links, before they are removed."""


@dataclass(frozen=True, slots=True)
class Permissions:
    """Owner and mode of the files; None is what the present file has, or else 0600 and the present user.

    :ivar mode: the permission bits of both files; those for others are left off the key.
    :ivar owner: a user id.
    :ivar group: a group id.
    """

    mode: int | None = None
    owner: int | None = None
    group: int | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """The files of a certificate and its key. Made with :func:`pair`."""

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
    files = Pair(target_of(certificate), target_of(key))
    if files.certificate == files.key:
        raise ClientError("The certificate and the key need a file each.")
    return files


def target_of(path: Path) -> Path:
    """The path at which a file really is, or will be; a link of an installation that was cut off is not followed.

    :raises ClientError: if no file can be put there, or somebody else may have put a link on the way.
    """
    with _entry(path) as entry:
        target, status = entry.path, entry.status()
        if status is not None and not (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)):
            raise ClientError(f"{target} is not a regular file.")
        if not os.access(".", os.W_OK | os.X_OK, dir_fd=entry.directory.descriptor):
            raise ClientError(f"No file can be written to {target.parent}: it does not permit it.")
        return target


def read(path: Path, *, to_copy: bool = False) -> bytes:
    """The content of a file of a pair.

    :param to_copy: whether it goes into another file, which others may read.
    :raises ClientError: if somebody else may have put a link on the way.
    :raises OSError: if it cannot be read.
    """
    with _entry(path) as entry, entry.opened() as (descriptor, status):
        if to_copy:
            _require_one_name(entry, status)
        return entries.read(descriptor, path)


@contextlib.contextmanager
def _entry(path: Path) -> Iterator[Entry]:
    """The name of a file in its open directory.

    :raises ClientError: if there is no such directory.
    """
    with contextlib.ExitStack() as stack:
        try:
            entry = stack.enter_context(descriptors.open_entry(path, switch.is_link))
        except FileNotFoundError as error:
            raise ClientError(f"The directory {error.filename} does not exist.") from error
        yield entry


def parse_permissions(mode: str | None, owner: str | None, group: str | None) -> Permissions:
    """The permissions that ``--mode``, ``--owner`` and ``--group`` ask for.

    :param mode: octal digits.
    :param owner: a user's name or number.
    :param group: a group's name or number.
    :raises ClientError: if the mode is not one, or no user or group has that name.
    """
    bits = None
    if mode is not None:
        try:
            bits = int(mode, 8)
        except ValueError:
            bits = -1
        if not 0o400 <= bits <= 0o777:
            raise ClientError(f"--mode {mode} is not a mode with which the owner can read the files, as 0640 is.")
    try:
        uid = None if owner is None else int(owner) if owner.isdigit() else pwd.getpwnam(owner).pw_uid
    except KeyError as error:
        raise ClientError(f"This machine has no user called {owner}.") from error
    try:
        gid = None if group is None else int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise ClientError(f"This machine has no group called {group}.") from error
    return Permissions(bits, uid, gid)


def rehearse(where: Pair, permissions: Permissions, *, key_stays: bool = False) -> None:
    """Do beside the files of a pair what an installation will do, and undo it: before anything is ordered.

    :param where: the same path twice for one file.
    :param key_stays: whether the key's file stays what it is.
    :raises ClientError: saying what stands in the way.
    """
    paths = {where.certificate} if key_stays else {where.certificate, where.key}
    try:
        with _locked(where) as pair:
            _recover_what_is_left(*pair)
            targets = [entry for entry in dict.fromkeys(pair) if entry.path in paths]
            try:
                for target in targets:
                    _require_replaceable(target)
                    # The present file is kept beside the new one for a while.
                    before = target.status()
                    size = _ROOM + (0 if before is None else before.st_size)
                    _write(switch.trial(target), b"\0" * size, target, permissions)
                for target in targets:
                    switch.trial(target).rename(switch.new(target))
            finally:
                for target in targets:
                    switch.trial(target).unlink()
                    switch.new(target).unlink()
            if key_stays and permissions != Permissions():
                with pair[1].opened() as (_, status):
                    _require_one_name(pair[1], status)
    except OSError as error:
        raise ClientError(
            f"{error.filename or where.certificate} cannot be put in place ({error.strerror}), so nothing was ordered."
        ) from error


def _require_replaceable(target: Entry) -> None:
    """See that a rename can replace what is there.

    :raises ClientError: if it cannot.
    """
    if target.is_mount_point():
        raise ClientError(
            f"{target.path} is mounted by itself, as 'docker run -v FILE:FILE' does it. No new file can take "
            "its place, so nothing was ordered. Mount its directory instead."
        )
    status, parent = target.status(), os.fstat(target.directory.descriptor)
    if status is None:
        return
    if parent.st_mode & stat.S_ISVTX and os.geteuid() not in (0, parent.st_uid, status.st_uid):
        raise ClientError(
            f"{target.path} belongs to another user, in a directory where users can replace their own files "
            "only, so nothing was ordered."
        )
    if target.is_immutable():
        raise ClientError(
            f"{target.path} is immutable or append-only (lsattr shows it), so nothing was ordered: chattr -i -a FILE"
        )


def install(where: Pair, certificate: bytes, key: bytes, permissions: Permissions) -> None:
    """Put a new key and its certificate in place: both in one step, or in two where there are no links.

    :param certificate: leaf and intermediates, PEM.
    :param key: PEM.
    :raises OSError: if they cannot be written; the old pair is in use then.
    """
    with _locked(where) as (crt, private):
        _recover_what_is_left(crt, private)
        try:
            _write(switch.new(private), key, private, permissions, _NO_BITS_FOR_OTHERS)
            _write(switch.new(crt), certificate, crt, permissions)
            for target in (crt, private):
                if target.status() is not None:
                    _write(switch.old(target), target.read(), target, Permissions())
            if switch.has_links(crt, private):
                switch.replace_pair(crt, private)
                switch.finish_replacement(crt, private)
                _sync(crt, private)
                # A program on its way through the links gets there before they go.
                time.sleep(_GRACE)
            else:
                switch.replace_pair_in_two_steps(crt, private)
        finally:
            # An installation ends by the same steps that make good one that was cut off.
            _recover(crt, private)


def install_certificate(where: Pair, certificate: bytes, permissions: Permissions) -> None:
    """Put a new certificate for the key that is there in place.

    :param certificate: leaf and intermediates, PEM.
    :raises ClientError: if the key has become another one meanwhile; the old pair is in use then.
    :raises OSError: if it cannot be written; the old pair is in use then.
    """
    with _locked(where) as (crt, private):
        _recover_what_is_left(crt, private)
        try:
            _write(switch.new(crt), certificate, crt, permissions)
            with private.opened() as (descriptor, status):
                if not match(certificate, entries.read(descriptor, where.key)):
                    raise ClientError(f"{where.key} was replaced by another key meanwhile, so nothing was changed.")
                _permit(private, descriptor, status, permissions)
            switch.new(crt).rename(crt)
        finally:
            _recover(crt, private)


def install_file(path: Path, content: bytes, permissions: Permissions, *, private: bool = True) -> None:
    """Put one file in place whole or not at all.

    :param path: as :func:`place` returns it.
    :param private: whether others get no bits, as for a key.
    :raises OSError: if it cannot be written; what stood there before still does.
    """
    with _locked(Pair(path, path)) as (target, _):
        new = switch.new(target)
        new.unlink()
        try:
            _write(new, content, target, permissions, _NO_BITS_FOR_OTHERS if private else ~0)
            new.rename(target)
        finally:
            new.unlink()
        target.directory.sync()


def recover(where: Pair) -> None:
    """Finish or undo an installation that was cut off; without one, nothing happens.

    :raises ClientError: if somebody else may have put a link on the way.
    """
    with _opened(where) as (crt, private):
        left = switch.is_left(crt, private)
    if left:
        with _locked(where) as (crt, private):
            _recover_what_is_left(crt, private)


def _recover_what_is_left(crt: Entry, private: Entry) -> None:
    if switch.is_left(crt, private):
        _recover(crt, private)


def _recover(crt: Entry, private: Entry) -> None:
    switch.finish_replacement(crt, private)
    _sync(crt, private)
    switch.clear(crt, private)
    _sync(crt, private)


def belong_together(certificate: Path, key: Path) -> bool:
    """Whether both files are whole and the certificate is for the key."""
    try:
        return match(read(certificate), read(key))
    except (OSError, ClientError):
        return False


def match(certificate: bytes, key: bytes) -> bool:
    """Whether what is in a certificate's file is for what is in a key's."""
    try:
        leaf = load_certificates(certificate)[0]
        private = keys.load(key, "the key")
        return keys.spki(leaf.public_key()) == keys.spki(private.public_key())
    except (ClientError, ValueError, TypeError):
        return False


def _write(entry: Entry, content: bytes, target: Entry, permissions: Permissions, mask: int = ~0) -> None:
    """Write and sync a temporary file that has the permissions which the target is to have."""
    mode, owner, group = permissions.mode, permissions.owner, permissions.group
    before = target.status()
    if before is not None and stat.S_ISREG(before.st_mode):
        mode = stat.S_IMODE(before.st_mode) & 0o777 if mode is None else mode
        owner = before.st_uid if owner is None else owner
        group = before.st_gid if group is None else group
    entry.create(content, (0o600 if mode is None else mode) & mask, owner, group)


def _permit(key: Entry, descriptor: int, status: os.stat_result, permissions: Permissions) -> None:
    """Give a key that stays what it is, and is open, the permissions that are asked for."""
    if permissions == Permissions():
        return
    _require_one_name(key, status)
    owner, group = permissions.owner, permissions.group
    if owner is not None or group is not None:
        os.fchown(descriptor, -1 if owner is None else owner, -1 if group is None else group)
    if permissions.mode is not None:
        os.fchmod(descriptor, permissions.mode & _NO_BITS_FOR_OTHERS)


def _require_one_name(entry: Entry, status: os.stat_result) -> None:
    """See that a file is no other one, to which somebody else has given this name as well.

    :raises ClientError: if it may be.
    """
    if entry.may_be_linked(status):
        raise ClientError(
            f"{entry.path} is one file under several names, and another user may have made this one: it stays as it is."
        )


def _sync(*targets: Entry) -> None:
    for directory in {target.directory for target in targets}:
        directory.sync()


@contextlib.contextmanager
def _opened(where: Pair) -> Iterator[tuple[Entry, Entry]]:
    """The names of a pair in their open directories; those in one directory have it in common."""
    with contextlib.ExitStack() as stack:
        opened: dict[tuple[int, int], Directory] = {}
        names = []
        for path in (where.certificate, where.key):
            entry = stack.enter_context(_entry(path))
            directory = opened.setdefault(entry.directory.identity, entry.directory)
            names.append(directory.entry(entry.name))
        yield names[0], names[1]


@contextlib.contextmanager
def _locked(where: Pair) -> Iterator[tuple[Entry, Entry]]:
    """The same, held always in the same order, so that two processes do not wait for each other."""
    with _opened(where) as names:
        for directory in sorted({entry.directory for entry in names}, key=lambda held: held.identity):
            directory.lock()
        yield names
