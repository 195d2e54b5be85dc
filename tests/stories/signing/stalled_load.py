"""Orders and questions to a CA all the time, and how long each answer took."""

from __future__ import annotations

import ssl
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from benchmarks import generator
from benchmarks.connection import Answer, Connection
from benchmarks.generator import Job, Session
from running import CA
from wire import Key

PATIENCE = 240
"""Seconds for which a client comes again to one that answers 503."""
_BETWEEN = 0.1
"""Seconds between a thread's orders, or questions."""
_MOST_ORDERS = 500
"""Of each thread."""
LOOKS = ("/acme/directory", "/crl", "/issuer.cer", "/acme/new-nonce", "/health")
"""What is read without an account."""


@dataclass(frozen=True, slots=True)
class Timed:
    """An answer.

    :ivar what: the last word of the URL, or what comes before an id.
    :ivar begun: when it was asked for, by the monotonic clock.
    """

    what: str
    begun: float
    seconds: float
    status: int


class _Noting(Session):
    """A session that notes each answer."""

    def __init__(self, directory: dict[str, Any], connection: Connection, noted: list[Timed]) -> None:
        super().__init__(directory, connection, PATIENCE)
        self._noted = noted

    def _send(self, key: Key, signer: str, url: str, payload: object) -> Answer:
        begun = time.monotonic()
        found = super()._send(key, signer, url, payload)
        what = "finalize" if url.endswith("/finalize") else url.split("/acme/")[1].split("/", maxsplit=1)[0]
        self._noted.append(Timed(what, begun, time.monotonic() - begun, found.status))
        return found


@dataclass
class Load:
    """Threads that order one certificate after the other, and one that reads what needs no account.

    :ivar orders: the names that have a certificate.
    :ivar faults: what went wrong.
    """

    ca: CA
    threads: int
    answers: list[Timed] = field(default_factory=list)
    orders: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._context = ssl.create_default_context(cafile=str(self.ca.root))
        connection = self._connection()
        self._directory: dict[str, Any] = connection.request("GET", self.ca.directory).json()
        sessions = [_Noting(self._directory, self._connection(), self.answers) for _ in range(self.threads)]
        accounts = [session.register() for session in sessions]
        # Made before the load begins, as what makes them would be in its way.
        jobs = generator.jobs_of_instances(accounts, _MOST_ORDERS * self.threads)
        self._running = [
            threading.Thread(target=self._order, args=(session, jobs[number :: self.threads]))
            for number, session in enumerate(sessions)
        ]
        self._running.append(threading.Thread(target=self._look, args=(connection,)))

    def start(self) -> None:
        """Begin."""
        for thread in self._running:
            thread.start()

    def end(self) -> None:
        """Let each thread end what it has begun."""
        self._ended.set()
        for thread in self._running:
            thread.join(timeout=PATIENCE + 60)
            assert not thread.is_alive()

    def between(self, begin: float, end: float) -> list[Timed]:
        """The answers that were waited for at some time between two moments."""
        return [answer for answer in self.answers if answer.begun < end and answer.begun + answer.seconds > begin]

    def _connection(self) -> Connection:
        return Connection(self.ca.directory, self._context)

    def _order(self, session: Session, jobs: list[Job]) -> None:
        try:
            for job in jobs:
                if self._ended.wait(_BETWEEN):
                    break
                generator.with_iid01(session, job)
                self.orders.append(job.identifier["value"])
        except Exception as error:  # noqa: BLE001 - whatever it is, the test has to hear of it
            self.faults.append(f"{type(error).__name__}: {error}")
        session.connection.close()

    def _look(self, connection: Connection) -> None:
        try:
            while not self._ended.wait(_BETWEEN):
                for path in LOOKS:
                    begun = time.monotonic()
                    found = connection.request("GET", f"{self.ca.url}{path}")
                    self.answers.append(Timed(path, begun, time.monotonic() - begun, found.status))
        except Exception as error:  # noqa: BLE001 - as above
            self.faults.append(f"{type(error).__name__}: {error}")
        connection.close()


def p99(answers: list[Timed]) -> float:
    """The time within which 99 of 100 answers came."""
    times = sorted(answer.seconds for answer in answers)
    return times[min(len(times) - 1, len(times) * 99 // 100)]
