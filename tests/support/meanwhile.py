"""Races that are decided: what one side does happens in the middle of what the other does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from acme_iid.store.database import Database
from acme_iid.store.front import Front
from acme_iid.store.writes import Outcome, Write


class Meanwhile(Front[Database]):
    """A store in which something else happens, for real, right before the first commit: after it was decided."""

    def __init__(self, database: Database, happens: Callable[[Database], object]) -> None:
        super().__init__(database)
        self._happens: Callable[[Database], object] | None = happens

    def commit(self, write: Write[Any]) -> Outcome:
        happens, self._happens = self._happens, None
        if happens is not None:
            happens(self._behind)
        return super().commit(write)
