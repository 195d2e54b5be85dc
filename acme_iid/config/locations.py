"""Where a CA's files are: its home, with its keys and its store, and its ca.toml, which may be elsewhere.

The packaged CA has its configuration below /etc and its home below /var/lib. Everywhere else ca.toml is in the home.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FILE_NAME = "ca.toml"
SERVICE_USER = "acme-iid-ca"
"""The user that the packaged CA runs as."""
_OF_HOMES = ("certs", "issuers", "secrets")


@dataclass(frozen=True, slots=True)
class Location:
    """Where the files of one CA are.

    :ivar home: its home.
    :ivar file: its ca.toml.
    """

    home: Path
    file: Path


MACHINE = Location(Path("/var/lib/acme-iid-ca"), Path("/etc/acme-iid-ca/ca.toml"))
"""The CA of a machine, which root and its service mean. Before 0.1.0 root's had its home where now ca.toml is."""


def located(
    home: Path | None, file: Path | None, environment: Mapping[str, str], uid: int, machine: Location = MACHINE
) -> Location:
    """Where the CA is that a command is about.

    Root and the service's user mean the machine's CA. For others it is below the XDG config directory.

    :param home: the home that was named, if one was.
    :param file: the ca.toml that was named, if one was.
    :param uid: the effective user's.
    :param machine: where the machine's CA is.
    """
    if home is None:
        home = _home_of_machine(machine) if uid in {0, service_uid()} else _home_of_user(environment)
    home = home.absolute()
    return Location(home, file_of(home, machine) if file is None else file.absolute())


def file_of(home: Path, machine: Location = MACHINE) -> Path:
    """The ca.toml of a home for which no other one was named: the one in it, but for the home of the machine's CA."""
    own = home / FILE_NAME
    is_elsewhere = home == machine.home and not os.path.exists(own)  # noqa: PTH110 - a folder may be closed to others
    return machine.file if is_elsewhere else own


def service_uid() -> int | None:
    """The id of the service's user; None on a machine without."""
    try:
        return pwd.getpwnam(SERVICE_USER).pw_uid
    except KeyError:
        return None


def is_former_home(home: Path) -> bool:
    """Whether a home is the folder that only configuration is in today."""
    return home == MACHINE.file.parent


def _home_of_machine(machine: Location) -> Path:
    former = machine.file.parent
    was_made_earlier = os.path.exists(machine.file) and _holds_ca(former)  # noqa: PTH110 - it may be closed to others
    return former if was_made_earlier and not _holds_ca(machine.home) else machine.home


def _holds_ca(folder: Path) -> bool:
    return any(os.path.exists(folder / name) for name in _OF_HOMES)  # noqa: PTH110 - a folder may be closed to others


def _home_of_user(environment: Mapping[str, str]) -> Path:
    base = Path(environment.get("XDG_CONFIG_HOME", ""))
    # A relative XDG_CONFIG_HOME is invalid and to be ignored (XDG Base Directory Specification).
    if not base.is_absolute():
        base = Path(environment.get("HOME") or Path.home()) / ".config"
    return base / "acme-iid-ca"
