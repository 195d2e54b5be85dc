"""Acts on many as commands see them through: how far each is, and its end, in the CA's home and at its server."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from acme_iid.admin.table import named
from acme_iid.admin.tasks import TaskRow, Tasks, begun
from acme_iid.admin_client.errors import AdminError, UnavailableError
from acme_iid.errors import RequestError
from acme_iid.operations.bulk import Step, Task

if TYPE_CHECKING:
    from acme_iid.admin.acts import Act

POLL_SECONDS = 0.25
AWAY_SECONDS = 30.0
"""How long a server may be away, and then go on."""


class Work(Protocol):
    """An act on many that has begun."""

    @property
    def id(self) -> str:
        """The act's id."""

    def steps(self) -> Iterator[Step]:
        """What it does, a part at a time, until its end.

        :raises RequestError: if it was stopped, or has stopped.
        :raises StoreUnavailableError: if the store went away.
        :raises AdminError: if its server went away, or has failed.
        """

    def stop(self) -> None:
        """Have it stop after the transaction that it is in."""


class Held(Tasks):
    """Takes an act on many that somebody else will do."""

    row: TaskRow
    steps: Iterator[Step]

    def begin(self, name: str, act: Task, count: int, steps: Iterator[Step]) -> TaskRow:
        """Hold an act."""
        self.row, self.steps = begun(name, act, count, int(time.time())), steps
        return self.row


class Here:
    """An act that this process does as it is looked at.

    :param held: the act.
    """

    def __init__(self, held: Held) -> None:
        self._held = held
        self._is_stopping = False

    @property
    def id(self) -> str:
        """See :class:`Work`."""
        return self._held.row["task"]

    def steps(self) -> Iterator[Step]:
        """See :meth:`Work.steps`."""
        for step in self._held.steps:
            yield step
            if self._is_stopping:
                raise RequestError("it was stopped")

    def stop(self) -> None:
        """See :meth:`Work.stop`."""
        self._is_stopping = True


class Asked(Protocol):
    """Where a server is asked."""

    def ask(self, act: Act[Any], given: Mapping[str, object]) -> Any:
        """Have an act done."""


class There:
    """An act that a server does.

    :param server: where it is asked.
    :param row: the act as it was when it began.
    """

    def __init__(self, server: Asked, row: TaskRow) -> None:
        self._server = server
        self._row = row
        self._is_stopping = False

    @property
    def id(self) -> str:
        """See :class:`Work`."""
        return self._row["task"]

    def steps(self) -> Iterator[Step]:
        """See :meth:`Work.steps`."""
        row, done, left_out = self._row, 0, 0
        while True:
            yield Step(row["done"] - done, row["left_out"] - left_out)
            done, left_out = row["done"], row["left_out"]
            if row["state"] not in ("running", "stopping"):
                break
            time.sleep(POLL_SECONDS)
            row = self._now("task.show")
        problem = row["problem"] or row["state"]
        if row["state"] == "failed":
            raise AdminError(problem)
        if row["state"] == "stopped":
            raise RequestError(problem)

    def stop(self) -> None:
        """See :meth:`Work.stop`."""
        if not self._is_stopping:
            self._is_stopping = True
            self._now("task.stop")

    def _now(self, name: str) -> TaskRow:
        """The act as it is now; a server that is away for a moment is waited for."""
        until = time.monotonic() + AWAY_SECONDS
        while True:
            try:
                row: TaskRow = self._server.ask(named(name), {"id": self.id})
            except UnavailableError:
                if time.monotonic() >= until:
                    raise
                time.sleep(POLL_SECONDS)
            else:
                return row
