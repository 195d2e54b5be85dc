"""What the process that answers operators may open: the store, the CA's certificates, and its own program.

A rule is for what a path leads to when the process is confined. A file that takes another's place by its name later is
not covered, a file in a covered folder is.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from acme_iid.admin.confinement import CHANGE, LIST, READ, USE, Rule
from acme_iid.config.settings import Config
from acme_iid.issuance import home as ca_files
from acme_iid.issuance import key_places
from acme_iid.issuance.keys import CAFileError
from acme_iid.signing.places import FilePlace, TokenPlace
from acme_iid.store import places

_PROGRAMS = ("/usr", "/lib", "/lib64")
_SYSTEM = (
    # Names and addresses of a database's host, and of users.
    "/etc/gai.conf", "/etc/group", "/etc/host.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/passwd",
    "/etc/resolv.conf", "/etc/services", "/run/NetworkManager", "/run/resolvconf", "/run/systemd/resolve",
    # TLS, libraries, time zones.
    "/etc/crypto-policies", "/etc/ld.so.cache", "/etc/localtime", "/etc/pki/ca-trust/extracted",
    "/etc/pki/tls/certs", "/etc/pki/tls/openssl.cnf", "/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/dev/null",
    "/dev/urandom",
)  # fmt: skip
"""What every user of a machine may read."""


def rules(config: Config, temporary: Path) -> list[Rule]:
    """The rules of the process.

    :param temporary: a folder of its own, for what SQLite sorts.
    """
    home = config.home
    own = [home / ca_files.ROOT_CERTIFICATE.parent, home / ca_files.FOLDER]
    files = places.of(config.store)
    folders = {path.parent for path in files.changed}
    closed = list(_closed(config))
    readable = [path for entry in (*own, *config.ca.alternate_chains, *files.read) for path in without(entry, closed)]
    # What is not the CA's may have the home beneath it, of which only the above is given.
    for entry in (*_programs(), *map(Path, _SYSTEM)):
        readable += without(entry, closed if entry.resolve().is_relative_to(home.resolve()) else [*closed, home])
    return [
        Rule(home, LIST),
        Rule(config.file, READ),
        *(Rule(folder, LIST) for folder in folders),
        *(Rule(path, READ) for path in readable),
        *(Rule(path, CHANGE) for path in files.changed),
        Rule(temporary, USE),
    ]


def _programs() -> Iterator[Path]:
    """Where modules and libraries are that are not loaded yet."""
    yield from map(Path, _PROGRAMS)
    yield from (Path(sys.prefix), Path(sys.base_prefix))
    # Of the places where modules are looked for, those that some came from: the folder that somebody was in when they
    # started the server is one of the others.
    files = [Path(file).parent for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None))]
    folders = {folder.resolve() for parent in files for folder in (parent, parent.parent)}
    yield from (path for entry in sys.path if entry and (path := Path(entry).resolve()) in folders)
    # An editable installation has the package elsewhere.
    yield Path(__file__).parent.parent


def _closed(config: Config) -> Iterator[Path]:
    """What no rule for reading may give: the folders with keys, and keys and secrets elsewhere."""
    home = config.home
    yield home / ca_files.ROOT_KEY.parent
    yield home / "tls"
    yield from config.secret_files
    with suppress(CAFileError):
        for file in ca_files.descriptions(home).values():
            with suppress(CAFileError):
                place = key_places.read(file)
                if isinstance(place, FilePlace):
                    yield home / place.path
                elif isinstance(place, TokenPlace) and place.pin_file is not None:
                    yield place.pin_file


def without(path: Path, closed: Iterable[Path]) -> Iterator[Path]:
    """A path, or what is beneath it without what is closed.

    Links that lie on the way are not followed: what they lead to has a rule of its own or none.
    """
    try:
        real = path.resolve(strict=True)
    except OSError:
        return
    kept = [entry.resolve() for entry in closed]
    yield from _without(real, kept)


def _without(path: Path, closed: list[Path]) -> Iterator[Path]:
    if any(path.is_relative_to(entry) for entry in closed):
        return
    if not any(entry.is_relative_to(path) for entry in closed):
        yield path
        return
    with os.scandir(path) as entries:
        found = sorted(entry.path for entry in entries if not entry.is_symlink())
    for beneath in found:
        yield from _without(Path(beneath), closed)
