"""Which way a command asks a CA: in its home, or by the admin API of its server."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from acme_iid.config.ca_toml import MAX_FILE_BYTES
from acme_iid.config.locations import Location

if TYPE_CHECKING:
    from acme_iid.admin_client.client import AdminClient
    from acme_iid.admin_client.places import Identity, Place
    from acme_iid.cli import AdminOptions, Home

DEFAULT_SOCKET = Path("/run/acme-iid-ca/admin.sock")


@dataclass(frozen=True, slots=True)
class Look:
    """What a user sees of a CA's home.

    :ivar is_there: whether it has a ca.toml, as far as that can be seen.
    :ivar is_denied: whether the user may not read its ca.toml, or not use its store.
    :ivar socket: the admin socket that its ca.toml names, where that can be read.
    """

    is_there: bool
    is_denied: bool
    socket: Path | None = None


def look(location: Location) -> Look:
    """Look at a home as this process's user. Whether its ca.toml is right is not looked at."""
    folder = location.home
    try:
        with location.file.open("rb") as stream:
            text = stream.read(MAX_FILE_BYTES + 1)
    except PermissionError:
        return Look(is_there=True, is_denied=True)
    except OSError:
        return Look(is_there=False, is_denied=False)
    try:
        document = tomllib.loads(text.decode())
    except (ValueError, RecursionError):
        return Look(is_there=True, is_denied=False)
    socket = _table(document, "admin").get("socket")
    found = folder.absolute() / socket if isinstance(socket, str) else None
    return Look(is_there=True, is_denied=not _may_use_store(folder, _table(document, "store")), socket=found)


def _table(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = document.get(name)
    return table if isinstance(table, dict) else {}


def _may_use_store(folder: Path, settings: Mapping[str, Any]) -> bool:
    """Whether this user may use the store: its file, or the file with its URL; a database says so by itself."""
    from acme_iid.config import secret_files
    from acme_iid.config.store_settings import DEFAULT_URL

    url, file = settings.get("url", DEFAULT_URL), settings.get("url_file")
    if isinstance(file, str):
        return _may(secret_files.place(file, folder, os.environ), os.R_OK)
    if not isinstance(url, str) or not url.startswith("sqlite:"):
        return True
    path = folder / url.removeprefix("sqlite:")
    return _may(path, os.R_OK | os.W_OK)


def _may(path: Path, mode: int) -> bool:
    """Whether this user may use a file, or make one that is not there."""
    try:
        path.stat()
    except FileNotFoundError:
        path, mode = path.parent, os.W_OK | os.X_OK
    except OSError:
        return False
    return os.access(path, mode, effective_ids=True)


def place_of(home: Home) -> Place | None:
    """Where a server is asked; None if the home is worked in.

    :raises UsageError: if --admin-url is no URL of an admin API.
    """
    from acme_iid.admin_client import places

    if home.admin.url is not None:
        try:
            return places.place(home.admin.url)
        except ValueError as error:
            raise click.UsageError(f"--admin-url: {error}") from error
    seen = look(home.location)
    if seen.is_there and not seen.is_denied:
        return None
    # Where there is no home, this machine's CA may have its own elsewhere; but not for somebody who has named one.
    if not seen.is_there and (home.given or not DEFAULT_SOCKET.exists()):
        return None
    return places.Place(socket=seen.socket or DEFAULT_SOCKET)


def server_of(home: Home) -> Place:
    """Where the server of a home is asked, also by those who may open the home.

    :raises UsageError: see :func:`place_of`.
    """
    from acme_iid.admin_client.places import Place

    found = place_of(home)
    if found is not None:
        return found
    return Place(socket=look(home.location).socket or DEFAULT_SOCKET)


def client(home: Home, place: Place) -> AdminClient:
    """A client of the admin API, which asks with the options of the command.

    :raises UsageError: if TLS takes more of them.
    :raises AdminError: if a file that they name cannot be used.
    """
    from acme_iid.admin_client.client import AdminClient

    return AdminClient(place, None if place.socket is not None else _identity(home.admin, home.folder))


def _identity(options: AdminOptions, folder: Path) -> Identity:
    from acme_iid.admin_client.places import Identity
    from acme_iid.issuance.home import ROOT_CERTIFICATE

    if options.certificate is None or options.key is None:
        raise click.UsageError(
            "--admin-url with https takes your certificate and its key: --admin-cert FILE --admin-key FILE"
        )
    roots = options.roots or folder / ROOT_CERTIFICATE
    if options.roots is None and not os.access(roots, os.R_OK):
        raise click.UsageError(
            "--admin-url with https takes the CA's roots: --admin-ca FILE ('acme-iid-ca fingerprint' shows what has to "
            "be in it)"
        )
    return Identity(options.certificate, options.key, roots)
