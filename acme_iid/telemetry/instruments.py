"""What is measured: every number's name, meaning and labels, and the calls that change it.

While nobody reads them (``[metrics]`` is off) instruments are inert, and prometheus_client is not imported. Once
:func:`begin` was called, counters and histograms live in files that all processes of a server share, one set of files
for each place among them: a process that is started again goes on with the files of the one before it, so that no
counter falls and their number stays the same.

No label holds a name, an address or an id: what strangers send makes no series.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from acme_iid.telemetry import counter_files

if TYPE_CHECKING:
    import prometheus_client

Kind = Literal["counter", "histogram", "gauge"]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_WRITES = (1, 2, 4, 8, 16, 32, 64)

_log = logging.getLogger(__name__)


class Instrument:
    """A number, or one for each combination of labels.

    :ivar name: its name for Prometheus, with the unit.
    :ivar meaning: a sentence for people.
    :ivar labels: the names of its labels.
    """

    kind: Kind

    def __init__(self, name: str, meaning: str, labels: Sequence[str] = ()) -> None:
        self.name = name
        self.meaning = meaning
        self.labels = tuple(labels)
        DECLARED.append(self)


DECLARED: list[Instrument] = []
"""All instruments, in the order in which they are declared."""


class Counter(Instrument):
    """Counts what happened."""

    kind: Kind = "counter"
    _made: prometheus_client.Counter | None = None

    def make(self) -> None:
        """Count from now on."""
        from prometheus_client import Counter as Made  # noqa: PLC0415 - only where somebody reads it

        self._made = Made(self.name, self.meaning, self.labels, registry=None)

    def add(self, *labels: str, amount: int = 1) -> None:
        """Count something.

        :param labels: the labels' values, in their order.
        """
        if self._made is not None:
            (self._made.labels(*labels) if labels else self._made).inc(amount)


class Histogram(Instrument):
    """Counts how often something was how large.

    :param bounds: the upper bounds of its buckets.
    """

    kind: Kind = "histogram"
    _made: prometheus_client.Histogram | None = None

    def __init__(self, name: str, meaning: str, labels: Sequence[str] = (), bounds: Sequence[float] = _SECONDS) -> None:
        super().__init__(name, meaning, labels)
        self._bounds = bounds

    def make(self) -> None:
        """Count from now on."""
        from prometheus_client import Histogram as Made  # noqa: PLC0415 - only where somebody reads it

        self._made = Made(self.name, self.meaning, self.labels, buckets=self._bounds, registry=None)

    def observe(self, value: float, *labels: str) -> None:
        """Count a value."""
        if self._made is not None:
            (self._made.labels(*labels) if labels else self._made).observe(value)


class Highest(Instrument):
    """A number that each process sets; of all processes of a server, the highest is shown."""

    kind: Kind = "gauge"
    _made: prometheus_client.Gauge | None = None

    def make(self) -> None:
        """Show from now on what is set."""
        from prometheus_client import Gauge as Made  # noqa: PLC0415 - only where somebody reads it

        self._made = Made(self.name, self.meaning, self.labels, multiprocess_mode="max", registry=None)

    def set(self, value: float, *labels: str) -> None:
        """Set the number."""
        if self._made is not None:
            (self._made.labels(*labels) if labels else self._made).set(value)


class Asked(Instrument):
    """A number that is found out when somebody reads it; each server of a store gives the same, so take the maximum."""

    kind: Kind = "gauge"


ORDERS = Counter("acme_iid_orders_total", "Orders that were made.")
ISSUED = Counter("acme_iid_issued_total", "Certificates that were issued.", ("provisioner",))
REFUSED = Counter(
    "acme_iid_refused_total",
    "Refusals, by the step that refused and the provisioner; also those that the record only counts.",
    ("step", "provisioner"),
)
REVOKED = Counter("acme_iid_revoked_total", "Certificates that were revoked.")
VALIDATIONS = Counter(
    "acme_iid_validations_total",
    "Attempts at challenges: valid, refused, or to be tried again.",
    ("challenge", "outcome"),
)
REQUESTS = Counter(
    "acme_iid_requests_total", "Requests, by route, method and status of the answer.", ("route", "method", "status")
)
REQUEST_SECONDS = Histogram("acme_iid_request_seconds", "The time from a request to its answer.", ("route",))
BATCH_WRITES = Histogram("acme_iid_store_batch_writes", "Writes that one commit stored.", bounds=_WRITES)
COMMIT_SECONDS = Histogram("acme_iid_store_commit_seconds", "The time of a commit, with the wait for other writers.")
LOCK_SECONDS = Histogram(
    "acme_iid_store_lock_hold_seconds", "The time for which a commit kept other writers of the same rows waiting."
)
STORE_FAILURES = Counter("acme_iid_store_failures_total", "Commits that the store did not take.")
SIGNER_ASKED = Counter("acme_iid_signer_asked_total", "Questions to keys in tokens and behind programs.")
SIGNER_FAILED = Counter("acme_iid_signer_failed_total", "Questions to such keys that got no good answer.")
SIGNER_SECONDS = Histogram("acme_iid_signer_seconds", "The time until such a key answered, or failed.")
KEY_SET_AGE = Highest(
    "acme_iid_key_set_age_seconds",
    "The time since the oldest key set in use of a cloud was fetched, as of the last half minute; 0 if none is in use.",
    ("cloud",),
)
STORE_ANSWERS = Asked("acme_iid_store_answers", "1 if the store answered the questions behind the gauges, else 0.")
FLEET = Asked(
    "acme_iid_fleet_certificates",
    "Certificates in force (valid); without a successor: in use (used), in their renewal window (due), past it and "
    "still valid (overdue), ended within a day (lapsed). Due and overdue ones are used, used ones are valid.",
    ("state",),
)
CA_ENDS = Asked(
    "acme_iid_ca_ends_timestamp_seconds",
    "When the first certificate or list of the CA's own ends, by its role.",
    ("role",),
)
CA_BEGAN = Asked(
    "acme_iid_ca_began_timestamp_seconds",
    "When that certificate or list began.",
    ("role",),
)
INBOX_EVENTS = Asked("acme_iid_event_inbox_events", "Events that are stored and not chained yet.")
INBOX_AGE = Asked("acme_iid_event_inbox_age_seconds", "The age of the oldest event that is not chained; 0 for none.")
SINK_AGE = Asked(
    "acme_iid_sink_age_seconds", "The age of the oldest chained event that a sink has not taken; 0 for none.", ("sink",)
)
PRUNED = Asked("acme_iid_pruning_timestamp_seconds", "When pruning last began; 0 if it never did.")
BACKED_UP = Asked("acme_iid_backup_timestamp_seconds", "When the last backup was made; 0 if there was none.")
PROCESSES = Asked("acme_iid_server_processes", "Processes of all servers of the store that were seen lately.")
CONFIGURATIONS = Asked("acme_iid_server_configurations", "Different configurations among these processes.")
UNREADY = Asked(
    "acme_iid_unready", "1 if the process that was asked is not ready for this reason, else 0.", ("reason",)
)
CONFIGURATION = Asked("acme_iid_config_info", "1; hash is the beginning of the SHA-256 of ca.toml in hex.", ("hash",))
BUILD = Asked("acme_iid_build_info", "1; the versions of acme-iid and of Python.", ("version", "python"))

_folder: Path | None = None


def begin(folder: Path, place: int) -> None:
    """Have what is counted from now on counted in files.

    :param folder: the server's own (:func:`acme_iid.telemetry.counter_files.fresh`).
    :param place: the number of this process among the server's processes; no other has it at the same time.
    """
    global _folder  # noqa: PLW0603 - a process counts in one place
    for file in counter_files.clear(folder, place):
        _log.warning("%s could not be read and was removed; what it counted is counted from 0 again", file)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    from prometheus_client import values  # noqa: PLC0415 - only where somebody reads it

    setattr(values, "ValueClass", values.MultiProcessValue(lambda: place))  # noqa: B010 - as its documentation says
    for instrument in DECLARED:
        if isinstance(instrument, Counter | Histogram | Highest):
            instrument.make()
    _folder = folder


def folder() -> Path | None:
    """The folder of the files; None while nothing is counted."""
    return _folder
