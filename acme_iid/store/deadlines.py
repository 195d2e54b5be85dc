"""Connections to a database server, with limits to waiting: also for one that is there and says nothing.

A server that is stopped in the middle, or whose disk hangs, keeps its connections open: neither its own timeouts nor
TCP's end what waits for it, and psycopg waits for as long as the connection is open.
"""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg

_LOCK_SECONDS = 5
_STATEMENT_SECONDS = 10
_IDLE_SECONDS = 10
ANSWER_SECONDS = 12
"""For how long an answer is waited for: longer than the server's own timeouts, which leave the connection usable."""

_LOOK_SECONDS = 0.5
CONNECTION_DEFAULTS: Mapping[str, str | int] = {
    "application_name": "acme-iid-ca",
    "connect_timeout": 3,
    # A machine that went away without a word is noticed.
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 8000,
}
"""What libpq is asked for where the store's URL does not say otherwise."""
_SETTINGS = f"""
    SELECT set_config('statement_timeout', '{_STATEMENT_SECONDS}s', false),
           set_config('lock_timeout', '{_LOCK_SECONDS}s', false),
           set_config('idle_in_transaction_session_timeout', '{_IDLE_SECONDS}s', false),
           set_config('client_encoding', 'UTF8', false),
           current_setting('server_encoding') AS encoding, current_setting('synchronous_commit') AS durable
""".encode()

_LOST = re.compile(r"08|57P0[1-3]|25006|25P03")
"""The SQLSTATEs after which a connection is of no more use: it ended, or leads to a server that takes no writes."""


class NoAnswerError(psycopg.OperationalError):
    """The server did not answer in time; what it was asked may be done or not, and the connection is closed."""


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
            # Whoever waits stays until we are done, so that the socket is still the connection's.
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
    """A connection whose statements are waited for as long as :attr:`seconds` at most."""

    seconds: float = ANSWER_SECONDS

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
        try:
            with _watch.over(self, self.seconds), self.pipeline():
                for text, values in commands:
                    # What stands behind one that fails is not prepared, whatever the driver believes from then on.
                    cursors.append(super().execute(text, values, prepare=False))
        except psycopg.Error as error:
            return cursors, error
        return cursors, None


def configure(connection: Connection) -> None:
    """Make a new connection one that waits for nothing for ever, and acknowledges what is on the disk only.

    :raises psycopg.OperationalError: if the database cannot hold every text.
    """
    row = connection.execute(_SETTINGS).fetchone()
    assert row is not None
    if row["durable"] == "off":
        connection.execute(b"SELECT set_config('synchronous_commit', 'on', false)")
    if row["encoding"] != "UTF8":
        connection.close()
        raise psycopg.OperationalError(f"the database's encoding is {row['encoding']}, not UTF8; create it as UTF8")


def is_lost(error: psycopg.Error) -> bool:
    """Whether the connection that failed with ``error`` is of no more use: it ended, or leads where nobody writes."""
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError)
    return _LOST.match(error.sqlstate) is not None


def text_of(error: psycopg.Error) -> str:
    """The server's words in one line; none of them is a password."""
    return "; ".join(line.strip() for line in str(error).splitlines() if line.strip())
