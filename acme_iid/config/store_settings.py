"""The table ``[store]`` of ca.toml: where the store is."""

from __future__ import annotations

import os
from pathlib import Path

from acme_iid.config import secret_files, setting_reader
from acme_iid.config.table import Table
from acme_iid.policy.setting import Setting
from acme_iid.store.settings import CONNECTIONS, StoreSettings

_MOST_CONNECTIONS = 100
DEFAULT_URL = "sqlite:ca.db"
"""From the CA's home."""


def _url(text: str) -> str:
    scheme, _, path = text.partition(":")
    if scheme in ("postgresql", "postgres") and path.startswith("//") and text.isprintable():
        return text
    if scheme != "sqlite" or not path or path.startswith("//") or "\0" in path:
        # The URL of a PostgreSQL store may hold a password.
        shown = f"{text!r}" if scheme == "sqlite" or "@" not in text else "this"
        raise ValueError(
            f'{shown} is no store; write "sqlite:" and a file, for example "sqlite:ca.db", '
            'or "postgresql://user@host/database"'
        )
    return text


def server_url(text: str) -> str:
    """Return the URL of a store in PostgreSQL as it is.

    :raises ValueError: if it is no such URL; it is not shown, since it may hold a password.
    """
    if not text.startswith(("postgresql://", "postgres://")) or not text.isprintable():
        raise ValueError("this is no database of PostgreSQL's; write a URL that begins with postgresql://")
    return text


def _connections(number: int) -> int:
    if not 1 <= number <= _MOST_CONNECTIONS:
        raise ValueError(f"{number} is not a number from 1 to {_MOST_CONNECTIONS}")
    return number


SETTINGS = (
    Setting(
        "url",
        "text",
        'a store such as "sqlite:ca.db"',
        "The database: a file, from the CA's home; or postgresql://user@host/database, for several servers.",
        _url,
        default=DEFAULT_URL,
    ),
    Setting(
        "connections",
        "number",
        f"a number from 1 to {_MOST_CONNECTIONS}",
        "Connections that each process of a server has to PostgreSQL at most.",
        _connections,
        default=CONNECTIONS,
    ),
    Setting(
        "url_file",
        "text",
        "a file with such a URL",
        "The file with the URL in it, in place of url, so that no password stands in ca.toml; or credential:NAME, one "
        "of the credentials that systemd gave the server.",
        secret_files.name,
    ),
)


def read(table: Table, home: Path) -> StoreSettings:
    """Read the table ``[store]`` of the CA in ``home``.

    :raises ConfigError: if it is invalid.
    """
    values = setting_reader.read(table, SETTINGS)
    table.done()
    url, file = values.get("url", DEFAULT_URL), None
    if "url_file" in values:
        if "url" in values:
            raise table.error("url_file", "stands beside url; give one of them")
        file = secret_files.place(values["url_file"], home, os.environ)
        url = table.parsed("url_file", file, lambda path: _url(secret_files.read(path)))
    if url.startswith("sqlite:"):
        return StoreSettings(f"sqlite:{home / url.removeprefix('sqlite:')}", url_file=file)
    return StoreSettings(url, values.get("connections", CONNECTIONS), file)
