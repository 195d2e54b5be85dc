"""Who acts: an operator, as the events say it, and the store as that operator uses it.

Each event that is committed through :class:`OperatorStore` names its actor, so that no use case can forget it. ACME
clients' events are committed by the server's own store, and have none.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from acme_iid.store.chain import Event
from acme_iid.store.database import Database
from acme_iid.store.front import Front
from acme_iid.store.writes import Committed, Outcome, Write

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


class OperatorStore(Front[Database]):
    """A store as one operator uses it: what is committed through it is that operator's act.

    :param database: the store; whoever opened it closes it.
    """

    def __init__(self, database: Database, actor: Actor) -> None:
        super().__init__(database)
        self.actor = actor

    def commit(self, write: Write[Any]) -> Outcome:
        """See :meth:`~acme_iid.store.writes.Committing.commit`; each event names the actor."""
        signed = replace(write, events=[self.actor.sign(event) for event in write.events])
        outcome = super().commit(signed)
        return replace(outcome, written=signed) if isinstance(outcome, Committed) else outcome
