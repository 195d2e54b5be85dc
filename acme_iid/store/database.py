"""The engines: reading, and transactions that are durable before they are acknowledged.

One, for several machines, is in postgresql.py. The other is SQLite in WAL mode with ``synchronous=FULL``,
opened through sqlite-utils. Writing begins with BEGIN IMMEDIATE: a deferred transaction that reads and then
writes fails at once when another process wrote in between, whatever the busy timeout (sqlite.org/isolation.html).
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

import sqlite_utils

from acme_iid.errors import StoreBusyError, StoreUnavailableError

Row = Mapping[str, Any]

BUSY_TIMEOUT_SECONDS = 5.0
OLDEST_SQLITE = (3, 35)
"""The first version with RETURNING, without which no order can be recorded."""
_POLL_SECONDS = 0.0005
# The primary result codes of statements that fail however often they are tried (sqlite.org/rescode.html).
_NEVER = frozenset(
    {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_MISUSE, sqlite3.SQLITE_RANGE}
)
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_LOG_PAGES = 4000
"""How long the write-ahead log grows until it is written back, in pages of 4 KiB; SQLite's own is 1,000."""


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

    def dialect(self) -> str:
        """What files of the schema are named for that only one kind of database takes.

        :raises StoreUnavailableError: if the store cannot answer now.
        """

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """A write transaction, durable when the block has ended without an exception."""

    @contextmanager
    def migration(self) -> Iterator[Transaction]:
        """A write transaction that all other migrations wait for."""

    def close(self) -> None:
        """Close the connections that nobody uses now."""


class SQLite:
    """A SQLite file, through sqlite-utils.

    Connections are kept for whoever comes next, the one that was used last first: its pages and prepared statements are
    warm, and of a hundred threads few are in the store at the same time.

    :param path: the database file; created if it does not exist.
    :raises StoreUnavailableError: if this machine's SQLite is too old.
    """

    def __init__(self, path: Path) -> None:
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise StoreUnavailableError(
                f"the SQLite of this machine's Python is version {sqlite3.sqlite_version}, and "
                f"{'.'.join(map(str, OLDEST_SQLITE))} or later is needed; use a newer system (Debian 12, Ubuntu 22.04) "
                "or a Python that brings its own SQLite, or keep the store in PostgreSQL"
            )
        self.path = path
        self._idle: list[_Connection] = []
        self._writers = _Queue(path)

    def dialect(self) -> str:
        """See :meth:`Database.dialect`."""
        return "sqlite"

    def _open(self) -> _Connection:
        try:
            # It holds the nonce key: nobody else's to read, whatever the umask. SQLite's other files follow suit.
            # One that exists is never opened here: to close it again would end the locks of the process's other
            # connections, and another process would then remove the log under them (sqlite.org/howtocorrupt.html).
            with suppress(FileExistsError):
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            # Of several threads, one at a time has it.
            raw = sqlite3.connect(
                self.path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False
            )
            raw.row_factory = sqlite3.Row
            connection = sqlite_utils.Database(raw, recursive_triggers=False, execute_plugins=False)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            # An order changes the same pages as the one before it: the rarer they are written back, the fewer.
            connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
        except (sqlite3.Error, OSError) as error:
            raise StoreUnavailableError(f"the database {self.path} cannot be opened: {error}") from error
        return _Connection(raw, self.path)

    def _take(self) -> _Connection:
        """A connection that nobody else has, until it is among the idle ones again."""
        try:
            return self._idle.pop()
        except IndexError:
            return self._open()

    def rows(self, statement: str, **parameters: object) -> list[Row]:
        """See :meth:`Reader.rows`."""
        connection = self._take()
        try:
            return connection.execute(statement, parameters).fetchall()
        finally:
            self._idle.append(connection)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """See :meth:`Database.transaction`."""
        connection = self._take()
        try:
            self._writers.enter()
            try:
                connection.run("BEGIN IMMEDIATE")
                try:
                    yield connection
                    connection.run("COMMIT")
                except BaseException:
                    connection.roll_back()
                    raise
            finally:
                self._writers.leave()
        finally:
            self._idle.append(connection)

    @contextmanager
    def migration(self) -> Iterator[Transaction]:
        """See :meth:`Database.migration`."""
        with self.transaction() as transaction:
            yield transaction

    def close(self) -> None:
        """See :meth:`Database.close`."""
        while self._idle:
            self._idle.pop().close()
        self._writers.close()


class _Queue:
    """Where those wait who want to write, in all processes.

    SQLite would have them sleep, longer each time, so that who has waited longest looks least often. This is no lock
    that anything relies on: BEGIN IMMEDIATE is.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        self._path = database.with_name(database.name + "-writers")
        self._threads = threading.Lock()
        self._file: int | None = None

    def enter(self) -> None:
        """Wait for those who are before; :meth:`leave` lets the next one on.

        :raises StoreUnavailableError: if that takes too long.
        """
        if not self._threads.acquire(timeout=BUSY_TIMEOUT_SECONDS):
            raise self._late()
        try:
            self._wait_for_processes()
        except BaseException:
            self._threads.release()
            raise

    def leave(self) -> None:
        """Let the next one on."""
        assert self._file is not None
        fcntl.flock(self._file, fcntl.LOCK_UN)
        self._threads.release()

    def close(self) -> None:
        """Close the file, unless somebody writes; the next one who wants to opens it again."""
        if self._threads.acquire(blocking=False):
            try:
                if self._file is not None:
                    os.close(self._file)
                    self._file = None
            finally:
                self._threads.release()

    def _wait_for_processes(self) -> None:
        deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
        try:
            if self._file is None:
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                if os.geteuid() == 0:
                    # As SQLite does with its own files: the server may be another user's.
                    owner = self._database.stat()
                    os.fchown(self._file, owner.st_uid, owner.st_gid)
        except OSError as error:
            raise StoreUnavailableError(f"{self._path} cannot be opened: {error}") from error
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise self._late() from None
                time.sleep(_POLL_SECONDS)
            else:
                return

    def _late(self) -> StoreUnavailableError:
        return StoreBusyError(f"others have been writing to the database beside {self._path} all the time")


class _Connection:
    """A connection while somebody has it."""

    def __init__(self, raw: sqlite3.Connection, path: Path) -> None:
        self._raw = raw
        self._path = path

    def execute(self, statement: str, parameters: dict[str, object]) -> sqlite3.Cursor:
        """Run a statement.

        :raises StoreUnavailableError: if the database cannot take it now.
        :raises sqlite3.Error: if it never will: a fault of ours.
        """
        try:
            return self._raw.execute(statement, parameters)
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise
        except sqlite3.DatabaseError as error:
            code = error.sqlite_errorcode & 0xFF
            if code in _NEVER:
                raise
            if code in _BUSY:
                raise StoreBusyError(f"the database {self._path} is in use by others all the time: {error}") from error
            # Busy, full, read-only, I/O error, damaged: the operator's to mend, and nothing was changed.
            raise StoreUnavailableError(f"the database {self._path} cannot be used now: {error}") from error

    def rows(self, statement: str, **parameters: object) -> list[Row]:
        """See :meth:`Reader.rows`."""
        return self.execute(statement, parameters).fetchall()

    def run(self, statement: str, **parameters: object) -> int:
        """See :meth:`Transaction.run`."""
        return self.execute(statement, parameters).rowcount

    def close(self) -> None:
        """Close it."""
        self._raw.close()

    def roll_back(self) -> None:
        """Undo what the transaction has done; SQLite has rolled back by itself after some errors (disk full, I/O)."""
        if self._raw.in_transaction:
            self._raw.execute("ROLLBACK")


def migrate(database: Database) -> None:
    """Bring the schema up to date: each numbered file under schema/ once, in order, all in one transaction.

    ``NUMBER_NAME.sql`` is for every database, ``NUMBER_NAME.DIALECT.sql`` for those of one dialect.
    """
    dialect = database.dialect()
    known = sorted(
        (entry for entry in files("acme_iid.store.schema").iterdir() if entry.name.endswith(".sql")),
        key=lambda entry: entry.name,
    )
    with database.migration() as transaction:
        transaction.run(
            "CREATE TABLE IF NOT EXISTS schema_migrations (name TEXT PRIMARY KEY)",
        )
        applied = {row["name"] for row in transaction.rows("SELECT name FROM schema_migrations")}
        unknown = applied - {entry.name for entry in known}
        if unknown:
            raise StoreUnavailableError(
                f"the database was written by a newer acme-iid ({', '.join(sorted(unknown))}); "
                "run that version, or restore a backup made before the upgrade"
            )
        for entry in known:
            wanted = entry.name.split(".")[1:-1] in ([], [dialect])
            if wanted and entry.name not in applied:
                for statement in entry.read_text(encoding="ascii").split(";\n"):
                    if statement.strip():
                        transaction.run(statement)
                transaction.run("INSERT INTO schema_migrations (name) VALUES (:name)", name=entry.name)


def open_store(url: str) -> Database:
    """Open the store and bring its schema up to date.

    :param url: ``sqlite:`` and the path of a file, or ``postgresql://...``.
    :raises StoreUnavailableError: if it cannot be opened.
    """
    database = connect(url)
    try:
        migrate(database)
        _require_whole(database)
    except BaseException:
        database.close()
        raise
    return database


def _require_whole(database: Reader) -> None:
    if database.rows("SELECT table_name FROM copied LIMIT 1"):
        raise StoreUnavailableError(
            "the database holds a part of a store that is being copied into it; "
            "run the acme-iid-ca store migrate, or restore, again that copies it, until it says that all was copied"
        )


def connect(url: str) -> Database:
    """The store at ``url``, whatever its schema is.

    :raises StoreUnavailableError: if there is no such kind of store here.
    """
    if url.startswith("sqlite:"):
        return SQLite(Path(url.removeprefix("sqlite:")))
    try:
        from acme_iid.store.postgresql import PostgreSQL  # noqa: PLC0415 - who has SQLite needs no psycopg
    except ImportError as error:
        raise StoreUnavailableError(
            "a store in PostgreSQL takes the extra 'postgresql': pip install 'FROM[server,postgresql]', where FROM is "
            f"the folder or wheel that acme-iid was installed from ({error})"
        ) from error
    return PostgreSQL(url)
