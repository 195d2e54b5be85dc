"""Races that are decided: what one side does happens in the middle of what the other does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from acme_iid.store.database import Database, Row, Transaction


class Meanwhile:
    """A store in which something else happens, for real, right before the first transaction begins."""

    def __init__(self, database: Database, happens: Callable[[Database], object]) -> None:
        self._database = database
        self._happens: Callable[[Database], object] | None = happens

    def rows(self, statement: str, **parameters: object) -> list[Row]:
        return self._database.rows(statement, **parameters)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        happens, self._happens = self._happens, None
        if happens is not None:
            happens(self._database)
        with self._database.transaction() as transaction:
            yield transaction

    @contextmanager
    def migration(self) -> Iterator[Transaction]:
        with self._database.migration() as transaction:
            yield transaction

    def dialect(self) -> str:
        return self._database.dialect()

    def close(self) -> None:
        self._database.close()
