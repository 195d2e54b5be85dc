"""A server says that it runs, for whoever has to know which servers share the store."""

from __future__ import annotations

import hashlib
import logging
import secrets
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from acme_iid.authority import Authority, succession
from acme_iid.issuance.keys import CAFileError
from acme_iid.operations import roots
from acme_iid.operations.background import Background
from acme_iid.store import schema, servers
from acme_iid.store.servers import Server
from acme_iid.store.writes import Committing, Write

SECONDS = 10
"""The interval at which a server says so, in seconds."""
SEEN_SECONDS = 3 * SECONDS
"""The seconds that a server counts as one that runs since it last did."""
_DIFFERENT_TURNS = 6
"""Turns for which other servers have another configuration until that is said."""

_log = logging.getLogger(__name__)


def configuration_hash(file: Path) -> str:
    """The SHA-256 of a ca.toml, hex."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


class Presence(Background):
    """The thread of one process that does so.

    :param database: the authority's store, as it is without the requests' loop.
    """

    def __init__(self, authority: Authority, database: Committing) -> None:
        super().__init__(
            SECONDS,
            first=0,
            fault="recording this server's presence failed",
            unavailable="This server's presence was not recorded",
        )
        self._ca = authority.ca
        self._database = database
        self._home = authority.config.home
        self._turns_different = 0
        self._said: str | None = None
        self._server = Server(
            id=secrets.token_urlsafe(12),
            version=version("acme-iid"),
            schema=schema.latest(),
            config_hash=configuration_hash(authority.config.file),
            issuers=(),
            clock=0,
            seen_at=0,
        )

    def run(self) -> None:
        """Say that the server runs until it is stopped, and then that it runs no more."""
        super().run()
        self.attempt(self._say_goodbye)

    def turn(self) -> None:
        """Say that the server runs, and follow the store: trust the roots, and sign with the issuer, that it says."""
        self._database.commit(Write(servers.write(self._seen(int(time.time()))), lambda _rows: None))
        self._compare()
        roots.follow(self._database, self._ca, self._home)
        try:
            succession.follow(self._database, self._ca)
        except CAFileError as error:
            self.warn("This server cannot follow the others: %s", error)

    def _compare(self) -> None:
        """Say once that other servers have another configuration, if they have it longer than a reload takes."""
        difference = servers.difference(servers.seen(self._database, int(time.time()), SEEN_SECONDS))
        self._turns_different = 0 if difference is None else self._turns_different + 1
        if difference is not None and self._turns_different >= _DIFFERENT_TURNS and difference != self._said:
            self._said = difference
            _log.warning("%s Copy the file to all of them, and reload them", difference)
        elif difference is None and self._said is not None:
            self._said = None
            _log.info("All servers run with the same ca.toml again")

    def _say_goodbye(self) -> None:
        self._database.commit(Write([servers.remove(self._server.id)], lambda _rows: None))

    def _seen(self, now: int) -> Server:
        known = self._server
        return replace(known, issuers=tuple(self._ca.issuers), clock=now, seen_at=now)
