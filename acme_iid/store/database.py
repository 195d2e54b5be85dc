"""The engine: reading, and transactions that are durable before they are acknowledged.

SQLite in WAL mode with ``synchronous=FULL``, opened through sqlite-utils, one connection a thread.
Writing begins with BEGIN IMMEDIATE: a deferred transaction that reads and then writes fails at once
when another process wrote in between, whatever the busy timeout (sqlite.org/isolation.html).
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol, cast

import sqlite_utils

from acme_iid.errors import StoreUnavailableError

Row = Mapping[str, Any]

BUSY_TIMEOUT_SECONDS = 5.0


class Reader(Protocol):
    """What can be asked: a database, or a transaction (which sees its own writes)."""

    def rows(self, statement: str, **parameters: object) -> list[Row]:
        """The rows that ``statement`` gives; ``:name`` stands for the parameter ``name``.

        :raises StoreUnavailableError: if the store cannot answer now.
        """


class Transaction(Reader, Protocol):
    """An open write transaction: commits when its block ends, rolls back when it raises."""

    def run(self, statement: str, **parameters: object) -> int:
        """Run ``statement`` and say how many rows it changed.

        :raises StoreUnavailableError: if the store cannot take it now.
        """


class Database(Reader, Protocol):
    """An open store."""

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """A write transaction, durable when the block has ended without an exception."""

    def close(self) -> None:
        """Close this thread's connection."""


class SQLite:
    """A SQLite file, through sqlite-utils.

    :param path: the database file; created if it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()

    def _connection(self) -> sqlite_utils.Database:
        connection: sqlite_utils.Database | None = getattr(self._local, "connection", None)
        if connection is None:
            try:
                # It holds the nonce key: nobody else's to read, whatever the umask. SQLite's other files follow suit.
                # One that exists is never opened here: to close it again would end the locks of the process's other
                # connections, and another process would then remove the log under them (sqlite.org/howtocorrupt.html).
                with suppress(FileExistsError):
                    os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
                raw = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None)
                raw.row_factory = sqlite3.Row
                connection = sqlite_utils.Database(raw, recursive_triggers=False, execute_plugins=False)
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA foreign_keys = ON")
            except (sqlite3.Error, OSError) as error:
                raise StoreUnavailableError(f"the database {self.path} cannot be opened: {error}") from error
            self._local.connection = connection
        return connection

    def _execute(self, statement: str, parameters: dict[str, object]) -> sqlite3.Cursor:
        try:
            return self._connection().execute(statement, parameters)
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise
        except sqlite3.DatabaseError as error:
            # Busy, full, read-only, I/O error, damaged: the operator's to mend, and nothing was changed.
            raise StoreUnavailableError(f"the database {self.path} cannot be used now: {error}") from error

    def rows(self, statement: str, **parameters: object) -> list[Row]:
        """See :meth:`Reader.rows`."""
        return cast("list[Row]", self._execute(statement, parameters).fetchall())

    def run(self, statement: str, **parameters: object) -> int:
        """See :meth:`Transaction.run`."""
        return self._execute(statement, parameters).rowcount

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """See :meth:`Database.transaction`."""
        self._execute("BEGIN IMMEDIATE", {})
        try:
            yield self
            self._execute("COMMIT", {})
        except BaseException:
            # SQLite has rolled back by itself after some errors (disk full, I/O).
            if self._connection().conn.in_transaction:
                self._connection().conn.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """See :meth:`Database.close`."""
        connection: sqlite_utils.Database | None = getattr(self._local, "connection", None)
        if connection is not None:
            connection.conn.close()
            self._local.connection = None


def migrate(database: Database) -> None:
    """Bring the schema up to date: each numbered file under schema/ once, in order, all in one transaction."""
    with database.transaction() as transaction:
        transaction.run(
            "CREATE TABLE IF NOT EXISTS schema_migrations (name TEXT PRIMARY KEY)",
        )
        applied = {row["name"] for row in transaction.rows("SELECT name FROM schema_migrations")}
        known = sorted(
            (entry for entry in files("acme_iid.store.schema").iterdir() if entry.name.endswith(".sql")),
            key=lambda entry: entry.name,
        )
        unknown = applied - {entry.name for entry in known}
        if unknown:
            raise StoreUnavailableError(
                f"the database was written by a newer acme-iid ({', '.join(sorted(unknown))}); "
                "run that version, or restore a backup made before the upgrade"
            )
        for entry in known:
            if entry.name not in applied:
                for statement in entry.read_text(encoding="ascii").split(";\n"):
                    if statement.strip():
                        transaction.run(statement)
                transaction.run("INSERT INTO schema_migrations (name) VALUES (:name)", name=entry.name)


def open_store(path: Path) -> Database:
    """Open the SQLite store in the file ``path`` and bring its schema up to date.

    :raises StoreUnavailableError: if it cannot be opened.
    """
    database = SQLite(path)
    migrate(database)
    return database
