"""The certificates of this machine as they are: those that were ordered on it, or those in files and directories.

A record says where a pair of files is and which CA it comes from (:mod:`acme_iid_client.storage.records`); everything
else is read out of the files, which are what counts.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509

from acme_iid_client.errors import ClientError
from acme_iid_client.renewal.schedule import planned_at
from acme_iid_client.storage import directories, records
from acme_iid_client.x509 import keys
from acme_iid_client.x509.certificates import fingerprint, load_certificates

MAX_FILE_BYTES = 1024 * 1024
"""The largest file that is looked into for a certificate."""

_SUFFIXES = frozenset({".crt", ".pem", ".cer", ".cert", ".der"})


@dataclass(frozen=True, slots=True)
class CertificateState:
    """A certificate of this machine, as it is.

    :ivar certificate: its file.
    :ivar key: its key's file; None if it is not known.
    :ivar ca_url: where it was ordered; None if that is not known.
    :ivar leaf: the certificate; None if it cannot be read.
    :ivar status: a word for people and scripts: valid, due, expired, early (valid only later), revoked, mismatched
        (the key is another certificate's), missing or unreadable (the certificate, or the key beside it).
    :ivar command: the command that is run when it is new; None if it has none of its own.
    """

    certificate: Path
    key: Path | None
    ca_url: str | None
    leaf: x509.Certificate | None
    status: str
    command: str | None = None


def ordered(state: Path, now: datetime, complain: Callable[[str], None]) -> list[CertificateState]:
    """The certificates that were ordered on this machine, by their paths.

    :param complain: called with a sentence about each record that cannot be read.
    """
    return [_look(state, record.certificate, record, now) for record in records.all_of(state, complain)]


def in_paths(state: Path, paths: tuple[Path, ...], now: datetime) -> list[CertificateState]:
    """The certificates in files and directories; what else is in a directory is passed over, and so are CAs'.

    A directory that cannot be read is listed itself.
    """
    files: list[Path] = []
    for path in paths:
        try:
            files += _leaves_in(path) if path.is_dir() else [path]
        except OSError:
            files.append(path)
    return [_look(state, file.absolute(), _record(state, file), now) for file in files]


def note_revoked(state: Path, leaf: x509.Certificate) -> None:
    """Keep that a certificate has been revoked from here."""
    file = _revoked(state, leaf)
    directories.make_directory(file.parent)
    directories.write_file(file, b"")


def revocations(state: Path) -> Path:
    """The directory with a file for each certificate that was revoked from here."""
    return state / "revoked"


def is_revoked(state: Path, certificate: Path) -> bool:
    """Whether the certificate in a file has been revoked from here."""
    try:
        return _revoked(state, _leaf(certificate)).exists()
    except (OSError, ClientError):
        return False


def _revoked(state: Path, leaf: x509.Certificate) -> Path:
    return revocations(state) / fingerprint(leaf)


def _record(state: Path, certificate: Path) -> records.Record | None:
    try:
        return records.find(state, certificate)
    except (OSError, ClientError):
        return None


def _look(state: Path, certificate: Path, record: records.Record | None, now: datetime) -> CertificateState:
    """Read the certificate at a place, and say how it is."""
    if record is None:
        return CertificateState(certificate, None, None, *_read(state, certificate, None, now))
    found = _read(state, certificate, record.key, now)
    return CertificateState(certificate, record.key, record.ca_url, *found, record.command)


def _read(state: Path, certificate: Path, key: Path | None, now: datetime) -> tuple[x509.Certificate | None, str]:
    """The certificate, and its status."""
    try:
        leaf = _leaf(certificate)
    except FileNotFoundError:
        return None, "missing"
    except (OSError, ClientError):
        return None, "unreadable"
    if _revoked(state, leaf).exists():
        return leaf, "revoked"
    if now < leaf.not_valid_after_utc and key is not None:
        try:
            public = keys.load(key.read_bytes(), str(key)).public_key()
        except (OSError, ClientError):
            return leaf, "unreadable"
        if keys.spki(public) != keys.spki(leaf.public_key()):
            return leaf, "mismatched"
    return leaf, _by_time(leaf, now)


def _by_time(leaf: x509.Certificate, now: datetime) -> str:
    if now >= leaf.not_valid_after_utc:
        return "expired"
    if now < leaf.not_valid_before_utc:
        return "early"
    return "due" if now >= planned_at(leaf) else "valid"


def _leaf(file: Path) -> x509.Certificate:
    # A pipe in its place would be waited for.
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with open(descriptor, "rb") as stream:  # noqa: PTH123 - a descriptor, not a path
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ClientError(f"{file} is not a regular file.")
        if status.st_size > MAX_FILE_BYTES:
            raise ClientError(f"{file} is larger than any certificate.")
        return load_certificates(stream.read(MAX_FILE_BYTES))[0]


def _leaves_in(directory: Path) -> list[Path]:
    return [file for file in sorted(directory.iterdir()) if file.suffix in _SUFFIXES and _holds_a_leaf(file)]


def _holds_a_leaf(file: Path) -> bool:
    try:
        if not file.is_file():
            return False
        constraints = _leaf(file).extensions.get_extension_for_class(x509.BasicConstraints).value
    except (OSError, ClientError, ValueError):
        return False
    except x509.ExtensionNotFound:
        return True
    return not constraints.ca
