"""Where the client keeps its configuration and its state (XDG Base Directory Specification 0.8)."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from acme_iid_client.errors import ClientError
from acme_iid_client.told import Told

_NAME = "acme-iid"


@dataclass(frozen=True, slots=True)
class Places:
    """The two directories, a key that a person keeps elsewhere, and what else was said about the account.

    :ivar config: what an administrator chose: the CA's root and address.
    :ivar state: what the program made: account keys, and which certificates it put where.
    :ivar account_key: the file that ``--account-key`` names; None is the key that this machine made.
    :ivar told: what the command was told about the account.
    """

    config: Path
    state: Path
    account_key: Path | None = None
    told: Told = field(default_factory=Told)


def find(env: Mapping[str, str], uid: int, config: Path | None = None, state: Path | None = None) -> Places:
    """The directories for a user.

    :param env: the environment.
    :param uid: the user's id; root's certificates belong to the machine, so root's files are under /etc and /var/lib.
    :param config: what ``--config-dir`` says, which counts before all else.
    :param state: what ``--state-dir`` says.
    :raises ClientError: if neither options nor the environment say it, and the user has no home.
    """
    return Places(
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
    name = re.sub(r"[^A-Za-z0-9.-]", lambda found: f"_{ord(found[0]):02x}", text)
    return f"_{name}" if name.startswith(".") else name


def make_directory(directory: Path, *, public: bool = False) -> None:
    """Make a directory of ours and its missing parents.

    :param public: whether others may look into it; its parents they may not, if they have to be made (mode 0700).
    """
    for part in [*reversed(directory.parents), directory]:
        if not part.exists():
            part.mkdir(mode=0o755 if public and part == directory else 0o700, exist_ok=True)


def write_file(path: Path, content: bytes, *, public: bool = False, keep: bool = False) -> None:
    """Put a file in place whole or not at all.

    :param public: whether others may read it (mode 0644, less what the umask takes away); otherwise it is 0600
        from the first moment.
    :param keep: whether a file that stands there already, perhaps since just now, is left as it is.
    :raises OSError: if it cannot be written; what stood there before still does.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o644 if public else 0o600)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if keep:
            # A link, unlike a rename, does not replace.
            with contextlib.suppress(FileExistsError):
                path.hardlink_to(temporary)
        else:
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable: a rename is not until its directory is."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
