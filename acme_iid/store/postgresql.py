"""PostgreSQL through psycopg: one store for several machines (rfc-notes/decisions/0015-postgresql.md).

A write is one round trip: BEGIN, its statements, COMMIT. A guard that finds no row makes a statement fail, and so the
COMMIT a ROLLBACK. Rows are locked by the statements that change them, or as shared by those that only rely on them, and
by nothing else. Events are stored with what they record, in an inbox, from which one process at a time chains them.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import conninfo, errors
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool, PoolTimeout

from acme_iid.errors import FencedError, OutcomeUnknownError, StoreBusyError, StoreUnavailableError
from acme_iid.store import fence, sealing, server_statements
from acme_iid.store.clock import MAX_SECONDS_OFF, StoreClock
from acme_iid.store.database import Transaction
from acme_iid.store.deadlines import (
    ANSWER_SECONDS,
    CONNECTION_DEFAULTS,
    Connection,
    configure,
    look,
)
from acme_iid.store.failures import NoAnswerError, is_lost, is_undecided, is_verdict, store_error, text_of
from acme_iid.store.server_transactions import ServerTransaction, command, entry_of, fetched
from acme_iid.store.settings import CONNECTIONS
from acme_iid.store.statements import returns
from acme_iid.store.writes import Answered, Committed, Outcome, Question, Reader, Refused, Row, Statement, Write
from acme_iid.telemetry import instruments

Pool = ConnectionPool[Connection]

_WAIT_SECONDS = 3.0
_SCHEMA_SECONDS = 3600
_ATTEMPTS = 4
# The errors that we raise say what the pool's warnings do.
logging.getLogger("psycopg.pool").setLevel(logging.ERROR)


class PostgreSQL:
    """A PostgreSQL database, through a pool of connections that is opened when it is needed.

    :param url: ``postgresql://...`` with libpq's parameters; what it leaves out comes from libpq's environment.
    :param connections: the largest number of connections; each is in use for a round trip at a time.
    :raises StoreUnavailableError: if it is no such URL. No error says what stands in it but for host and database.
    """

    def __init__(self, url: str, connections: int = CONNECTIONS) -> None:
        try:
            parameters: dict[str, Any] = conninfo.conninfo_to_dict(url)
        except psycopg.ProgrammingError:
            raise StoreUnavailableError(
                "PostgreSQL's library cannot read the store's url; write for example "
                "postgresql://acme_iid@db.internal/acme_iid, with %40 for an @ in a user's name or password"
            ) from None
        self._conninfo = conninfo.make_conninfo(**{**CONNECTION_DEFAULTS, **parameters})
        self.name = f"the database {parameters.get('dbname', '')!r} on {parameters.get('host') or 'this machine'}"
        self.clock = StoreClock(self.name)
        self._lock = threading.Lock()
        self._asking = threading.Lock()
        self._pool: Pool | None = None
        self._connections = connections
        self._renewed_at = -float("inf")

    def _opened(self) -> Pool:
        with self._lock:
            if self._pool is None:
                self._pool = ConnectionPool(
                    self._conninfo,
                    connection_class=Connection,
                    kwargs={"autocommit": True, "row_factory": dict_row},
                    min_size=1,
                    max_size=self._connections,
                    timeout=_WAIT_SECONDS,
                    # The next one that needs a connection tries again: a database that is back is found at once.
                    reconnect_timeout=1.0,
                    configure=configure,
                    open=True,
                )
            return self._pool

    def _renew(self, failed: Connection) -> None:
        """Close a connection that is of no more use, and those that were made no later than it: they are the same."""
        failed.close()
        with self._lock:
            pool, known = self._pool, failed.made_at < self._renewed_at
            self._renewed_at = max(self._renewed_at, failed.made_at if known else time.monotonic())
        if pool is not None and not known:
            pool.drain()

    def _take(self) -> tuple[Pool, Connection]:
        pool = self._opened()
        for _ in range(_ATTEMPTS):
            try:
                connection = pool.getconn()
            except PoolTimeout as error:
                raise self._no_connection_error(pool, error) from error
            try:
                look(connection)
            except psycopg.Error:
                # The server was restarted, most likely, and took all of our connections with it.
                self._renew(connection)
                pool.putconn(connection)
            else:
                return pool, connection
        raise StoreUnavailableError(f"{self.name} ends each connection")

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

    def _no_connection_error(self, pool: Pool, error: PoolTimeout) -> StoreUnavailableError:
        """Why the pool has no connection: others use all of them, or what the server says to one more."""
        if pool.get_stats().get("pool_size", 0) >= self._connections:
            return StoreBusyError(f"all {self._connections} connections to {self.name} are in use: {text_of(error)}")
        why = text_of(error)
        # One asks at a time: however many wait, there are no more connections than were allowed, and one.
        if self._asking.acquire(blocking=False):
            try:
                with Connection.connect(self._conninfo, autocommit=True, row_factory=dict_row) as connection:
                    configure(connection)
            except psycopg.Error as cause:
                why = text_of(cause)
            finally:
                self._asking.release()
        return StoreUnavailableError(f"{self.name} cannot be used now: {why}")

    def _is_worth_another(self, error: psycopg.Error, attempt: int) -> bool:
        """Whether to try again what has changed nothing, with another connection or after a short pause."""
        if attempt + 1 == _ATTEMPTS or isinstance(error, NoAnswerError):
            return False
        if isinstance(error, errors.SerializationFailure | errors.DeadlockDetected):
            time.sleep(random_pause(attempt))
            return True
        return is_lost(error)

    def dialect(self) -> str:
        """See :meth:`~acme_iid.store.database.Database.dialect`; PostgreSQL's relatives have no files of their own."""
        version: str = self.rows("SELECT version() AS version")[0]["version"]
        return "postgresql" if version.startswith("PostgreSQL ") and "-YB-" not in version else "relative"

    def run_together(self, questions: Sequence[Question]) -> list[tuple[list[Row], int]]:
        """Run several statements that do no harm if they are run twice, in one round trip: all of them, or none.

        :returns: for each its rows, and how many it gave or changed.
        :raises StoreUnavailableError: if the store cannot take them now.
        """
        commands = [command(Statement(*question)) for question in questions]
        for attempt in range(_ATTEMPTS):
            pool, connection = self._take()
            try:
                if len(commands) == 1:
                    return [fetched(connection.execute(*commands[0]))]
                cursors, failed = connection.execute_together(commands)
                if failed is not None:
                    raise failed
                return [fetched(cursor) for cursor in cursors]
            except psycopg.Error as error:
                if is_lost(error):
                    self._renew(connection)
                if not self._is_worth_another(error, attempt):
                    if isinstance(error, errors.UndefinedTable | errors.UndefinedColumn):
                        # A newer release may have taken away what this one reads.
                        fence.require(ServerTransaction(self.name, connection))
                    raise store_error(self.name, error) from error
            finally:
                self._give_back(pool, connection)
        raise AssertionError  # the last attempt returns or raises

    def run_alone(self, statement: str, **parameters: object) -> tuple[list[Row], int]:
        """Run one statement as :meth:`run_together` does."""
        (result,) = self.run_together([Question(statement, parameters)])
        return result

    def rows(self, statement: str, **parameters: object) -> list[Row]:
        """See :meth:`~acme_iid.store.database.Reader.rows`."""
        return self.run_alone(statement, **parameters)[0]

    def ahead(self, *questions: Question) -> Reader:
        """See :meth:`~acme_iid.store.database.Reader.ahead`: one round trip for all."""
        return Answered(self, zip(questions, (rows for rows, _ in self.run_together(questions)), strict=True))

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """See :meth:`~acme_iid.store.database.Database.transaction`.

        :raises StoreConflictError: if the engine preferred another transaction: all of it can run again.
        :raises OutcomeUnknownError: if the connection was lost while it was committed; ClockError for a wrong clock.
        """
        with self._writing() as (transaction, time_there):
            self.clock.set(time_there)
            self.clock.require_right()
            yield transaction

    def commit(self, write: Write[Any]) -> Outcome:
        """See :meth:`~acme_iid.store.writes.Committing.commit`.

        :raises OutcomeUnknownError: if the connection was lost; ClockError for a wrong clock.
        """
        for attempt in range(_ATTEMPTS):
            pool, connection = self._take()
            began = time.monotonic()
            try:
                outcome = self._commit_once(connection, write)
            except (errors.SerializationFailure, errors.DeadlockDetected) as error:
                if not self._is_worth_another(error, attempt):
                    raise store_error(self.name, error) from error
            else:
                return outcome
            finally:
                instruments.LOCK_SECONDS.observe(time.monotonic() - began)
                self._give_back(pool, connection)
        raise AssertionError  # the last attempt returns or raises

    def _commit_once(self, connection: Connection, write: Write[Any]) -> Outcome:
        first = Statement(server_statements.FIRST, {"time": time.time(), "most": MAX_SECONDS_OFF})
        inbox = [
            Statement(server_statements.INBOX, {"at": event.at, "entry": entry_of(event.columns())})
            for event in write.events
        ]
        statements = [first, server_statements.FENCE, *write.statements, *inbox]
        cursors, error = connection.execute_together(
            [(b"BEGIN ISOLATION LEVEL READ COMMITTED", {}), *map(command, statements), (b"COMMIT", {})]
        )
        if error is None:
            self._require_committed(connection, cursors[-1])
            if (begun := cursors[1].fetchone()) is not None:
                self.clock.set(begun["time"])
            results = zip(statements, cursors[1:-1], strict=True)
            return Committed([row for statement, cursor in results if returns(statement.text) for row in cursor])
        if is_lost(error):
            self._renew(connection)
        if is_undecided(error):
            raise self._outcome_unknown_error(error)
        failed = next((at for at, cursor in enumerate(cursors[1:]) if cursor.rowcount == -1), len(statements))
        if failed == 0 and isinstance(error, errors.DivisionByZero):
            self.require_right_clock()
            raise StoreUnavailableError(f"the clock of {self.name} was set")
        if failed == 1 and isinstance(error, errors.DivisionByZero):
            fence.require(self)
        if failed < len(statements):
            verdict = statements[failed].verdict
            if verdict is not None and is_verdict(error, statements[failed]):
                return Refused(verdict)
        if isinstance(error, errors.SerializationFailure | errors.DeadlockDetected):
            raise error
        raise store_error(self.name, error) from error

    def _require_committed(self, connection: Connection, cursor: psycopg.Cursor[Any]) -> None:
        if cursor.statusmessage != "COMMIT":
            # That is how the server answers where a statement failed and the failure was passed over.
            raise StoreUnavailableError(f"{self.name} did not commit a transaction in which a statement failed")
        if connection.warning is not None:
            raise OutcomeUnknownError(
                f"{self.name} has committed a transaction that a server which takes over may lack: {connection.warning}"
            )

    def _outcome_unknown_error(self, error: psycopg.Error) -> OutcomeUnknownError:
        return OutcomeUnknownError(f"{self.name} went away while a transaction was committed: {text_of(error)}")

    def seal(self, *, waits: bool = True) -> None:
        """See :meth:`~acme_iid.store.database.Database.seal`."""
        more = bool(self.rows("SELECT 1 FROM event_inbox LIMIT 1"))
        while more:
            with self._writing() as (transaction, _):
                more = sealing.seal_some(transaction, waits=waits)

    def unsealed(self) -> sealing.Unsealed:
        """See :meth:`~acme_iid.store.database.Database.unsealed`."""
        return sealing.unsealed(self)

    def account_generation(self) -> int | None:
        """See :meth:`~acme_iid.store.database.Database.account_generation`: a row comes with what is asked anyway."""
        return None

    @contextmanager
    def migration(self) -> Iterator[Transaction]:
        """See :meth:`~acme_iid.store.database.Database.migration`."""
        with self._committed(server_statements.BEGIN_MIGRATION, _SCHEMA_SECONDS) as (transaction, _):
            yield transaction

    @contextmanager
    def snapshot(self) -> Iterator[Reader]:
        """All that is stored as it is at one moment, however long it is read; writers are not kept waiting.

        :raises StoreUnavailableError: if the store cannot answer now.
        """
        pool, connection, _ = self._begin(server_statements.BEGIN_SNAPSHOT, server_statements.SNAPSHOT_SECONDS)
        try:
            yield ServerTransaction(self.name, connection)
        finally:
            self._give_back(pool, connection)

    @contextmanager
    def _writing(self) -> Iterator[tuple[ServerTransaction, float]]:
        """A transaction that this program may write in, and the server's time at its beginning.

        :raises FencedError: if it may not.
        """
        with self._committed(server_statements.BEGIN) as (transaction, begun):
            assert begun is not None  # the statement gives a row
            if begun["min_writer"] > fence.WRITER:
                raise FencedError(fence.refusal(begun["min_writer"]))
            yield transaction, begun["time"]

    @contextmanager
    def _committed(
        self, begin: bytes, seconds: float = ANSWER_SECONDS
    ) -> Iterator[tuple[ServerTransaction, Row | None]]:
        pool, connection, begun = self._begin(begin, seconds)
        try:
            yield ServerTransaction(self.name, connection), begun
            self._commit(connection)
        finally:
            self._give_back(pool, connection)

    def _begin(self, begin: bytes, seconds: float) -> tuple[Pool, Connection, Row | None]:
        """A connection in a transaction that was begun, and the row that its beginning gave.

        :param seconds: for how long each answer in it is waited for.
        """
        for attempt in range(_ATTEMPTS):
            pool, connection = self._take()
            connection.seconds, connection.warning = seconds, None
            try:
                cursor = connection.execute(begin, prepare=False)
                while cursor.nextset():
                    pass
                return pool, connection, cursor.fetchone()
            except psycopg.Error as error:
                if is_lost(error):
                    self._renew(connection)
                self._give_back(pool, connection)
                if not self._is_worth_another(error, attempt):
                    raise store_error(self.name, error) from error
        raise AssertionError  # the last attempt returns or raises

    def _commit(self, connection: Connection) -> None:
        try:
            cursor = connection.execute(b"COMMIT")
        except psycopg.Error as error:
            if is_lost(error):
                self._renew(connection)
            # Without an answer it may be that all was stored.
            if is_undecided(error):
                raise self._outcome_unknown_error(error) from error
            raise store_error(self.name, error) from error
        self._require_committed(connection, cursor)

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


def random_pause(attempt: int) -> float:
    """Seconds to wait after the failed attempt with this number, from 0: other than others who failed together."""
    return secrets.randbelow(20 << attempt) / 1000
