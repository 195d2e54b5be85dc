"""The files that a store takes, beside its own: for processes that may open no others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from acme_iid.store.settings import StoreSettings
from acme_iid.store.writers import beside

_OF_SQLITE = ("wal", "shm", "writers", "accounts")


@dataclass(frozen=True, slots=True)
class Places:
    """Files.

    :ivar changed: those that are written to. They exist once the store has been opened and stay as long as it is open.
    :ivar read: those that are only read, some of which may not exist.
    """

    changed: tuple[Path, ...] = ()
    read: tuple[Path, ...] = ()


def of(store: StoreSettings) -> Places:
    """The files of a store."""
    if store.path is not None:
        return Places(changed=(store.path, *(beside(store.path, what) for what in _OF_SQLITE)))
    return Places(read=tuple(_of_libpq(store.url)))


def _of_libpq(url: str) -> list[Path]:
    """The files that libpq reads for a connection: those that the URL or the environment names, and its usual ones."""
    from psycopg import conninfo, pq  # noqa: PLC0415 - SQLite needs no psycopg

    values: dict[str, object] = {
        option.keyword.decode(): option.val.decode() for option in pq.Conninfo.get_defaults() if option.val is not None
    }
    values |= conninfo.conninfo_to_dict(url)
    names = ("passfile", "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslcrldir")
    named = [Path(str(values[name])).absolute() for name in names if values.get(name) not in (None, "", "system")]
    home = Path.home()
    return [*named, home / ".pgpass", home / ".pg_service.conf", home / ".postgresql"]
