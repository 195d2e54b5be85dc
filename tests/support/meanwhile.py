"""Races that are decided: what one side does happens in the middle of what the other does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from acme_iid.store.database import Database, Transaction
from acme_iid.store.sealing import Unsealed
from acme_iid.store.writes import Outcome, Question, Reader, Row, Write


class Meanwhile:
    """A store in which something else happens, for real, right before the first commit: after it was decided."""

    def __init__(self, database: Database, happens: Callable[[Database], object]) -> None:
        self._database = database
        self._happens: Callable[[Database], object] | None = happens

    def rows(self, statement: str, **parameters: object) -> list[Row]:
        return self._database.rows(statement, **parameters)

    def commit(self, write: Write[Any]) -> Outcome:
        happens, self._happens = self._happens, None
        if happens is not None:
            happens(self._database)
        return self._database.commit(write)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        with self._database.transaction() as transaction:
            yield transaction

    @contextmanager
    def migration(self) -> Iterator[Transaction]:
        with self._database.migration() as transaction:
            yield transaction

    def ahead(self, *questions: Question) -> Reader:
        return self._database.ahead(*questions)

    def seal(self, *, waits: bool = True) -> None:
        self._database.seal(waits=waits)

    def unsealed(self) -> Unsealed:
        return self._database.unsealed()

    def account_generation(self) -> int | None:
        return self._database.account_generation()

    def dialect(self) -> str:
        return self._database.dialect()

    def close(self) -> None:
        self._database.close()
