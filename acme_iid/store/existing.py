"""A store as it is, for commands that look at it if it is there: it is neither made nor brought up to date."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from acme_iid.errors import StoreUnavailableError
from acme_iid.store import nonces, schema
from acme_iid.store.database import Database, connect
from acme_iid.store.writes import Reader

_SQLITE = "SELECT name FROM sqlite_master WHERE name = 'schema_migrations'"
_SINCE_THE_BEGINNING = ("secrets", "events", "event_inbox")
_SERVER = "SELECT table_name FROM information_schema.tables WHERE table_name = 'schema_migrations'"


@contextmanager
def existing(url: str) -> Iterator[Database | None]:
    """Open a store.

    :param url: as for :func:`~acme_iid.store.database.open_store`.
    :returns: None if no server of this version has used it yet.
    :raises StoreUnavailableError: if it cannot be opened.
    """
    if url.startswith("sqlite:") and not Path(url.removeprefix("sqlite:")).exists():
        yield None
        return
    with closing(connect(url)) as database:
        yield database if _is_current(database) else None


def require_unused(database: Reader) -> None:
    """Refuse a store in which something has happened: another CA's.

    :raises StoreUnavailableError: if something has.
    """
    # A server makes a secret when it first starts, and what a command does is an event.
    if any(database.rows(f"SELECT 1 FROM {table} LIMIT 1") for table in _SINCE_THE_BEGINNING):  # noqa: S608 - our names
        raise StoreUnavailableError("the database holds the store of a CA already; name an empty database")


def take(database: Database) -> None:
    """Take an unused store for a new CA: of several that are made at once, one gets it.

    :raises StoreUnavailableError: if it is another CA's, or cannot be used now.
    """
    with database.migration() as transaction:
        require_unused(transaction)
        # What the CA's server would make when it first starts.
        nonces.make_mac_key(transaction)


def _is_current(database: Database) -> bool:
    if not database.rows(_SQLITE if database.dialect() == "sqlite" else _SERVER):
        return False
    latest = "SELECT 1 FROM schema_migrations WHERE name = :name"
    return bool(database.rows(latest, name=schema.latest()))
