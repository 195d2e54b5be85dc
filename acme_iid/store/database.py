"""The engines: reading, and transactions that are durable before they are acknowledged.

One, for several machines, is in postgresql.py. The other is SQLite in WAL mode with ``synchronous=FULL``; sqlite-utils
puts a new file into that mode. Writing begins with BEGIN IMMEDIATE: a deferred transaction that reads and then
writes fails at once when another process wrote in between, whatever the busy timeout (sqlite.org/isolation.html).
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from acme_iid.errors import StoreUnavailableError
from acme_iid.store import fence
from acme_iid.store.chain import Link
from acme_iid.store.connection import Connection, GuardError
from acme_iid.store.generation import Generation
from acme_iid.store.migration import migrate
from acme_iid.store.sealing import Unsealed
from acme_iid.store.writers import PATIENCE, Writers
from acme_iid.store.writes import Committing, Outcome, Question, Reader, Refused, Row, Write
from acme_iid.telemetry import instruments

OLDEST_SQLITE = (3, 35)
"""The first version with RETURNING, without which no order can be recorded."""
_OPENING_PAUSE = 0.01
"""Seconds until a file that others are opening is tried again."""
_LOG_PAGES = 4000
"""The pages of 4 KiB to which the write-ahead log grows until it is written back; SQLite's own number is 1,000."""


class Transaction(Reader, Protocol):
    """An open write transaction: commits when its block ends, rolls back when it raises."""

    def run(self, statement: str, **parameters: object) -> int:
        """Run ``statement`` and say how many rows it changed.

        :raises StoreUnavailableError: if the store cannot take it now.
        """


class Database(Committing, Protocol):
    """An open store."""

    def dialect(self) -> str:
        """The word in the names of schema files that only this kind of database takes.

        :raises StoreUnavailableError: if the store cannot answer now.
        """

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """A write transaction of many rows, for work on the store itself; use cases commit what they have decided.

        :raises FencedError: if this program may not write to the store.
        """

    def seal(self, *, waits: bool = True) -> None:
        """Chain the events that were stored and are not chained yet, where that is not done with their commit.

        :param waits: whether to wait for another process that does so; it may leave events of before then.
        :raises StoreUnavailableError: if the store cannot be used now.
        """

    def unsealed(self) -> Unsealed:
        """The events that are not chained yet.

        :raises StoreUnavailableError: if the store cannot answer now.
        """

    def account_generation(self) -> int | None:
        """A number that is another one when an account was changed since, by any process.

        :returns: None if that cannot be said now, or not by this store: whoever wants an account reads it.
        """

    @contextmanager
    def migration(self) -> Iterator[Transaction]:
        """A write transaction that all other migrations wait for."""

    def close(self) -> None:
        """Close the connections that nobody uses now."""


class SQLite:
    """A SQLite file.

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
        self._idle: list[Connection] = []
        self._writers = Writers(path)
        self._accounts = Generation(path)

    def dialect(self) -> str:
        """See :meth:`Database.dialect`."""
        return "sqlite"

    def _open(self) -> Connection:
        try:
            # It holds the nonce key: nobody else's to read, whatever the umask. SQLite's other files follow suit.
            # One that exists is never opened here: to close it again would end the locks of the process's other
            # connections, and another process would then remove the log under them (sqlite.org/howtocorrupt.html).
            with suppress(FileExistsError):
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            # Of several threads, one at a time has it.
            raw = sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
            raw.row_factory = sqlite3.Row
            _use_log(raw)
            raw.execute("PRAGMA synchronous = FULL")
            # An order changes the same pages as the one before it: the rarer they are written back, the fewer.
            raw.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
        except (sqlite3.Error, OSError) as error:
            raise StoreUnavailableError(f"the database {self.path} cannot be opened: {error}") from error
        return Connection(raw, self.path, self._accounts)

    def _take(self) -> Connection:
        """A connection that nobody else has, until it is among the idle ones again."""
        try:
            return self._idle.pop()
        except IndexError:
            return self._open()

    def rows(self, statement: str, **parameters: object) -> list[Row]:
        """See :meth:`Reader.rows`."""
        connection = self._take()
        try:
            return connection.rows(statement, **parameters)
        except sqlite3.OperationalError:
            # A newer release may have taken away what this one reads.
            fence.require(connection)
            raise
        finally:
            self._idle.append(connection)

    def commit(self, write: Write[Any]) -> Outcome:
        """See :meth:`~acme_iid.store.writes.Committing.commit`."""
        (outcome,) = self.commit_all((write,))
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def commit_all(self, writes: Sequence[Write[Any]], *, waits: bool = True) -> list[Outcome | Exception]:
        """Commit several writes together, each of which happens or does not.

        :param waits: whether to wait for others that are writing.
        :returns: the outcome of each: a fault of ours in one is its error alone.
        :raises StoreBusyError: if others are writing; nothing of any happened.
        :raises StoreUnavailableError: if the store cannot take them now; nothing of any happened.
        """
        try:
            return self._commit_plainly(writes, waits=waits)
        except StoreUnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is that of one of them
            if len(writes) == 1:
                return [_outcome(error)]
        # Seldom: one of them came to nothing, and with it the transaction. So each by itself, in one transaction again.
        return self._commit_apart(writes, waits=waits)

    def _commit_plainly(self, writes: Sequence[Write[Any]], *, waits: bool) -> list[Outcome | Exception]:
        """Commit several writes, or none.

        :raises GuardError: if one of them is refused.
        :raises Exception: a fault of ours in one of them.
        """
        with self._writing(waits=waits) as connection:
            outcomes: list[Outcome | Exception] = []
            link: Link | None = None
            for write in writes:
                outcomes.append(connection.run_all(write))
                if write.events:
                    link = connection.append(write.events, link)
        return outcomes

    def _commit_apart(self, writes: Sequence[Write[Any]], *, waits: bool) -> list[Outcome | Exception]:
        """Commit several writes, each of which happens or does not."""
        with self._writing(waits=waits) as connection:
            outcomes: list[Outcome | Exception] = []
            link: Link | None = None
            for write in writes:
                connection.run("SAVEPOINT write")
                try:
                    committed = connection.run_all(write)
                    if write.events:
                        link = connection.append(write.events, link)
                    outcomes.append(committed)
                except StoreUnavailableError:
                    # After a full disk or an I/O error nothing is undone apart: SQLite may have ended the transaction.
                    raise
                except Exception as error:
                    if not connection.in_transaction:
                        raise StoreUnavailableError(f"the database {self.path} ended a transaction: {error}") from error
                    connection.run("ROLLBACK TO write")
                    outcomes.append(_outcome(error))
                connection.run("RELEASE write")
        return outcomes

    def account_generation(self) -> int | None:
        """See :meth:`Database.account_generation`."""
        return self._accounts.now()

    def ahead(self, *questions: Question) -> Reader:
        """See :meth:`Reader.ahead`: each is answered from this machine's memory when it is asked."""
        del questions
        return self

    def seal(self, *, waits: bool = True) -> None:
        """See :meth:`Database.seal`: events are chained in the commit of what they record."""

    def unsealed(self) -> Unsealed:
        """See :meth:`Database.unsealed`."""
        return Unsealed(0, None)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """See :meth:`Database.transaction`."""
        with self._writing() as connection:
            yield connection

    @contextmanager
    def _writing(self, *, waits: bool = True, fenced: bool = True) -> Iterator[Connection]:
        """A connection alone with the store, which is committed when the block ends.

        :param fenced: False for a store that may have no fence yet.
        :raises FencedError: if this program may not write to the store.
        """
        connection = self._take()
        try:
            self._writers.enter(waits=waits)
            began = time.monotonic()
            try:
                connection.begin(waits=waits)
                try:
                    if fenced:
                        fence.require(connection)
                    yield connection
                    connection.commit()
                except BaseException:
                    connection.roll_back()
                    raise
            finally:
                self._writers.leave()
                instruments.LOCK_SECONDS.observe(time.monotonic() - began)
        finally:
            self._idle.append(connection)

    @contextmanager
    def migration(self) -> Iterator[Transaction]:
        """See :meth:`Database.migration`."""
        with self._writing(fenced=False) as connection:
            yield connection

    def close(self) -> None:
        """See :meth:`Database.close`."""
        while self._idle:
            self._idle.pop().close()
        self._writers.close()
        self._accounts.close()


def _use_log(raw: sqlite3.Connection) -> None:
    """Have a file written through a log; the file says so itself from then on.

    Of several processes that open one at the same moment, SQLite tells all but one at once that it is locked, whatever
    they would have waited (sqlite.org/wal.html, on SQLITE_BUSY).
    """
    end = time.monotonic() + PATIENCE
    while True:
        try:
            if raw.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                # It takes a quarter of the time that a command takes to start, and is needed once in a store's life.
                import sqlite_utils  # noqa: PLC0415 - see above

                sqlite_utils.Database(raw, recursive_triggers=False, execute_plugins=False).enable_wal()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(_OPENING_PAUSE)
        else:
            return


def _outcome(error: Exception) -> Outcome | Exception:
    """The outcome of a write that ended with an error.

    A fault of ours is that write's alone, whatever it is: a number or a text that no column takes.
    """
    return Refused(error.verdict) if isinstance(error, GuardError) else error


def open_store(url: str, connections: int | None = None) -> Database:
    """Open the store and bring its schema up to date.

    :param url: ``sqlite:`` and the path of a file, or ``postgresql://...``.
    :param connections: the number that this process may have to a server; None for the usual one.
    :raises FencedError: if this program may not write to it any more.
    :raises StoreUnavailableError: if it cannot be opened.
    """
    database = connect(url, connections)
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
            "run the 'acme-iid-ca store migrate' or 'restore' that copies it again, until it says that all was copied"
        )


def connect(url: str, connections: int | None = None) -> Database:
    """The store at ``url``, whatever its schema is.

    :param connections: see :func:`open_store`.
    :raises StoreUnavailableError: if there is no such kind of store here.
    """
    if url.startswith("sqlite:"):
        return SQLite(Path(url.removeprefix("sqlite:")))
    try:
        from acme_iid.store.postgresql import PostgreSQL  # noqa: PLC0415 - SQLite needs no psycopg
    except ImportError as error:
        raise StoreUnavailableError(
            "a store in PostgreSQL takes the extra 'postgresql': pip install 'FROM[server,postgresql]', where FROM is "
            f"the folder or wheel that acme-iid was installed from ({error})"
        ) from error
    return PostgreSQL(url) if connections is None else PostgreSQL(url, connections)
