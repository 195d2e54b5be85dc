"""A server says that it runs, for whoever has to know which servers share the store."""

from __future__ import annotations

import hashlib
import logging
import secrets
import threading
import time
from importlib.metadata import version

from acme_iid.authority import Authority
from acme_iid.config.ca_toml import FILE_NAME
from acme_iid.errors import StoreUnavailableError
from acme_iid.store import servers
from acme_iid.store.database import latest_schema
from acme_iid.store.servers import Server
from acme_iid.store.writes import Committing, Write

SECONDS = 10
"""How often a server says so."""
SEEN_SECONDS = 3 * SECONDS
"""For how long a server counts as one that runs since it last did."""

_log = logging.getLogger(__name__)


class Presence:
    """The thread of one process that does so.

    :param database: the authority's store, as it is without the requests' loop.
    """

    def __init__(self, authority: Authority, database: Committing) -> None:
        self._database = database
        config = (authority.config.home / FILE_NAME).read_bytes()
        self._server = Server(
            id=secrets.token_urlsafe(12),
            version=version("acme-iid"),
            schema=latest_schema(),
            config_hash=hashlib.sha256(config).hexdigest(),
            issuers=tuple(authority.ca.issuers),
            clock=0,
            seen_at=0,
        )
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin. The thread ends with the process, which need not wait for it."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and say that the server runs no more."""
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            now = int(time.time())
            self._commit(Write(servers.write(self._seen(now)), lambda _rows: None))
            if self._ending.wait(SECONDS):
                break
        self._commit(Write([servers.remove(self._server.id)], lambda _rows: None))

    def _seen(self, now: int) -> Server:
        known = self._server
        return Server(known.id, known.version, known.schema, known.config_hash, known.issuers, now, now)

    def _commit(self, write: Write[None]) -> None:
        try:
            self._database.commit(write)
        except StoreUnavailableError as error:
            _log.info("That this server runs was not written down: %s", error)
        except Exception:  # noqa: BLE001 - a fault of ours must not end it for good
            _log.exception("writing down that this server runs failed")
