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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Protocol

import sqlite_utils

from acme_iid.errors import StoreBusyError, StoreUnavailableError
from acme_iid.store import schema
from acme_iid.store.chain import HEAD, INSERT, START, Link, values_after
from acme_iid.store.sealing import Unsealed
from acme_iid.store.statements import returns
from acme_iid.store.writes import Committed, Committing, Outcome, Question, Reader, Refused, Row, Verdict, Write

BUSY_TIMEOUT_SECONDS = 5.0
OLDEST_SQLITE = (3, 35)
"""The first version with RETURNING, without which no order can be recorded."""
# The primary result codes of statements that fail however often they are tried (sqlite.org/rescode.html).
_NEVER = frozenset(
    {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_MISUSE, sqlite3.SQLITE_RANGE}
)
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_LOG_PAGES = 4000
"""How long the write-ahead log grows until it is written back, in pages of 4 KiB; SQLite's own is 1,000."""


class Transaction(Reader, Protocol):
    """An open write transaction: commits when its block ends, rolls back when it raises."""

    def run(self, statement: str, **parameters: object) -> int:
        """Run ``statement`` and say how many rows it changed.

        :raises StoreUnavailableError: if the store cannot take it now.
        """


class Database(Committing, Protocol):
    """An open store."""

    def dialect(self) -> str:
        """What files of the schema are named for that only one kind of database takes.

        :raises StoreUnavailableError: if the store cannot answer now.
        """

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """A write transaction of many rows, for work on the store itself; use cases commit what they have decided."""

    def seal(self, *, waits: bool = True) -> None:
        """Chain the events that were stored and are not chained yet, where that is not done with their commit.

        :param waits: whether to wait for another process that does so; it may leave events of before then.
        :raises StoreUnavailableError: if the store cannot be used now.
        """

    def unsealed(self) -> Unsealed:
        """The events that are not chained yet.

        :raises StoreUnavailableError: if the store cannot answer now.
        """

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

    def commit(self, write: Write[Any]) -> Outcome:
        """See :meth:`~acme_iid.store.writes.Committing.commit`."""
        (outcome,) = self.commit_all((write,))
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def commit_all(self, writes: Sequence[Write[Any]], *, waits: bool = True) -> list[Outcome | Exception]:
        """Commit several writes together, each of which happens or does not.

        :param waits: whether to wait for others that are writing.
        :returns: what came of each: a fault of ours in one is its error alone.
        :raises StoreBusyError: if others are writing; nothing of any happened.
        :raises StoreUnavailableError: if the store cannot take them now; nothing of any happened.
        """
        if len(writes) == 1:
            return [self._commit_alone(writes[0], waits=waits)]
        outcomes: list[Outcome | Exception] = []
        with self._writing(waits=waits) as connection:
            link: Link | None = None
            for write in writes:
                connection.run("SAVEPOINT write")
                try:
                    committed = _execute(connection, write)
                    if write.events:
                        link = _append(connection, write, link)
                    outcomes.append(committed)
                except StoreUnavailableError:
                    # After a full disk or an I/O error nothing is undone apart: SQLite may have ended the transaction.
                    raise
                except Exception as error:
                    if not connection.in_transaction:
                        raise StoreUnavailableError(f"the database {self.path} ended a transaction: {error}") from error
                    connection.run("ROLLBACK TO write")
                    # A fault of ours is that write's alone, whatever it is: a number or a text that no column takes.
                    outcomes.append(Refused(error.verdict) if isinstance(error, _GuardError) else error)
                connection.run("RELEASE write")
        return outcomes

    def _commit_alone(self, write: Write[Any], *, waits: bool) -> Outcome | Exception:
        """As :meth:`commit_all`, without a savepoint: what is refused is all that there is."""
        try:
            with self._writing(waits=waits) as connection:
                committed = _execute(connection, write)
                if write.events:
                    _append(connection, write, None)
        except _GuardError as error:
            return Refused(error.verdict)
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.OperationalError) as error:
            return error
        return committed

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
    def _writing(self, *, waits: bool = True) -> Iterator[_Connection]:
        """A connection alone with the store, which is committed when the block ends."""
        connection = self._take()
        try:
            self._writers.enter(waits=waits)
            try:
                connection.begin(waits=waits)
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


class _GuardError(Exception):
    """A guard failed."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__()
        self.verdict = verdict


def _execute(connection: _Connection, write: Write[Any]) -> Committed:
    """Run the statements of a write.

    :raises _GuardError: if one of them has to change or give a row, and did not, or hurt its constraint.
    """
    returned: list[Row] = []
    for statement in write.statements:
        try:
            cursor = connection.execute(statement.text, statement.values)
            rows: list[Row] = cursor.fetchall()
        except sqlite3.IntegrityError as error:
            if statement.verdict is None or statement.unique is None or statement.unique not in str(error):
                raise
            raise _GuardError(statement.verdict) from error
        if statement.verdict is not None and not rows and cursor.rowcount <= 0:
            raise _GuardError(statement.verdict)
        if returns(statement.text):
            returned += rows
    return Committed(returned)


def _append(connection: _Connection, write: Write[Any], link: Link | None) -> Link:
    """Chain the events of a write.

    :param link: the place of the event before; None if that is the store's latest one.
    :returns: the place of the last one.
    """
    if link is None:
        rows = connection.rows(HEAD)
        link = Link(rows[0]["seq"], rows[0]["hash"]) if rows else START
    for event in write.events:
        link, values = values_after(link, event)
        connection.execute(INSERT, values)
    return link


class _Queue:
    """Where those wait who want to write, in all processes.

    SQLite would have them sleep, longer each time, so that who has waited longest looks least often. The kernel lets
    them go on in the order in which they came. This is no lock that anything relies on: BEGIN IMMEDIATE is.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        self._path = database.with_name(database.name + "-writers")
        self._threads = threading.Lock()
        self._file: int | None = None
        self._waited: int | None = None

    def enter(self, *, waits: bool = True) -> None:
        """Wait for those who are before; :meth:`leave` lets the next one on.

        :param waits: False to go away again where somebody is.
        :raises StoreUnavailableError: if that takes too long.
        """
        if not self._threads.acquire(timeout=BUSY_TIMEOUT_SECONDS if waits else 0):
            raise self._late()
        try:
            self._wait_for_processes(waits=waits)
        except BaseException:
            self._threads.release()
            raise

    def leave(self) -> None:
        """Let the next one on."""
        assert self._file is not None
        if self._waited is None:
            fcntl.flock(self._file, fcntl.LOCK_UN)
        else:
            os.close(self._waited)
            self._waited = None
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

    def _wait_for_processes(self, *, waits: bool) -> None:
        try:
            if self._file is None:
                self._file = self._open()
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not waits:
                    raise self._late() from None
                # A lock belongs to what was opened: one that comes too late must be nobody else's.
                turn = _Turn(self._open())
                self._waited = turn.wait(BUSY_TIMEOUT_SECONDS)
                if self._waited is None:
                    raise self._late() from None
        except OSError as error:
            raise StoreUnavailableError(f"{self._path} cannot be opened: {error}") from error

    def _open(self) -> int:
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if os.geteuid() == 0:
            # As SQLite does with its own files: the server may be another user's.
            owner = self._database.stat()
            os.fchown(file, owner.st_uid, owner.st_gid)
        return file

    def _late(self) -> StoreUnavailableError:
        return StoreBusyError(f"others have been writing to the database beside {self._path} all the time")


class _Turn:
    """A place in the kernel's queue for the lock of a file, which a thread waits in: a call cannot be ended."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._came = threading.Event()
        self._given_up = False
        threading.Thread(target=self._run, daemon=True).start()

    def wait(self, seconds: float) -> int | None:
        """The locked file, which whoever closes it unlocks; None, and it is nobody's, if the lock does not come."""
        self._came.wait(seconds)
        with self._lock:
            self._given_up = not self._came.is_set()
            return None if self._given_up else self._file

    def _run(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_EX)
        with self._lock:
            if not self._given_up:
                self._came.set()
                return
        os.close(self._file)


class _Connection:
    """A connection while somebody has it."""

    def __init__(self, raw: sqlite3.Connection, path: Path) -> None:
        self._raw = raw
        self._path = path

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._raw.in_transaction

    def execute(self, statement: str, parameters: Mapping[str, object]) -> sqlite3.Cursor:
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

    def ahead(self, *questions: Question) -> Reader:
        """See :meth:`Reader.ahead`."""
        del questions
        return self

    def run(self, statement: str, **parameters: object) -> int:
        """See :meth:`Transaction.run`."""
        return self.execute(statement, parameters).rowcount

    def begin(self, *, waits: bool) -> None:
        """Begin a transaction that writes.

        :param waits: whether to wait for those who do not queue: another program, or a restart's recovery of the log.
        """
        if waits:
            self.run("BEGIN IMMEDIATE")
            return
        self.run("PRAGMA busy_timeout = 0")
        try:
            self.run("BEGIN IMMEDIATE")
        finally:
            self.run(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT_SECONDS * 1000)}")

    def close(self) -> None:
        """Close it."""
        self._raw.close()

    def roll_back(self) -> None:
        """Undo what the transaction has done; SQLite has rolled back by itself after some errors (disk full, I/O)."""
        if self._raw.in_transaction:
            self._raw.execute("ROLLBACK")


def _schema_files() -> list[Traversable]:
    found = (entry for entry in files("acme_iid.store.schema").iterdir() if entry.name.endswith(".sql"))
    return sorted(found, key=lambda entry: entry.name)


def latest_schema() -> str:
    """The latest of the schema's files that are known here."""
    return _schema_files()[-1].name


def migrate(database: Database) -> None:
    """Bring the schema up to date: each numbered file under schema/ once, in order, all in one transaction.

    ``NUMBER_NAME.sql`` is for every database, ``NUMBER_NAME.DIALECT.sql`` for those of one dialect.
    """
    dialect = database.dialect()
    known = _schema_files()
    with database.migration() as transaction:
        transaction.run(
            "CREATE TABLE IF NOT EXISTS schema_migrations (name TEXT PRIMARY KEY)",
        )
        applied = {row["name"] for row in transaction.rows("SELECT name FROM schema_migrations")}
        unknown = applied - {entry.name for entry in known}
        if any(name.startswith("00") for name in unknown):
            raise StoreUnavailableError(
                "the database was written by an acme-iid from before the first release, whose stores are not carried "
                "over; make a new CA with 'acme-iid-ca init', in another home or database"
            )
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
                        transaction.run(schema.translate(statement, dialect))
                transaction.run("INSERT INTO schema_migrations (name) VALUES (:name)", name=entry.name)


def open_store(url: str, connections: int | None = None) -> Database:
    """Open the store and bring its schema up to date.

    :param url: ``sqlite:`` and the path of a file, or ``postgresql://...``.
    :param connections: how many this process may have to a server; None for as many as is usual.
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
            "run the acme-iid-ca store migrate, or restore, again that copies it, until it says that all was copied"
        )


def connect(url: str, connections: int | None = None) -> Database:
    """The store at ``url``, whatever its schema is.

    :param connections: see :func:`open_store`.
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
    return PostgreSQL(url) if connections is None else PostgreSQL(url, connections)
