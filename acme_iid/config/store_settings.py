"""Where the store is: the table ``[store]`` of ca.toml."""

from __future__ import annotations

from pathlib import Path

from acme_iid.config.table import Table
from acme_iid.store.settings import CONNECTIONS, StoreSettings

_MOST_CONNECTIONS = 100


def read(table: Table, home: Path) -> StoreSettings:
    """Read the table ``[store]`` of the CA in ``home``.

    :raises ConfigError: if it says what cannot be meant.
    """
    connections = table.take("connections", int, f"a number from 1 to {_MOST_CONNECTIONS}")
    if connections is not None and not 1 <= connections <= _MOST_CONNECTIONS:
        raise table.error("connections", f"{connections} is not a number from 1 to {_MOST_CONNECTIONS}")
    number = CONNECTIONS if connections is None else connections

    def store(text: str) -> StoreSettings:
        scheme, _, path = text.partition(":")
        if scheme in ("postgresql", "postgres") and path.startswith("//") and text.isprintable():
            return StoreSettings(text, number)
        if scheme != "sqlite" or not path or path.startswith("//") or "\0" in path:
            # What is meant for PostgreSQL may hold a password.
            shown = f"{text!r}" if scheme == "sqlite" or "@" not in text else "this"
            raise ValueError(
                f'{shown} is no store; write "sqlite:" and a file, for example "sqlite:ca.db", '
                'or "postgresql://user@host/database"'
            )
        return StoreSettings(f"sqlite:{home / path}")

    settings = table.text("url", 'a store such as "sqlite:ca.db"', store, StoreSettings(f"sqlite:{home / 'ca.db'}"))
    table.done()
    return settings
