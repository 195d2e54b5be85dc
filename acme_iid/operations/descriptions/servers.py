"""The processes of servers that share the store, as operators are shown them."""

from __future__ import annotations

from typing import TypedDict

from acme_iid.operations.descriptions.times import timestamp
from acme_iid.operations.presence import SEEN_SECONDS
from acme_iid.store import events, servers, sinks
from acme_iid.store.database import Database
from acme_iid.store.writes import Reader

_SHOWN = 16
"""The digits of a hash that a list has."""


class ServerRow(TypedDict):
    """A process of a server.

    :ivar id: random; another one each time it starts.
    :ivar version: of its code.
    :ivar schema: the latest of the schema's files that it knows.
    :ivar config: the beginning of its ca.toml's SHA-256, in hex.
    :ivar issuers: the beginnings of the ids of the issuers whose keys it holds.
    :ivar clock_ahead: the seconds that its clock is ahead of the store's.
    :ivar seen: the time at which it was last there.
    """

    id: str
    version: str
    schema: str
    config: str
    issuers: list[str]
    clock_ahead: int
    seen: str


class SinkRow(TypedDict):
    """A sink that events were ever sent to.

    :ivar sink: its name.
    :ivar last: the number of the last event that it has taken.
    :ivar behind: the number of events after that.
    """

    sink: str
    last: int
    behind: int


def running(reader: Reader, now: int) -> list[ServerRow]:
    """The processes that run now; one that was killed is among them for half a minute more.

    :param now: seconds.
    """
    return [
        {
            "id": server.id,
            "version": server.version,
            "schema": server.schema,
            "config": server.config_hash[:_SHOWN],
            "issuers": [issuer[:_SHOWN] for issuer in server.issuers],
            "clock_ahead": server.clock - server.seen_at,
            "seen": timestamp(server.seen_at),
        }
        for server in servers.seen(reader, now, SEEN_SECONDS)
    ]


def receiving(database: Database) -> list[SinkRow]:
    """The sinks, each with how far it is.

    :raises StoreUnavailableError: if the store cannot be used now.
    """
    database.seal()
    head = events.head(database).seq
    return [
        {"sink": cursor.name, "last": cursor.last, "behind": max(0, head - cursor.last)}
        for cursor in sinks.cursors(database)
    ]
