"""PostgreSQL through psycopg: one store for several machines (rfc-notes/decisions/0015-postgresql.md).

A write transaction begins by locking the one row of the table ``writer``, so that writers queue as they do for SQLite's
BEGIN IMMEDIATE: what a use case has read in its transaction stays true until it commits. Everything else reads without
a lock. What a distributed relative of PostgreSQL refuses all the same, because of another transaction, is a
:class:`~acme_iid.errors.StoreConflictError`, after which the whole use case can run again.
"""

from __future__ import annotations

import logging
import re
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
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
from acme_iid.store.clock import MAX_SECONDS_OFF, StoreClock
from acme_iid.store.database import Reader, Row, Transaction
from acme_iid.store.deadlines import (
    ANSWER_SECONDS,
    CONNECTION_DEFAULTS,
    Connection,
    NoAnswerError,
    configure,
    is_lost,
    text_of,
)
from acme_iid.store.nonces import ID_BYTES
from acme_iid.store.statements import translate

Pool = ConnectionPool[Connection]

MAX_CONNECTIONS = 8
"""Connections of one process. Writers queue for one row anyway, and a read takes less than a millisecond."""

_WAIT_SECONDS = 3.0
_MIGRATION_SECONDS = 60
_SCHEMA_SECONDS = 3600
_SNAPSHOT_SECONDS = 600
_KEPT_SECONDS = 3600
_EPOCH_BYTES = 8
_FORGET_ONE_IN = 256
_FORGOTTEN_AT_ONCE = 1000
_ATTEMPTS = 4
_MIGRATION_LOCK = 0x61636D6569696401  # "acmeiid" and 1: nobody else's
_BEGIN = (
    b"BEGIN ISOLATION LEVEL READ COMMITTED; "
    b"SELECT extract(epoch FROM clock_timestamp())::float8 AS time FROM writer WHERE id = 1 FOR UPDATE"
)
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
        """Run one statement that does no harm if it is run twice, without the writers' lock.

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
        with self._committed(_BEGIN) as (transaction, writer):
            if writer is None:
                raise StoreUnavailableError(f"{self.name} has no row in the table 'writer', for which writers queue")
            self.clock.set(writer["time"])
            self.clock.require_right()
            yield transaction

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
        pool, connection, locked = self._begin(begin, seconds)
        try:
            yield _Transaction(self, connection), locked
            self._commit(connection)
        finally:
            self._give_back(pool, connection)

    def _begin(self, begin: bytes, seconds: float) -> tuple[Pool, Connection, Row | None]:
        """A connection in a transaction that was begun, and the row that it has locked.

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

    def _execute(self, statement: str, parameters: Mapping[str, object]) -> tuple[list[Row], int]:
        try:
            return _execute(self._connection, statement, parameters)
        except psycopg.Error as error:
            raise self._database.failure(error) from error


class NonceTable:
    """The nonces of all replicas: spent in one statement, without the writers' lock, and not waiting for the disk.

    What was spent last is forgotten when the database server crashes, or another takes over. Both tables are unlogged,
    and are emptied then; so the epoch, which is in each nonce, is over, and nonces of before are refused
    (rfc-notes/decisions/0003-spent-nonces.md; PostgreSQL's manual, "The Initialization Fork").

    :raises StoreUnavailableError: if the store cannot answer now.
    """

    def __init__(self, database: PostgreSQL) -> None:
        self._database = database
        self._epoch = self._current_epoch()

    def _current_epoch(self) -> bytes:
        """The epoch, of which there is a new one where there is none; the server's time comes with it."""
        found = self._database.rows(
            "SELECT epoch, extract(epoch FROM clock_timestamp())::float8 AS time FROM nonce_epochs WHERE id = 1"
        )
        if not found:
            # Of replicas that find none, all get the one that was put in first.
            found, _ = self._database.run_alone(
                """INSERT INTO nonce_epochs (id, epoch) VALUES (1, :epoch)
                   ON CONFLICT (id) DO UPDATE SET epoch = nonce_epochs.epoch
                   RETURNING epoch, extract(epoch FROM clock_timestamp())::float8 AS time""",
                epoch=secrets.token_hex(_EPOCH_BYTES),
            )
        self._database.clock.set(found[0]["time"])
        return bytes.fromhex(found[0]["epoch"])

    def fresh(self) -> bytes:
        """See :meth:`~acme_iid.store.nonces.SpentNonces.fresh`."""
        return self._epoch + secrets.token_bytes(ID_BYTES - _EPOCH_BYTES)

    def time(self, now: int) -> int:
        """See :meth:`~acme_iid.store.nonces.SpentNonces.time`: the server's clock dates them."""
        return int(now - self._database.clock.ahead())

    def spend(self, identifier: bytes, issued_at: int, expires_at: int, now: int) -> bool:
        """See :meth:`~acme_iid.store.nonces.SpentNonces.spend`; by the server's clock, also against the future.

        One whose outcome was lost with a connection counts as spent: the client uses another.
        """
        _, spent = self._database.run_alone(
            """INSERT INTO spent_nonces (nonce, expires_at)
               SELECT :nonce, :expires_at FROM nonce_epochs WHERE id = 1 AND epoch = :epoch
               AND :expires_at > extract(epoch FROM now()) AND :latest <= extract(epoch FROM now())
               ON CONFLICT DO NOTHING""",
            nonce=identifier.hex(),
            latest=issued_at - MAX_SECONDS_OFF,
            expires_at=expires_at,
            epoch=identifier[:_EPOCH_BYTES].hex(),
        )
        if not spent:
            # The epoch may be over, or the server's clock was set: the client's next nonce is right again.
            self._epoch = self._current_epoch()
        elif secrets.randbelow(_FORGET_ONE_IN) == 0:
            self.forget_expired(now)
        return bool(spent)

    def close(self) -> None:
        """See :meth:`~acme_iid.store.nonces.SpentNonces.close`: the connections are the database's."""

    def forget_expired(self, now: int) -> int:
        """Forget some of the nonces that ran out an hour ago, in case the server's clock is set back; how many.

        :param now: seconds; the server's clock counts where it is behind.
        """
        _, forgotten = self._database.run_alone(
            """DELETE FROM spent_nonces WHERE nonce IN (
                   SELECT nonce FROM spent_nonces WHERE expires_at <= LEAST(:now, extract(epoch FROM now())) - :kept
                   ORDER BY expires_at LIMIT :most FOR UPDATE SKIP LOCKED)""",
            now=now,
            kept=_KEPT_SECONDS,
            most=_FORGOTTEN_AT_ONCE,
        )
        return forgotten


def random_pause(attempt: int) -> float:
    """Seconds to wait after the failed attempt with this number, from 0: other than others who failed together."""
    return secrets.randbelow(20 << attempt) / 1000


def _execute(connection: Connection, statement: str, parameters: Mapping[str, object]) -> tuple[list[Row], int]:
    for value in parameters.values():
        if isinstance(value, str) and "\0" in value:
            raise UnstorableTextError("a text holds the character NUL, which nothing here has in it")
    try:
        cursor = connection.execute(translate(statement), parameters)
        return (list(cursor) if cursor.description else []), cursor.rowcount
    except psycopg.Error as error:
        if is_lost(error):
            connection.close()
        raise
