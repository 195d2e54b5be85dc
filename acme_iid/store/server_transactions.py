"""Statements as PostgreSQL is sent them, and transactions of several round trips."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from acme_iid.errors import UnstorableTextError
from acme_iid.store.chain import Columns
from acme_iid.store.deadlines import Connection
from acme_iid.store.failures import is_lost, store_error
from acme_iid.store.statements import guarded, translate
from acme_iid.store.writes import Question, Reader, Row, Statement


class ServerTransaction:
    """See :class:`~acme_iid.store.database.Transaction`."""

    def __init__(self, name: str, connection: Connection) -> None:
        self._name = name
        self._connection = connection

    def rows(self, statement: str, **parameters: object) -> list[Row]:
        """See :meth:`~acme_iid.store.database.Reader.rows`."""
        return self._execute(statement, parameters)[0]

    def ahead(self, *questions: Question) -> Reader:
        """See :meth:`~acme_iid.store.database.Reader.ahead`: a transaction is no request's."""
        del questions
        return self

    def run(self, statement: str, **parameters: object) -> int:
        """See :meth:`~acme_iid.store.database.Transaction.run`."""
        return self._execute(statement, parameters)[1]

    def run_many(self, statement: str, several: Sequence[Mapping[str, object]]) -> None:
        """Run a statement once for each of several sets of parameters, in one round trip."""
        _, error = self._connection.execute_together([(translate(statement), values) for values in several])
        if error is not None:
            raise store_error(self._name, error) from error

    def _execute(self, statement: str, parameters: Mapping[str, object]) -> tuple[list[Row], int]:
        try:
            return _execute(self._connection, statement, parameters)
        except psycopg.Error as error:
            raise store_error(self._name, error) from error


def command(statement: Statement) -> tuple[bytes, Mapping[str, object]]:
    """A statement of a write as it is sent."""
    _require_storable(statement.values)
    text = statement.text
    if statement.verdict is not None:
        text = guarded(text, shared=statement.shared)
    return translate(text), statement.values


def entry_of(columns: Columns) -> str:
    """An event as it waits to be chained.

    :raises UnstorableTextError: if a column could not be stored then, which would keep all later events waiting.
    """
    _require_storable(columns._asdict())
    try:
        "".join(value for value in columns if isinstance(value, str)).encode()
    except UnicodeEncodeError as error:
        raise UnstorableTextError(f"an event has a text that is not Unicode: {error}") from error
    return json.dumps(columns, separators=(",", ":"))


def _require_storable(values: Mapping[str, object]) -> None:
    for value in values.values():
        if isinstance(value, str) and "\0" in value:
            raise UnstorableTextError("a text holds the character NUL, which the store does not take")


def _execute(connection: Connection, statement: str, parameters: Mapping[str, object]) -> tuple[list[Row], int]:
    _require_storable(parameters)
    try:
        return fetched(connection.execute(translate(statement), parameters))
    except psycopg.Error as error:
        if is_lost(error):
            connection.close()
        raise


def fetched(cursor: psycopg.Cursor[dict[str, Any]]) -> tuple[list[Row], int]:
    """The rows that a statement gave, and how many it gave or changed."""
    return (list(cursor) if cursor.description else []), cursor.rowcount
