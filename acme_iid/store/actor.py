"""Who acts: an operator, as the events say it, and the store as that operator uses it.

Each event that is committed through :class:`OperatorStore` names its actor, so that no use case can forget it. ACME
clients' events are committed by the server's own store, and have none.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from acme_iid.store.chain import Event
from acme_iid.store.database import Database, Transaction
from acme_iid.store.sealing import Unsealed
from acme_iid.store.writes import Outcome, Question, Reader, Row, Write

FACT = "actor"
"""The name of the fact in an event's detail."""

Via = Literal["direct", "socket", "tls"]
"""The way of an operator's word: a command on a machine of the CA's, or the two ways of asking a server."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody who acts on the CA; what is not known is None.

    :ivar user: the name of the operating system's user that acts.
    :ivar uid: that user's number.
    :ivar host: the name of the machine.
    :ivar role: the right under which a server let it happen.
    :ivar claimed: the user that acts by its own account: whoever called sudo, which anybody can say.
    :ivar reason: the reason in the actor's words, one line.
    """

    via: Via
    user: str | None = None
    uid: int | None = None
    host: str | None = None
    role: str | None = None
    claimed: str | None = None
    reason: str | None = None

    def facts(self) -> dict[str, object]:
        """What is known, by the names that events have."""
        return {name: fact for name, fact in asdict(self).items() if fact is not None}

    def sign(self, event: Event) -> Event:
        """The same event, with its actor."""
        return replace(event, detail={**event.detail, FACT: self.facts()})


class OperatorStore:
    """A store as one operator uses it: what is committed through it is that operator's act.

    :param database: the store; whoever opened it closes it.
    """

    def __init__(self, database: Database, actor: Actor) -> None:
        self._database = database
        self.actor = actor

    def commit(self, write: Write[Any]) -> Outcome:
        """See :meth:`~acme_iid.store.writes.Committing.commit`; each event names the actor."""
        return self._database.commit(replace(write, events=[self.actor.sign(event) for event in write.events]))

    def rows(self, statement: str, **parameters: object) -> list[Row]:
        """See :meth:`~acme_iid.store.writes.Reader.rows`."""
        return self._database.rows(statement, **parameters)

    def ahead(self, *questions: Question) -> Reader:
        """See :meth:`~acme_iid.store.writes.Reader.ahead`."""
        return self._database.ahead(*questions)

    def dialect(self) -> str:
        """See :meth:`~acme_iid.store.database.Database.dialect`."""
        return self._database.dialect()

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """See :meth:`~acme_iid.store.database.Database.transaction`."""
        with self._database.transaction() as transaction:
            yield transaction

    @contextmanager
    def migration(self) -> Iterator[Transaction]:
        """See :meth:`~acme_iid.store.database.Database.migration`."""
        with self._database.migration() as transaction:
            yield transaction

    def seal(self, *, waits: bool = True) -> None:
        """See :meth:`~acme_iid.store.database.Database.seal`."""
        self._database.seal(waits=waits)

    def unsealed(self) -> Unsealed:
        """See :meth:`~acme_iid.store.database.Database.unsealed`."""
        return self._database.unsealed()

    def account_generation(self) -> int | None:
        """See :meth:`~acme_iid.store.database.Database.account_generation`."""
        return self._database.account_generation()

    def close(self) -> None:
        """See :meth:`~acme_iid.store.database.Database.close`."""
        self._database.close()
