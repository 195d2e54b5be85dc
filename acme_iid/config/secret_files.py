"""Secrets that stand in files, or in systemd's credentials, and not in ca.toml.

A setting that ends with ``_file`` names such a file. It is read when ca.toml is.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

MAX_BYTES = 16 * 1024
"""The size of such a file."""
CREDENTIAL = "credential:"
"""What the name of a credential begins with, in place of a file's."""
DIRECTORY_VARIABLE = "CREDENTIALS_DIRECTORY"
"""Where systemd says that credentials are (systemd.exec(5))."""
_CREDENTIALS = Path("/run/credentials")
"""The folder in whose subfolders they are."""


class NoCredentialError(ValueError):
    """A credential of systemd's that this process has not been given."""


def name(text: str) -> str:
    """Return the name of a file, or ``credential:NAME``, as it is.

    :raises ValueError: if it is neither.
    """
    credential = text.removeprefix(CREDENTIAL)
    # The text is not shown: it may be the secret, by mistake.
    if not credential or not text.isprintable() or "://" in text:
        raise ValueError("this is no file's name; write the secret into a file, and the file's name here")
    if credential != text and ("/" in credential or credential in (".", "..")):
        raise ValueError(f"{text!r} names no credential; write {CREDENTIAL} and its name in LoadCredential")
    return text


def place(text: str, home: Path, environment: Mapping[str, str]) -> Path:
    """Return the file that a name means: below the CA's home unless it is absolute."""
    credential = text.removeprefix(CREDENTIAL)
    if credential == text:
        return home / text
    return Path(environment.get(DIRECTORY_VARIABLE) or _CREDENTIALS) / credential


def read(path: Path) -> str:
    """Return the one line in a file.

    :raises NoCredentialError: if it is a credential, and systemd has given this process none.
    :raises ValueError: if it cannot be read, or has no line, several or a very long one; what it has is not shown.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        if path.is_relative_to(_CREDENTIALS) and not os.environ.get(DIRECTORY_VARIABLE):
            raise NoCredentialError(
                f"there is no credential {path.name}: systemd has given this process none"
            ) from error
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    try:
        text = data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        text = ""
    if len(data) > MAX_BYTES or not text or not text.isprintable():
        raise ValueError(f"{path} does not hold one line of text, of at most {MAX_BYTES} bytes")
    return text
