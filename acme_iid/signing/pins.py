"""A token's PIN, in a file or a systemd credential; it is read by the process that opens the token, and by no other."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from acme_iid.errors import SignerError

MAX_PIN_BYTES = 255
"""The longest PIN."""

Stamp = tuple[int, int, int]
"""Tells one state of a PIN's file from another."""


def read(source: str) -> tuple[str, Stamp]:
    """Return the first line of a PIN's file, and the stamp of that state of the file.

    :param source: as in :class:`acme_iid.signing.places.TokenPlace`.
    :raises SignerError: if it cannot be read, is open to other users, or holds no PIN.
    """
    path = _path(source)
    try:
        with path.open("rb") as stream:
            facts = os.fstat(stream.fileno())
            line = stream.readline(MAX_PIN_BYTES + 3)
    except OSError as error:
        raise SignerError(f"the PIN's file {path} cannot be read: {error.strerror}") from error
    # systemd hands a credential over in a folder of the service's own, with an ACL that a mode cannot tell.
    if source.startswith("file:") and (stat.S_IMODE(facts.st_mode) & 0o077 or facts.st_uid not in {0, os.geteuid()}):
        raise SignerError(
            f"the PIN's file {path} is open to other users (mode {stat.S_IMODE(facts.st_mode):04o}); "
            f"make it private with: chmod 600 '{path}'"
        )
    pin = line.rstrip(b"\r\n")
    if not 0 < len(pin) <= MAX_PIN_BYTES:
        raise SignerError(f"the PIN's file {path} has no PIN of at most {MAX_PIN_BYTES} bytes in its first line")
    try:
        return pin.decode(), _stamp(facts)
    except UnicodeDecodeError as error:
        raise SignerError(f"the PIN in {path} is not UTF-8") from error


def stamp(source: str) -> Stamp | None:
    """Return the stamp of a PIN's file as it is now; None if it cannot be looked at."""
    try:
        return _stamp(_path(source).stat())
    except (OSError, SignerError):
        return None


def _stamp(facts: os.stat_result) -> Stamp:
    return facts.st_ino, facts.st_mtime_ns, facts.st_size


def _path(source: str) -> Path:
    kind, _, rest = source.partition(":")
    if kind == "file":
        return Path(rest)
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise SignerError(f"there is no credential {rest}: systemd gives this process no credentials; "
                          f"write LoadCredential={rest}:/PATH into the service's unit")  # fmt: skip
    return Path(folder) / rest
