"""The directories of the client's configuration and its state (XDG Base Directory Specification 0.8)."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from acme_iid_client.errors import ClientError
from acme_iid_client.storage.account_options import AccountOptions
from acme_iid_client.storage.descriptors import open_directory

_NAME = "acme-iid"


@dataclass(frozen=True, slots=True)
class Directories:
    """The two directories, and what a command's options say about the account.

    :ivar config: the directory of an administrator's choices: the CA's root and address.
    :ivar state: the directory of the program's own files: account keys, and records of the certificates that it made.
    :ivar account_key: the file that ``--account-key`` names; None is the key that this machine made.
    :ivar account_options: agreement to terms, and an external account key.
    """

    config: Path
    state: Path
    account_key: Path | None = None
    account_options: AccountOptions = field(default_factory=AccountOptions)


def find(env: Mapping[str, str], uid: int, config: Path | None = None, state: Path | None = None) -> Directories:
    """The directories for a user.

    :param env: the environment.
    :param uid: the user's id; root's certificates belong to the machine, so root's files are under /etc and /var/lib.
    :param config: the value of ``--config-dir``, which counts before all else.
    :param state: the value of ``--state-dir``.
    :raises ClientError: if neither options nor the environment say it, and the user has no home.
    """
    return Directories(
        (config or _directory(env, uid, "XDG_CONFIG_HOME", "/etc", ".config")).absolute(),
        (state or _directory(env, uid, "XDG_STATE_HOME", "/var/lib", ".local/state")).absolute(),
    )


def _directory(env: Mapping[str, str], uid: int, variable: str, system: str, home: str) -> Path:
    base = env.get(variable, "")
    # The specification has relative paths ignored.
    if base.startswith("/"):
        return Path(base, _NAME)
    if uid == 0:
        return Path(system, _NAME)
    try:
        return Path(env.get("HOME") or "~", home).expanduser() / _NAME
    except RuntimeError:
        raise ClientError(
            f"The user {uid} of this process has no home directory, and HOME is not set. Set it, or say where things "
            "are to be kept: --config-dir and --state-dir, or ACME_IID_CONFIG_DIR and ACME_IID_STATE_DIR."
        ) from None


def safe_name(text: str) -> str:
    """Text as a file name: unusual characters in hex, so that no two texts share one."""
    name = re.sub(r"[^A-Za-z0-9.-]", lambda match: f"_{ord(match[0]):02x}", text)
    return f"_{name}" if name.startswith(".") else name


def make_directory(directory: Path, *, public: bool = False) -> None:
    """Make a directory of ours and its missing parents.

    :param public: whether others may look into it; its parents they may not, if they have to be made (mode 0700).
    :raises ClientError: if somebody else may have put a link on the way.
    """
    with open_directory(directory, make=0o755 if public else 0o700):
        pass


def write_file(path: Path, content: bytes, *, public: bool = False, keep: bool = False) -> None:
    """Put a file in place whole or not at all.

    :param public: whether others may read it (mode 0644, less what the umask takes away); otherwise it is 0600
        from the first moment.
    :param keep: whether a file that stands there already, perhaps since just now, is left as it is.
    :raises ClientError: if somebody else may have put a link on the way.
    :raises OSError: if it cannot be written; what stood there before still does.
    """
    with open_directory(path.parent) as directory:
        target, temporary = directory.entry(path.name), directory.entry(f".{path.name}.{secrets.token_hex(8)}")
        try:
            temporary.create(content, 0o644 if public else 0o600)
            if keep:
                # No other program of ours is here meanwhile. A link would tell as much, where there are links.
                directory.lock()
            if not keep or target.status() is None:
                temporary.rename(target)
        finally:
            temporary.unlink()
        directory.sync()


def remove_file(path: Path) -> None:
    """Remove a file of ours, durably; without one, nothing happens."""
    try:
        with open_directory(path.parent) as directory:
            directory.entry(path.name).unlink()
            directory.sync()
    except FileNotFoundError:
        return
