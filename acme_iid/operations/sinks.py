"""Sending events to where ca.toml says, in order and at least once; the sealed events are the queue.

Each process has a thread for each sink, and one of all processes sends: whoever has the sink's row (store/sinks.py). A
receiver that is away, hangs or refuses keeps its own thread waiting and nothing else.
"""

from __future__ import annotations

import logging
import socket
import ssl
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from acme_iid.config.sink_settings import SYSLOG, SinkSettings
from acme_iid.operations.background import Background
from acme_iid.store import sinks, stream
from acme_iid.store.sinks import Turn
from acme_iid.store.stream import Sealed
from acme_iid.store.writes import Committing, perform
from acme_iid.telemetry import delivery, hook, syslog
from acme_iid.telemetry.delivery import Message, RejectedError, UndeliveredError

DELIVERY_SECONDS = 10.0
"""The longest that one delivery may take."""
LEASE_SECONDS = 30
"""Seconds for which a process has a sink to itself; it keeps it while it sends."""
LATE_SECONDS = 900
"""The age, in seconds, of an event that a sink has not taken from which on somebody should look at it."""
MAX_PAUSE = 60
"""Seconds between two deliveries to a receiver that does not take them, at most."""
SHORT_LINE = 1024
"""The octets of an event that a receiver has rejected, when it is sent once more."""
_MOST_OCTETS = 256 * 1024
"""Octets in one delivery, unless its first event has more."""
_POLL_SECONDS = 1.0

_log = logging.getLogger(__name__)


class Receiver:
    """Where a sink's events go.

    :ivar name: the sink's.
    :ivar most: the octets of one event's line.
    :param seconds: the longest that one delivery may take.
    :raises OSError: if one of its files cannot be used.
    """

    def __init__(self, sink: SinkSettings, seconds: float = DELIVERY_SECONDS) -> None:
        self.name = sink.name
        self._seconds = seconds
        self._sink = sink
        self._context: ssl.SSLContext = delivery.tls_context(sink.roots_file, sink.certificate_file)
        self.most = syslog.MAX_LINE if sink.scheme == SYSLOG else hook.MAX_LINE

    def deliver(self, messages: Sequence[Message]) -> None:
        """Send events.

        :raises UndeliveredError: if the receiver did not take them.
        """
        sink = self._sink
        if sink.scheme == SYSLOG:
            port = urlsplit(sink.url).port or syslog.PORT
            syslog.send(messages, sink.host, port, self._context, socket.gethostname(), self._seconds)
        else:
            now = int(time.time())
            hook.post(messages, sink.url, self._context, sink.header, sink.secret, now, self._seconds)


class Sending(Background):
    """The thread of one process that sends events to one sink, when it is this process's turn."""

    def __init__(self, database: Committing, receiver: Receiver) -> None:
        super().__init__(
            _POLL_SECONDS,
            spread=0.2,
            after_fault=MAX_PAUSE,
            fault=f"sending events to the sink {receiver.name} failed",
            unavailable=f"Events are not sent to the sink {receiver.name} now",
        )
        self._name = receiver.name
        self._receiver = receiver
        self._database = database
        self._turn: Turn | None = None
        self._failures = 0

    @property
    def is_sender(self) -> bool:
        """Whether this process sends to the sink now."""
        return self._turn is not None

    def run(self) -> None:
        """Send until the end, and then let others do it."""
        super().run()
        self.attempt(self._give_back)

    def turn(self) -> None:
        """Send what there is, if nobody else does."""
        if self._turn is None:
            if not sinks.may_be_free(self._database, self._name, int(time.time())):
                return
            self._turn = perform(
                self._database, lambda _reader: sinks.take(self._name, int(time.time()), LEASE_SECONDS)
            )
        while self._turn is not None and not self.is_ending():
            if not self._send_some(self._turn):
                return

    def _send_some(self, turn: Turn) -> bool:
        """Send some events; whether there may be more now."""
        page = stream.after(self._database, turn.last)
        if not page:
            if turn.until - time.time() < LEASE_SECONDS / 2:
                self._keep(turn, turn.last)
            return False
        part = _first(page, self._receiver.most)
        if (first := part[0].entry.seq) > turn.last + 1:
            # Its cursor counted no more (event_retention.py): no server had it for long.
            self.warn("The sink %s never gets events %d to %d: they have gone.", self._name, turn.last + 1, first - 1)
        # All of this process may have stood still since: what another one sends by now is not ours.
        kept = self._keep(turn, turn.last)
        if kept is None:
            return False
        try:
            last = self._deliver(part)
        except UndeliveredError as error:
            self._failures += 1
            pause = min(MAX_PAUSE, 2 ** min(self._failures, 10))
            self.warn(
                "The sink %s does not take events after %d: %s. Tried again in %d seconds.",
                self._name, turn.last, error, pause,
            )  # fmt: skip
            self._keep(kept, kept.last, LEASE_SECONDS + pause)
            self.wait(pause)
            return True
        if self._failures:
            _log.info("The sink %s takes events again.", self._name)
        self._failures = 0
        return self._keep(kept, last) is not None

    def _deliver(self, part: Sequence[Sealed]) -> int:
        """Deliver events, or the first of them where all together are rejected; the number of the last one.

        :raises UndeliveredError: if nothing was taken.
        """
        try:
            self._receiver.deliver([_message(one, self._receiver.most) for one in part])
        except RejectedError as error:
            if len(part) > 1:
                return self._deliver(part[:1])
            # No event may stop those behind it: what the receiver does not take whole it gets as its beginning.
            _log.warning(
                "The sink %s rejects event %d: %s. It gets a shorter form.", self._name, part[0].entry.seq, error
            )
            self._receiver.deliver([_message(part[0], SHORT_LINE)])
        return part[-1].entry.seq

    def _keep(self, turn: Turn, last: int, seconds: int = LEASE_SECONDS) -> Turn | None:
        now = int(time.time())
        self._turn = perform(self._database, lambda _reader: sinks.move_on(self._name, turn, last, now, seconds))
        return self._turn

    def _give_back(self) -> None:
        turn, self._turn = self._turn, None
        if turn is not None:
            perform(self._database, lambda _reader: sinks.give_back(self._name, turn, int(time.time())))


def _message(sealed: Sealed, most: int) -> Message:
    return Message(sealed.entry.seq, sealed.entry.at, sealed.entry.kind, sealed.within(most))


def _first(page: Sequence[Sealed], most: int) -> list[Sealed]:
    """The first of some events, as many as one delivery has room for."""
    part: list[Sealed] = []
    octets = 0
    for one in page:
        octets += len(one.within(most)) + 1
        if part and octets > _MOST_OCTETS:
            break
        part.append(one)
    return part
