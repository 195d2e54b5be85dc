"""Connections to a database server, with limits to waiting: also for one that is there and says nothing.

A server that is stopped in the middle, or whose disk hangs, keeps its connections open: neither its own timeouts nor
TCP's end what waits for it, and psycopg waits for as long as the connection is open.
"""

from __future__ import annotations

import functools
import logging
import os
import select
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg

from acme_iid.store.failures import NoAnswerError

_LOCK_SECONDS = 5
_STATEMENT_SECONDS = 10
_IDLE_SECONDS = 10
ANSWER_SECONDS = 12
"""The seconds to wait for an answer: longer than the server's own timeouts, which leave the connection usable."""

_LOOK_SECONDS = 0.5
CONNECTION_DEFAULTS: Mapping[str, str | int] = {
    "application_name": "acme-iid-ca",
    "connect_timeout": 3,
    # A machine that went away without a word is noticed.
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 8000,
    "client_encoding": "UTF8",
}
"""The parameters of libpq where the store's URL does not say otherwise."""

BEGUN = f"""set_config('lock_timeout', '{_LOCK_SECONDS}s', true),
    set_config('idle_in_transaction_session_timeout', '{_IDLE_SECONDS}s', true),
    set_config('statement_timeout', '{_STATEMENT_SECONDS}s', true),
    set_config('client_min_messages', 'warning', true),
    set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'
        WHEN 'local' THEN 'on' ELSE current_setting('synchronous_commit') END, true)"""
"""The settings of a transaction that writes, until its end: a pooler may give each one another session.

None of these limits ends the wait of a COMMIT for a standby, after which everybody would see what no standby has. Where
it waits for too long, we go away and it goes on.
"""
_STATE = b"""
    SELECT pg_backend_pid() AS pid, current_setting('server_encoding') AS encoding,
           current_setting('synchronous_commit') AS durable,
           current_setting('synchronous_standby_names', true) AS standbys
"""

_log = logging.getLogger(__name__)


class _Watch:
    """The thread that ends the connections of those who have waited too long."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[psycopg.Connection[Any], float] = {}
        self._thread: threading.Thread | None = None

    @contextmanager
    def over(self, connection: psycopg.Connection[Any], seconds: float) -> Iterator[None]:
        """Wait for the connection's server in here, for so long at most.

        :raises NoAnswerError: if that was not enough.
        """
        deadline = time.monotonic() + seconds
        with self._lock:
            self._waiting[connection] = deadline
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()
        try:
            yield
        except psycopg.OperationalError as error:
            if time.monotonic() >= deadline and error.sqlstate is None:
                raise NoAnswerError(f"the server has not answered for {seconds} seconds") from error
            raise
        finally:
            with self._lock:
                del self._waiting[connection]

    def _run(self) -> None:
        while True:
            time.sleep(_LOOK_SECONDS)
            now = time.monotonic()
            # A thread that waits stays until we are done, so that the socket is still the connection's.
            with self._lock:
                for connection, deadline in self._waiting.items():
                    if now > deadline:
                        _cut(connection)


def _cut(connection: psycopg.Connection[Any]) -> None:
    """Let whoever waits for the connection see its end."""
    with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as ours:
        ours.shutdown(socket.SHUT_RDWR)


_watch = _Watch()


class Connection(psycopg.Connection[dict[str, Any]]):
    """A connection whose statements are waited for as long as :attr:`seconds` at most.

    :ivar made_at: when it was made, by the monotonic clock.
    :ivar warning: the server's latest warning in the present transaction; those that a function raises do not count.
    """

    seconds: float = ANSWER_SECONDS
    made_at: float = 0.0
    warning: str | None = None

    def note(self, notice: psycopg.errors.Diagnostic) -> None:
        """Take up what the server says besides its answers.

        "Canceling wait for synchronous replication" is said of a COMMIT that succeeded here and perhaps nowhere else.
        """
        if notice.severity_nonlocalized == "WARNING" and notice.context is None:
            self.warning = notice.message_primary

    def execute(self, *arguments: Any, **options: Any) -> psycopg.Cursor[dict[str, Any]]:
        """See :meth:`psycopg.Connection.execute`.

        :raises NoAnswerError: if the server did not answer in time.
        """
        with _watch.over(self, self.seconds):
            return super().execute(*arguments, **options)

    def execute_together(
        self, commands: Sequence[tuple[bytes, Mapping[str, object]]]
    ) -> tuple[list[psycopg.Cursor[dict[str, Any]]], psycopg.Error | None]:
        """Send several commands in one round trip (PostgreSQL's manual, "Pipeline Mode").

        :returns: their cursors, as far as they were sent, and the error of the first that failed; after it the server
            did nothing more. A cursor without a result has the ``rowcount`` -1.
        """
        cursors: list[psycopg.Cursor[dict[str, Any]]] = []
        self.warning = None
        try:
            with _watch.over(self, self.seconds), self.pipeline():
                for text, values in commands:
                    # A statement behind one that fails is not prepared, whatever the driver believes from then on.
                    cursors.append(super().execute(text, values, prepare=False))
        except psycopg.Error as error:
            return cursors, error
        return cursors, None


def configure(connection: Connection) -> None:
    """Make ready a new connection. Nothing is set for its session, which others may get from a pooler.

    :raises psycopg.OperationalError: if the database cannot hold every text.
    """
    connection.made_at = time.monotonic()
    connection.add_notice_handler(connection.note)
    row = connection.execute(_STATE, prepare=False).fetchone()
    assert row is not None
    if row["pid"] != connection.info.backend_pid:
        # A pooler stands between, and gives the next transaction another session, without what this one has prepared.
        connection.prepare_threshold = None
    if row["durable"] in ("off", "local") and row["standbys"]:
        _say_what_waits(row["durable"])
    if row["encoding"] != "UTF8":
        connection.close()
        raise psycopg.OperationalError(f"the database's encoding is {row['encoding']}, not UTF8; create it as UTF8")


@functools.cache
def _say_what_waits(setting: str) -> None:
    _log.warning(
        "The database's synchronous_commit is %s, and it has synchronous standbys: writes wait for them all the same.",
        setting,
    )


def look(connection: Connection) -> None:
    """Look, without asking, whether the server has ended a connection that nobody used.

    Nobody knows the outcome of a statement that is sent over one that has ended.

    :raises psycopg.OperationalError: if it has.
    """
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        connection.execute(b"", prepare=False)
