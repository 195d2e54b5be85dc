"""A store in front of another one: what it does not do in its own way, the other one does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from acme_iid.store.database import Database, Transaction
from acme_iid.store.sealing import Unsealed
from acme_iid.store.writes import Outcome, Question, Reader, Row, Write

Behind = TypeVar("Behind", bound=Database)


class Front(Generic[Behind]):
    """All that a :class:`~acme_iid.store.database.Database` does, done by another one.

    :param behind: the other one. It is closed with this.
    """

    def __init__(self, behind: Behind) -> None:
        self._behind = behind

    def rows(self, statement: str, **parameters: object) -> list[Row]:
        """See :meth:`~acme_iid.store.writes.Reader.rows`."""
        return self._behind.rows(statement, **parameters)

    def ahead(self, *questions: Question) -> Reader:
        """See :meth:`~acme_iid.store.writes.Reader.ahead`."""
        return self._behind.ahead(*questions)

    def commit(self, write: Write[Any]) -> Outcome:
        """See :meth:`~acme_iid.store.writes.Committing.commit`."""
        return self._behind.commit(write)

    def dialect(self) -> str:
        """See :meth:`~acme_iid.store.database.Database.dialect`."""
        return self._behind.dialect()

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """See :meth:`~acme_iid.store.database.Database.transaction`."""
        with self._behind.transaction() as transaction:
            yield transaction

    @contextmanager
    def migration(self) -> Iterator[Transaction]:
        """See :meth:`~acme_iid.store.database.Database.migration`."""
        with self._behind.migration() as transaction:
            yield transaction

    def seal(self, *, waits: bool = True) -> None:
        """See :meth:`~acme_iid.store.database.Database.seal`."""
        self._behind.seal(waits=waits)

    def unsealed(self) -> Unsealed:
        """See :meth:`~acme_iid.store.database.Database.unsealed`."""
        return self._behind.unsealed()

    def account_generation(self) -> int | None:
        """See :meth:`~acme_iid.store.database.Database.account_generation`."""
        return self._behind.account_generation()

    def close(self) -> None:
        """See :meth:`~acme_iid.store.database.Database.close`."""
        self._behind.close()
