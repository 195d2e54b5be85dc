"""One connection to a file of SQLite's, while somebody has it."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from acme_iid.errors import StoreBusyError, StoreUnavailableError
from acme_iid.store.chain import HEAD, INSERT, START, Event, Link, values_after
from acme_iid.store.generation import Generation
from acme_iid.store.statements import returns
from acme_iid.store.writers import PATIENCE
from acme_iid.store.writes import Committed, Question, Reader, Row, Verdict, Write

# The primary result codes of statements that fail however often they are tried (sqlite.org/rescode.html).
_NEVER = frozenset(
    {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_MISUSE, sqlite3.SQLITE_RANGE}
)
_CHANGES_OF_ACCOUNTS = ("UPDATE accounts", "DELETE FROM accounts")
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})


class GuardError(Exception):
    """A guard failed."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__()
        self.verdict = verdict


class Connection:
    """A connection while somebody has it.

    :param raw: waits for :data:`PATIENCE` seconds for what others have locked.
    :param accounts: is told of changes of accounts.
    """

    def __init__(self, raw: sqlite3.Connection, path: Path, accounts: Generation) -> None:
        self._raw = raw
        self._path = path
        self._accounts = accounts
        self._changes_accounts = False
        self._waits = True

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._raw.in_transaction

    def execute(self, statement: str, parameters: Mapping[str, object]) -> sqlite3.Cursor:
        """Run a statement.

        :raises StoreUnavailableError: if the database cannot take it now.
        :raises sqlite3.Error: if it never will: a fault of ours.
        """
        if statement.startswith(_CHANGES_OF_ACCOUNTS) and not self._changes_accounts:
            self._accounts.begin()
            self._changes_accounts = True
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
        try:
            return self.execute(statement, parameters).fetchall()
        except StoreBusyError:
            if self._waits:
                raise
        # Readers wait for no writer, but for the recovery of the log, say.
        self._wait(True)
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
        self._wait(waits)
        self.run("BEGIN IMMEDIATE")

    def _wait(self, waits: bool) -> None:
        """Wait for what others have locked, or fail at once, from now on."""
        if waits != self._waits:
            self._raw.execute(f"PRAGMA busy_timeout = {int(PATIENCE * 1000) if waits else 0}")
            self._waits = waits

    def commit(self) -> None:
        """Commit the transaction."""
        self.run("COMMIT")
        self._end_change()

    def close(self) -> None:
        """Close it."""
        self._raw.close()

    def roll_back(self) -> None:
        """Undo what the transaction has done; SQLite has rolled back by itself after some errors (disk full, I/O)."""
        if self._raw.in_transaction:
            self._raw.execute("ROLLBACK")
        self._end_change()

    def _end_change(self) -> None:
        if self._changes_accounts:
            self._changes_accounts = False
            self._accounts.end()

    def run_all(self, write: Write[Any]) -> Committed:
        """Run the statements of a write.

        :raises GuardError: if one of them has to change or give a row, and did not, or hurt its constraint.
        """
        returned: list[Row] = []
        for statement in write.statements:
            try:
                cursor = self.execute(statement.text, statement.values)
                rows: list[Row] = cursor.fetchall()
            except sqlite3.IntegrityError as error:
                if statement.verdict is None or statement.unique is None or statement.unique not in str(error):
                    raise
                raise GuardError(statement.verdict) from error
            if statement.verdict is not None and not rows and cursor.rowcount <= 0:
                raise GuardError(statement.verdict)
            if returns(statement.text):
                returned += rows
        return Committed(returned)

    def append(self, events: Sequence[Event], link: Link | None) -> Link:
        """Chain events.

        :param link: the place of the event before; None if that is the store's latest one.
        :returns: the place of the last one.
        """
        if link is None:
            rows = self.rows(HEAD)
            link = Link(rows[0]["seq"], rows[0]["hash"]) if rows else START
        for event in events:
            link, values = values_after(link, event.columns())
            self.execute(INSERT, values)
        return link
