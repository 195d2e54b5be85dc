"""The numbers that nobody counts: what the store, the CA's files and this process say when somebody reads them.

They are found out in one place, by a thread of their own, and kept for a while: whoever reads them often, or while the
store hangs, keeps nobody waiting. All servers of a store find the same, so of theirs one takes the maximum.
"""

from __future__ import annotations

import logging
import platform
import threading
import time
from collections.abc import Callable, Collection, Sequence
from importlib.metadata import version
from pathlib import Path

from acme_iid.config.locations import Location
from acme_iid.errors import StoreUnavailableError
from acme_iid.issuance.keys import CAFileError
from acme_iid.operations import backup, expiry, pruning
from acme_iid.operations.presence import SEEN_SECONDS, configuration_hash
from acme_iid.operations.readiness import REASONS
from acme_iid.store import fleet, servers, sinks
from acme_iid.store.database import Database
from acme_iid.telemetry import instruments
from acme_iid.telemetry.exposition import Gauges
from acme_iid.telemetry.instruments import Asked

KEPT_SECONDS = 15.0
"""The seconds for which they are kept."""
WAIT_SECONDS = 3.0
"""The seconds that a reader waits for them; Prometheus itself waits for ten."""

_log = logging.getLogger(__name__)

Values = dict[Asked, dict[tuple[str, ...], float]]


class StoreGauges:
    """The gauges of one application.

    :param location: where the CA's files are.
    :param sinks: the names of the sinks.
    :param unready: the reasons why this process is not ready.
    """

    def __init__(
        self, location: Location, database: Database, sinks: Sequence[str], unready: Callable[[], Collection[str]]
    ) -> None:
        self._home = location.home
        self._database = database
        self._sinks = sinks
        self._unready = unready
        self._info: Values = {
            instruments.CONFIGURATION: {(configuration_hash(location.file)[:12],): 1.0},
            instruments.BUILD: {(version("acme-iid"), platform.python_version()): 1.0},
        }
        self._lock = threading.Lock()
        self._kept: Values | None = None
        self._asked_at = -float("inf")
        self._asking: threading.Thread | None = None

    def values(self) -> Gauges:
        """The values by now; those of the store are left out if it does not answer."""
        reasons = self._unready()
        found = self._found()
        own: Values = {
            **self._info,
            instruments.UNREADY: {(reason,): float(reason in reasons) for reason in REASONS},
            instruments.STORE_ANSWERS: {(): float(found is not None)},
        }
        return own | (found or {})

    def _found(self) -> Values | None:
        with self._lock:
            asking = self._asking
            if asking is None and time.monotonic() - self._asked_at >= KEPT_SECONDS:
                asking = self._asking = threading.Thread(target=self._ask, name="gauges", daemon=True)
                asking.start()
        if asking is not None:
            asking.join(WAIT_SECONDS)
            if asking.is_alive():
                return None  # what was so before may be long ago
        return self._kept

    def _ask(self) -> None:
        kept: Values | None = None
        try:
            kept = collect(self._home, self._database, self._sinks, int(time.time()))
        except (StoreUnavailableError, CAFileError) as error:
            _log.warning("The gauges of the store are left out: %s", error)
        except Exception:  # noqa: BLE001 - a fault of ours must not keep what was counted from being read
            _log.exception("finding out the gauges of the store failed")
        with self._lock:
            self._kept, self._asked_at, self._asking = kept, time.monotonic(), None


def collect(home: Path, database: Database, receivers: Collection[str], now: int) -> Values:
    """Ask the store, and the CA's files.

    :param receivers: the names of the sinks.

    :raises StoreUnavailableError: if the store cannot answer now.
    :raises CAFileError: if the home's certificates cannot be read.
    """
    certificates = fleet.count(database, now)
    unsealed = database.unsealed()
    running = servers.seen(database, now, SEEN_SECONDS)
    ends: dict[tuple[str, ...], float] = {}
    begins: dict[tuple[str, ...], float] = {}
    for lifetime in sorted(expiry.lifetimes(home, database), key=lambda entry: entry.ends, reverse=True):
        ends[(lifetime.role,)], begins[(lifetime.role,)] = lifetime.ends, lifetime.begins
    return {
        instruments.FLEET: {
            ("valid",): certificates.valid,
            ("used",): certificates.used,
            ("due",): certificates.due,
            ("overdue",): certificates.overdue,
            ("lapsed",): certificates.lapsed,
        },
        instruments.CA_ENDS: ends,
        instruments.CA_BEGAN: begins,
        instruments.INBOX_EVENTS: {(): unsealed.number},
        instruments.INBOX_AGE: {(): 0 if unsealed.oldest is None else max(0, now - unsealed.oldest)},
        instruments.SINK_AGE: {
            (name,): 0 if since is None else max(0, now - since)
            for name, since in sinks.waiting_since(database, receivers).items()
        },
        instruments.PRUNED: {(): pruning.last(database) or 0},
        instruments.BACKED_UP: {(): backup.last(database) or 0},
        instruments.PROCESSES: {(): len(running)},
        instruments.CONFIGURATIONS: {(): len({server.config_hash for server in running})},
    }
