"""PostgreSQL through psycopg: one store for several machines (rfc-notes/decisions/0015-postgresql.md).

A write is one round trip: BEGIN, its statements, COMMIT. A guard that finds no row makes a statement fail, and so the
COMMIT a ROLLBACK. Rows are locked by the statements that change them, or as shared by those that only rely on them, and
by nothing else. Events are stored with what they record, in an inbox, from which one process at a time chains them.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import conninfo, errors
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool, PoolTimeout

from acme_iid.errors import (
    OutcomeUnknownError,
    StoreBusyError,
    StoreConflictError,
    StoreUnavailableError,
    UnstorableTextError,
)
from acme_iid.store.chain import HEAD, INSERT, START, Link, NewEvent, values_after
from acme_iid.store.clock import MAX_SECONDS_OFF, StoreClock
from acme_iid.store.database import Transaction
from acme_iid.store.deadlines import (
    ANSWER_SECONDS,
    CONNECTION_DEFAULTS,
    Connection,
    NoAnswerError,
    configure,
    is_lost,
    text_of,
)
from acme_iid.store.statements import guarded, returns, translate
from acme_iid.store.writes import Committed, Outcome, Reader, Refused, Row, Statement, Write, again

Pool = ConnectionPool[Connection]

MAX_CONNECTIONS = 8
"""Connections of one process; each is in use for a round trip at a time."""

_WAIT_SECONDS = 3.0
_MIGRATION_SECONDS = 60
_SCHEMA_SECONDS = 3600
_SNAPSHOT_SECONDS = 600
_ATTEMPTS = 4
_MIGRATION_LOCK = 0x61636D6569696401  # "acmeiid" and 1: nobody else's
_BEGIN = b"BEGIN ISOLATION LEVEL READ COMMITTED; SELECT extract(epoch FROM clock_timestamp())::float8 AS time"
_RIGHT_CLOCK = "SELECT 1 WHERE abs(extract(epoch FROM clock_timestamp())::float8 - CAST(:time AS float8)) <= :most"
_INBOX = "INSERT INTO event_inbox (at, entry) VALUES (:at, :entry)"
_SEALED_AT_ONCE = 1000
_BEGIN_MIGRATION = (
    f"BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = 0; "
    f"SET LOCAL lock_timeout = '{_MIGRATION_SECONDS}s'; SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"
).encode()
_BEGIN_SNAPSHOT = (
    f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = '{_SNAPSHOT_SECONDS - 10}s'; "
    f"SET LOCAL idle_in_transaction_session_timeout = '{_SNAPSHOT_SECONDS - 10}s'; SELECT 1 AS one"
).encode()
# The errors that we raise say what the pool's warnings do.
logging.getLogger("psycopg.pool").setLevel(logging.ERROR)

_UNDECIDED = re.compile(r"08|57|40003")
"""The SQLSTATEs that do not say whether a COMMIT took place."""


class PostgreSQL:
    """A PostgreSQL database, through a pool of connections that is opened when it is needed.

    :param url: ``postgresql://...`` with libpq's parameters; what it leaves out comes from libpq's environment.
    :raises StoreUnavailableError: if it is no such URL. No error says what stands in it but for host and database.
    """

    def __init__(self, url: str) -> None:
        try:
            given: dict[str, Any] = conninfo.conninfo_to_dict(url)
        except psycopg.ProgrammingError:
            raise StoreUnavailableError(
                "the store's url is none that PostgreSQL's library can read; write for example "
                "postgresql://acme_iid@db.internal/acme_iid, with %40 for an @ in a user's name or password"
            ) from None
        self._conninfo = conninfo.make_conninfo(**{**CONNECTION_DEFAULTS, **given})
        self.name = f"the database {given.get('dbname', '')!r} on {given.get('host') or 'this machine'}"
        self.clock = StoreClock(self.name)
        self._lock = threading.Lock()
        self._pool: Pool | None = None

    def _opened(self) -> Pool:
        with self._lock:
            if self._pool is None:
                self._pool = ConnectionPool(
                    self._conninfo,
                    connection_class=Connection,
                    kwargs={"autocommit": True, "row_factory": dict_row},
                    min_size=1,
                    max_size=MAX_CONNECTIONS,
                    timeout=_WAIT_SECONDS,
                    # Whoever needs a connection tries again: a database that is back is found at once.
                    reconnect_timeout=1.0,
                    configure=configure,
                    open=True,
                )
            return self._pool

    def _take(self) -> tuple[Pool, Connection]:
        pool = self._opened()
        try:
            return pool, pool.getconn()
        except PoolTimeout as error:
            raise StoreUnavailableError(f"{self.name} cannot be used now: {self._why(error)}") from error

    @staticmethod
    def _give_back(pool: Pool, connection: Connection) -> None:
        """Give a connection back to its pool, with no transaction open; one that cannot have that is closed."""
        connection.seconds = ANSWER_SECONDS
        try:
            if not connection.closed and connection.info.transaction_status:
                connection.execute(b"ROLLBACK")
        except psycopg.Error:
            connection.close()
        finally:
            pool.putconn(connection)

    def _why(self, error: PoolTimeout) -> str:
        """Why the pool has no connection: what the server says to one more."""
        try:
            with Connection.connect(self._conninfo, autocommit=True, row_factory=dict_row) as connection:
                configure(connection)
        except psycopg.Error as cause:
            return text_of(cause)
        return f"all {MAX_CONNECTIONS} connections are in use ({text_of(error)})"

    def failure(self, error: psycopg.Error) -> Exception:
        """What an error of psycopg's is to the rooms above; itself if it is a fault of ours."""
        if isinstance(error, errors.SerializationFailure | errors.DeadlockDetected):
            return StoreConflictError(f"{self.name} let another transaction go first: {text_of(error)}")
        if isinstance(error, errors.LockNotAvailable):
            return StoreBusyError(f"others have been writing to {self.name} all the time: {text_of(error)}")
        if isinstance(error, errors.InsufficientPrivilege):
            return StoreUnavailableError(f"{self.name} does not let us do that: {text_of(error)}")
        ours = psycopg.IntegrityError | psycopg.ProgrammingError | psycopg.DataError | psycopg.NotSupportedError
        if isinstance(error, ours):
            return error
        return StoreUnavailableError(f"{self.name} cannot be used now: {text_of(error)}")

    def _is_worth_another(self, error: psycopg.Error, attempt: int) -> bool:
        """Whether to try again what has changed nothing, once dead connections are dropped, or after a short pause."""
        if attempt + 1 == _ATTEMPTS or isinstance(error, NoAnswerError):
            return False
        if isinstance(error, errors.SerializationFailure | errors.DeadlockDetected):
            time.sleep(random_pause(attempt))
            return True
        if is_lost(error):
            # The server was restarted, most likely, and took all of our connections with it.
            self._opened().check()
            return True
        return False

    def dialect(self) -> str:
        """See :meth:`~acme_iid.store.database.Database.dialect`; PostgreSQL's relatives have no files of their own."""
        version: str = self.rows("SELECT version() AS version")[0]["version"]
        return "postgresql" if version.startswith("PostgreSQL ") and "-YB-" not in version else "relative"

    def run_alone(self, statement: str, **parameters: object) -> tuple[list[Row], int]:
        """Run one statement that does no harm if it is run twice.

        :returns: its rows, and how many it gave or changed.
        :raises StoreUnavailableError: if the store cannot take it now.
        """
        for attempt in range(_ATTEMPTS):
            pool, connection = self._take()
            try:
                return _execute(connection, statement, parameters)
            except psycopg.Error as error:
                if not self._is_worth_another(error, attempt):
                    raise self.failure(error) from error
            finally:
                self._give_back(pool, connection)
        raise AssertionError  # the last attempt returns or raises

    def rows(self, statement: str, **parameters: object) -> list[Row]:
        """See :meth:`~acme_iid.store.database.Reader.rows`."""
        return self.run_alone(statement, **parameters)[0]

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """See :meth:`~acme_iid.store.database.Database.transaction`.

        :raises StoreConflictError: if the engine preferred another transaction: all of it can run again.
        :raises OutcomeUnknownError: if the connection was lost while it was committed; ClockError for a wrong clock.
        """
        with self._committed(_BEGIN) as (transaction, begun):
            assert begun is not None  # the statement gives a row
            self.clock.set(begun["time"])
            self.clock.require_right()
            yield transaction

    def commit(self, write: Write[Any]) -> Outcome:
        """See :meth:`~acme_iid.store.writes.Committing.commit`.

        :raises OutcomeUnknownError: if the connection was lost; ClockError for a wrong clock.
        """
        for attempt in range(_ATTEMPTS):
            pool, connection = self._take()
            try:
                outcome = self._commit_once(connection, write)
            except (errors.SerializationFailure, errors.DeadlockDetected) as error:
                if not self._is_worth_another(error, attempt):
                    raise self.failure(error) from error
            else:
                return outcome
            finally:
                self._give_back(pool, connection)
        raise AssertionError  # the last attempt returns or raises

    def _commit_once(self, connection: Connection, write: Write[Any]) -> Outcome:
        guards = [Statement(_RIGHT_CLOCK, {"time": time.time(), "most": MAX_SECONDS_OFF}, again), *write.statements]
        inbox = [
            Statement(_INBOX, {"at": event.at, "entry": json.dumps(event, separators=(",", ":"))})
            for event in write.events
        ]
        statements = guards + inbox
        cursors, error = connection.execute_together(
            [(b"BEGIN ISOLATION LEVEL READ COMMITTED", {}), *map(_command, statements), (b"COMMIT", {})]
        )
        if error is None and cursors[-1].statusmessage == "COMMIT":
            rows = [
                row
                for statement, cursor in zip(statements, cursors[1:-1], strict=True)
                if returns(statement.text)
                for row in cursor
            ]
            return Committed(rows)
        if error is None:
            raise StoreUnavailableError(f"{self.name} did not commit a transaction in which a statement failed")
        if is_lost(error):
            connection.close()
            # The server was restarted, most likely, and took all of our connections with it.
            self._opened().check()
            raise OutcomeUnknownError(f"{self.name} went away while a transaction was committed: {text_of(error)}")
        failed = next((at for at, cursor in enumerate(cursors[1:]) if cursor.rowcount == -1), None)
        if failed is not None and failed < len(statements):
            if failed == 0 and isinstance(error, errors.DivisionByZero):
                self.require_right_clock()
                raise StoreUnavailableError(f"the clock of {self.name} was set")
            statement = statements[failed]
            if statement.verdict is not None and _is_verdict(error, statement):
                return Refused(statement.verdict)
        if isinstance(error, errors.SerializationFailure | errors.DeadlockDetected):
            raise error
        raise self.failure(error) from error

    def seal(self, *, waits: bool = True) -> None:
        """See :meth:`~acme_iid.store.database.Database.seal`.

        :param waits: whether to wait for another process that does so; it may leave events of before then.
        """
        while self._seal_some(waits=waits):
            pass

    def _seal_some(self, *, waits: bool) -> bool:
        """Chain some events; whether there may be more."""
        with self._committed(_BEGIN) as (transaction, _):
            lock = "SELECT id FROM sealing WHERE id = 1 FOR UPDATE" + ("" if waits else " SKIP LOCKED")  # noqa: S608 - constants
            if not transaction.rows(lock):
                return False
            inbox = transaction.rows("SELECT id, entry FROM event_inbox ORDER BY id LIMIT :most", most=_SEALED_AT_ONCE)
            if not inbox:
                return False
            rows = transaction.rows(HEAD)
            link = Link(rows[0]["seq"], rows[0]["hash"]) if rows else START
            values: list[dict[str, object]] = []
            for row in inbox:
                link, entry = values_after(link, NewEvent(*json.loads(row["entry"])))
                values.append(entry)
            transaction.run_many(INSERT, values)
            transaction.run("DELETE FROM event_inbox WHERE id = ANY(:ids)", ids=[row["id"] for row in inbox])
        return len(inbox) == _SEALED_AT_ONCE

    def unsealed(self) -> tuple[int, int | None]:
        """How many events are not chained yet, and when the oldest of them was stored."""
        (row,) = self.rows("SELECT count(*) AS number, min(at) AS oldest FROM event_inbox")
        return row["number"], row["oldest"]

    @contextmanager
    def migration(self) -> Iterator[Transaction]:
        """See :meth:`~acme_iid.store.database.Database.migration`."""
        with self._committed(_BEGIN_MIGRATION, _SCHEMA_SECONDS) as (transaction, _):
            yield transaction

    @contextmanager
    def snapshot(self) -> Iterator[Reader]:
        """All that is stored as it is at one moment, however long it is read; writers are not kept waiting.

        :raises StoreUnavailableError: if the store cannot answer now.
        """
        pool, connection, _ = self._begin(_BEGIN_SNAPSHOT, _SNAPSHOT_SECONDS)
        try:
            yield _Transaction(self, connection)
        finally:
            self._give_back(pool, connection)

    @contextmanager
    def _committed(self, begin: bytes, seconds: float = ANSWER_SECONDS) -> Iterator[tuple[_Transaction, Row | None]]:
        pool, connection, begun = self._begin(begin, seconds)
        try:
            yield _Transaction(self, connection), begun
            self._commit(connection)
        finally:
            self._give_back(pool, connection)

    def _begin(self, begin: bytes, seconds: float) -> tuple[Pool, Connection, Row | None]:
        """A connection in a transaction that was begun, and the row that its beginning gave.

        :param seconds: for how long each answer in it is waited for.
        """
        for attempt in range(_ATTEMPTS):
            pool, connection = self._take()
            connection.seconds = seconds
            try:
                cursor = connection.execute(begin, prepare=False)
                while cursor.nextset():
                    pass
                return pool, connection, cursor.fetchone()
            except psycopg.Error as error:
                if is_lost(error):
                    connection.close()
                self._give_back(pool, connection)
                if not self._is_worth_another(error, attempt):
                    raise self.failure(error) from error
        raise AssertionError  # the last attempt returns or raises

    def _commit(self, connection: Connection) -> None:
        try:
            done = connection.execute(b"COMMIT").statusmessage
        except psycopg.Error as error:
            # Without an answer it may be that all was stored.
            if error.sqlstate is None or _UNDECIDED.match(error.sqlstate):
                raise OutcomeUnknownError(
                    f"{self.name} went away while a transaction was committed: {text_of(error)}"
                ) from error
            raise self.failure(error) from error
        if done != "COMMIT":
            # That is how the server answers where a statement failed and the failure was passed over.
            raise StoreUnavailableError(f"{self.name} did not commit a transaction in which a statement failed")

    def require_right_clock(self) -> None:
        """Raise ClockError if this machine's clock differs too much from the server's."""
        self.clock.set(self.rows("SELECT extract(epoch FROM clock_timestamp())::float8 AS time")[0]["time"])
        self.clock.require_right()

    def close(self) -> None:
        """Close all connections; the next use opens others."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()


class _Transaction:
    """See :class:`~acme_iid.store.database.Transaction`."""

    def __init__(self, database: PostgreSQL, connection: Connection) -> None:
        self._database = database
        self._connection = connection

    def rows(self, statement: str, **parameters: object) -> list[Row]:
        """See :meth:`~acme_iid.store.database.Reader.rows`."""
        return self._execute(statement, parameters)[0]

    def run(self, statement: str, **parameters: object) -> int:
        """See :meth:`~acme_iid.store.database.Transaction.run`."""
        return self._execute(statement, parameters)[1]

    def run_many(self, statement: str, several: Sequence[Mapping[str, object]]) -> None:
        """Run a statement once for each of several sets of parameters, in one round trip."""
        _, error = self._connection.execute_together([(translate(statement), values) for values in several])
        if error is not None:
            raise self._database.failure(error) from error

    def _execute(self, statement: str, parameters: Mapping[str, object]) -> tuple[list[Row], int]:
        try:
            return _execute(self._connection, statement, parameters)
        except psycopg.Error as error:
            raise self._database.failure(error) from error


def random_pause(attempt: int) -> float:
    """Seconds to wait after the failed attempt with this number, from 0: other than others who failed together."""
    return secrets.randbelow(20 << attempt) / 1000


def _command(statement: Statement) -> tuple[bytes, Mapping[str, object]]:
    """A statement of a write as it is sent."""
    _require_storable(statement.values)
    text = statement.text
    if statement.verdict is not None:
        text = guarded(text, shared=statement.shared)
    return translate(text), statement.values


def _is_verdict(error: psycopg.Error, statement: Statement) -> bool:
    """Whether the error of a guard says that it found no row, or that its constraint is hurt."""
    if isinstance(error, errors.UniqueViolation) and statement.unique is not None:
        return error.diag.constraint_name == f"{statement.unique.replace('.', '_')}_key"
    return isinstance(error, errors.DivisionByZero)


def _require_storable(values: Mapping[str, object]) -> None:
    for value in values.values():
        if isinstance(value, str) and "\0" in value:
            raise UnstorableTextError("a text holds the character NUL, which nothing here has in it")


def _execute(connection: Connection, statement: str, parameters: Mapping[str, object]) -> tuple[list[Row], int]:
    _require_storable(parameters)
    try:
        cursor = connection.execute(translate(statement), parameters)
        return (list(cursor) if cursor.description else []), cursor.rowcount
    except psycopg.Error as error:
        if is_lost(error):
            connection.close()
        raise
