"""One process that renews all certificates of a machine, each in time, for as long as it runs.

A loop wakes every second and compares the clock with what is planned, so that a clock which is set, or a machine
that slept, is noticed within that second. A few threads do what takes time: renewing, and asking the CA for
its wishes. Nothing is remembered that is not on the disk or cannot be asked again, so a kill costs nothing.

What fails is tried again for ever, after pauses that grow to a limit. A CA that cannot be reached is tried with
one certificate at a time, until it answers.
"""

from __future__ import annotations

import queue
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from cryptography import x509

from acme_iid_client import ari, renewal
from acme_iid_client.certificates import rfc3339
from acme_iid_client.connection import UnreachableError
from acme_iid_client.errors import ClientError
from acme_iid_client.journal import Journal, span
from acme_iid_client.order import Issued
from acme_iid_client.records import Record
from acme_iid_client.systemd import Notifier
from acme_iid_client.wakeups import Bell, Clock
from acme_iid_client.watched import Watched, stamp

_TICK = 1.0
_WORKERS = 4
"""Renewals at the same time: enough that a slow one does not keep the others, few enough for any CA."""
_LOOK = 0.5
"""Seconds between two looks at the files."""
_WORTH_SAYING = 60.0
"""Seconds by which a plan has to change to be worth a line."""
_ASK_AGAIN = 60.0
"""Seconds after which a CA that did not say what it wishes is asked again at the earliest."""
_LOOK_AGAIN = 300.0
"""Seconds after which files that cannot be used are looked at again, changed or not."""
_HANGS = 240.0
"""Seconds beyond every limit after which a thread counts as hanging."""
_LAST_WORK = 10.0
"""Seconds that renewals which are under way get when the program is to end. What they miss is tried the next time."""


What = Literal["renew", "advise", "tell"]
"""What threads do."""


@dataclass(frozen=True, slots=True)
class Duties:
    """What the loop does not do itself. All but the first are called from other threads.

    :ivar find: the pairs, each with what is known about it.
    :ivar renew: gets a new certificate and puts it in place.
    :ivar tell: tells others of it.
    :ivar advise: asks the CA when it would like a certificate to be renewed.
    :ivar expires_in: renew with this much time left, instead of when the CA or the certificate's life says so.
    :ivar seconds: the longest that ``renew`` and ``tell`` take together.
    """

    find: Callable[[], list[Record]]
    renew: Callable[[Record], Issued]
    tell: Callable[[Record, Issued], None]
    advise: Callable[[Record, x509.Certificate], ari.Window | None]
    expires_in: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class _Away:
    """A CA that could not be reached.

    :ivar tries: how often in a row.
    :ivar until: before this moment of the monotonic clock, it is not tried again.
    """

    tries: int
    until: float


@dataclass(frozen=True, slots=True)
class _Done:
    """What a thread came to.

    :ivar outcome: what was issued, or None where only the CA's wish was asked for; or what went wrong.
    :ivar wish: the CA's for the certificate that is there now, or why it is not known.
    :ivar untold: why others were not told.
    """

    watched: Watched
    what: What
    outcome: Issued | Exception | None
    wish: ari.Window | Exception | None = None
    untold: Exception | None = None


@dataclass
class Daemon:
    """The loop.

    :ivar force: renew everything at the start.
    """

    duties: Duties
    journal: Journal
    notifier: Notifier
    force: bool = False
    _watched: dict[str, Watched] = field(default_factory=dict)
    _away: dict[str, _Away] = field(default_factory=dict)
    _bell: Bell = field(default_factory=Bell)
    _jobs: queue.SimpleQueue[tuple[What, Watched]] = field(default_factory=queue.SimpleQueue)
    _done: queue.SimpleQueue[_Done] = field(default_factory=queue.SimpleQueue)
    _found_at: float | None = None

    def run(self) -> None:
        """Stay until SIGTERM or SIGINT."""
        with self._bell:
            for _ in range(_WORKERS):
                threading.Thread(target=self._work, daemon=True).start()
            clock = Clock()
            self._find()
            if self.force:
                self._force()
            self.notifier.ready()
            while True:
                if step := clock.step():
                    self._clock_was_set(step)
                self._take_results()
                self._find()
                self._start_what_is_due()
                self._report()
                rung = self._bell.wait(min(_TICK, (self.notifier.interval or _TICK) / 2))
                if signal.SIGTERM in rung or signal.SIGINT in rung:
                    break
                if signal.SIGHUP in rung:
                    self._renew_now()
            self.notifier.stopping()
            self._let_finish()
            self.journal.info("stopped", "stopped")

    def _find(self) -> None:
        """Take up pairs that are new, drop those that are gone, and read what has changed."""
        first, now = self._found_at is None, time.monotonic()
        if self._found_at is not None and now < self._found_at + _LOOK:
            return
        self._found_at = now
        try:
            records = {str(record.certificate): record for record in self.duties.find()}
        except (ClientError, OSError) as error:
            # Those that are known are renewed nevertheless.
            self.journal.error("unusable", str(error))
            records = {name: watched.record for name, watched in self._watched.items()}
        if first and not records:
            self.journal.info("idle", "nothing was ordered on this machine yet; waiting for 'acme-iid order'")
        for name in self._watched.keys() - records.keys():
            if self._watched[name].since is None:
                del self._watched[name]
                self.journal.info("dropped", f"no longer renewed: {name}", certificate=name)
        for name, record in records.items():
            self._look(self._watched.setdefault(name, Watched(record)), record)

    def _look(self, watched: Watched, record: Record) -> None:
        """Read a pair that has changed, or that was never read."""
        now, looks = time.monotonic(), stamp(record)
        again = watched.leaf is None and now - watched.looked_at >= _LOOK_AGAIN
        if watched.since is not None or (watched.looked_at and looks == watched.stamp and not again):
            return
        first, known = not watched.looked_at, watched.leaf
        watched.record, watched.stamp, watched.looked_at = record, looks, now
        try:
            _, watched.leaf = renewal.current(record)
        except (ClientError, OSError) as error:
            watched.leaf = None
            if first or known is not None:
                self.journal.error("unusable", f"cannot be renewed: {watched.name}: {error}", certificate=watched.name)
            return
        if watched.leaf != known:
            watched.plan(None, self.duties.expires_in)
            watched.ask_at, watched.failures, watched.retry_at = 0.0, 0, 0.0
            self._announce(watched, "first renewal" if first else "certificate has changed, next renewal")

    def _announce(self, watched: Watched, what: str) -> None:
        left = watched.planned - time.time()
        self.journal.info(
            "planned",
            f"{what} {'now' if left <= 0 else 'in ' + span(left)}: {watched.name}",
            certificate=watched.name,
            planned=_rfc3339(watched.planned),
        )

    def _start_what_is_due(self) -> None:
        """Give the threads that have nothing to do what is most urgent."""
        now, clock = time.time(), time.monotonic()
        free = _WORKERS - sum(watched.since is not None for watched in self._watched.values())
        if free <= 0:
            return
        waiting = [
            watched
            for watched in self._watched.values()
            if watched.leaf is not None and watched.since is None and clock >= watched.retry_at
        ]
        due = [watched for watched in waiting if watched.forced or now >= watched.planned]
        # What ends first goes first: after a day without the CA, all are due.
        chosen: list[tuple[What, Watched]] = [("renew", watched) for watched in sorted(due, key=lambda w: w.end)]
        if self.duties.expires_in is None:
            # An expired certificate is not asked about (RFC 9773 section 4.3).
            chosen += [("advise", w) for w in waiting if now >= w.ask_at and now < min(w.planned, w.end)]
        chosen += [("tell", w) for w in waiting if w.untold is not None and clock >= w.tell_at]
        for what, watched in chosen:
            if free and watched.since is None and (what == "tell" or self._may_try(watched, clock)):
                watched.since = clock
                self._jobs.put((what, watched))
                free -= 1

    def _may_try(self, watched: Watched, clock: float) -> bool:
        """Whether its CA is well as far as is known, or this is the one that finds out."""
        if watched.ca not in self._away:
            return True
        trying = any(other.since is not None and other.ca == watched.ca for other in self._watched.values())
        return not trying and clock >= self._away[watched.ca].until

    def _work(self) -> None:
        while True:
            what, watched = self._jobs.get()
            try:
                done = self._do(what, watched)
            except Exception as error:  # noqa: BLE001 - a fault of ours ends one try, never the renewing
                done = _Done(watched, what, error)
            self._done.put(done)
            self._bell.ring()

    def _do(self, what: What, watched: Watched) -> _Done:
        match what:
            case "renew":
                return self._renew(watched)
            case "advise":
                return self._ask(watched)
            case "tell":
                assert watched.untold is not None
                return _Done(watched, "tell", watched.untold, None, self._tell(watched.record, watched.untold))

    def _renew(self, watched: Watched) -> _Done:
        issued = self.duties.renew(watched.record)
        untold = self._tell(watched.record, issued)
        wish: ari.Window | Exception | None = None
        if self.duties.expires_in is None:
            # At once, as RFC 9773 section 4.3 would have it, so that what is said about the next time holds.
            try:
                wish = self.duties.advise(watched.record, issued.leaf)
            except ClientError as error:
                wish = error
        return _Done(watched, "renew", issued, wish, untold)

    def _ask(self, watched: Watched) -> _Done:
        assert watched.leaf is not None
        return _Done(watched, "advise", None, self.duties.advise(watched.record, watched.leaf))

    def _tell(self, record: Record, issued: Issued) -> Exception | None:
        try:
            self.duties.tell(record, issued)
        except (ClientError, OSError) as error:
            return error
        return None

    def _take_results(self) -> None:
        while True:
            try:
                done = self._done.get_nowait()
            except queue.Empty:
                return
            watched = done.watched
            watched.since = None
            if isinstance(done.outcome, Exception):
                self._failed(done, done.outcome)
                continue
            if done.what != "tell":
                self._away.pop(watched.ca, None)
            if done.outcome is None:
                self._advised(watched, done.wish)
                continue
            if done.what == "renew":
                self._renewed(watched, done.outcome, done.wish)
            self._told(watched, done.outcome, done.untold)

    def _renewed(self, watched: Watched, issued: Issued, wish: ari.Window | Exception | None) -> None:
        watched.forced, watched.failures, watched.retry_at = False, 0, 0.0
        # Read again soon: somebody else may have replaced it already.
        watched.leaf, watched.stamp = issued.leaf, None
        self._take_wish(watched, wish)
        left = watched.planned - time.time()
        self.journal.info(
            "renewed",
            f"certificate renewed, next in {span(left)}: {watched.name}",
            certificate=watched.name,
            serial=str(issued.leaf.serial_number),
            not_after=rfc3339(issued.leaf.not_valid_after_utc),
        )

    def _told(self, watched: Watched, issued: Issued, fault: Exception | None) -> None:
        """Note whether everybody knows of a certificate; who does not is told again, after pauses as for renewals."""
        if fault is None:
            if watched.untold is not None:
                self.journal.info("told", f"now everybody knows: {watched.name}", certificate=watched.name)
            watched.untold, watched.tellings = None, 0
            return
        watched.tellings = watched.tellings + 1 if watched.untold is issued else 1
        watched.untold = issued
        pause = watched.pause(watched.tellings, fault)
        watched.tell_at = time.monotonic() + pause
        self.journal.error(
            "untold", f"{watched.name}: {fault} The next try is in {span(pause)}.", certificate=watched.name
        )

    def _advised(self, watched: Watched, wish: ari.Window | Exception | None) -> None:
        before = watched.planned
        self._take_wish(watched, wish)
        if abs(watched.planned - before) > _WORTH_SAYING:
            why = f" ({wish.explanation})" if isinstance(wish, ari.Window) and wish.explanation is not None else ""
            self._announce(watched, f"the CA's wish{why}: next renewal")

    def _take_wish(self, watched: Watched, wish: ari.Window | Exception | None) -> None:
        window = wish if isinstance(wish, ari.Window) else None
        watched.plan(window, self.duties.expires_in)
        if isinstance(wish, Exception):
            watched.ask_at = time.time() + _ASK_AGAIN
        else:
            watched.ask_at = time.time() + (ari.USUAL_INTERVAL if window is None else window.interval)

    def _failed(self, done: _Done, error: Exception) -> None:
        watched, now = done.watched, time.monotonic()
        if isinstance(error, UnreachableError):
            before = self._away.get(watched.ca)
            tries = 1 if before is None else before.tries + 1
            pause = watched.pause(tries, error)
            self._away[watched.ca] = _Away(tries, now + pause)
        else:
            self._away.pop(watched.ca, None)
            tries = watched.failures + 1
            pause = watched.pause(tries, error)
        if done.what == "advise":
            # There is a plan without the CA's word. What is wrong will be said when it matters, for renewing.
            watched.ask_at = time.time() + max(_ASK_AGAIN, pause)
            return
        watched.failures, watched.retry_at = watched.failures + 1, now + pause
        text = str(error) if isinstance(error, ClientError | OSError) else f"{type(error).__name__}: {error}"
        self.journal.error(
            "failed",
            f"renewal failed, next try in {span(pause)}: {watched.name}: {text}",
            certificate=watched.name,
            error=text,
            tries=watched.failures,
        )

    def _clock_was_set(self, step: float) -> None:
        way = "forward" if step > 0 else "back"
        self.journal.info("clock", f"the clock was set {way} by {span(abs(step))}", seconds=round(step, 3))
        # What failed may have failed for the old time, and when to ask was reckoned in it.
        self._forget_failures()
        for watched in self._watched.values():
            watched.ask_at = 0.0

    def _renew_now(self) -> None:
        self.notifier.reloading()
        self.journal.info("hangup", "SIGHUP: renewing now")
        self._forget_failures()
        self._find()
        self._force()
        self.notifier.ready()

    def _force(self) -> None:
        for watched in self._watched.values():
            watched.forced = True

    def _forget_failures(self) -> None:
        self._away.clear()
        for watched in self._watched.values():
            watched.failures, watched.retry_at = 0, 0.0

    def _report(self) -> None:
        now, clock = time.time(), time.monotonic()
        usable = [watched for watched in self._watched.values() if watched.leaf is not None]
        failing = sum(watched.failures > 0 for watched in usable) + len(self._watched) - len(usable)
        text = f"{len(self._watched)} certificates"
        if usable:
            text += f", next renewal at {_rfc3339(max(now, min(watched.planned for watched in usable)))}"
        if failing:
            text += f", {failing} failing"
        self.notifier.status(text)
        started = [watched.since for watched in self._watched.values() if watched.since is not None]
        # A thread that hangs beyond every limit is what a watchdog is for.
        if all(clock - since < self.duties.seconds + _HANGS for since in started):
            self.notifier.alive()

    def _let_finish(self) -> None:
        deadline = time.monotonic() + _LAST_WORK
        while not self._jobs.empty():
            _, watched = self._jobs.get()
            watched.since = None
        while any(w.since is not None for w in self._watched.values()) and time.monotonic() < deadline:
            self._bell.wait(0.2)
            self._take_results()


def _rfc3339(seconds: float) -> str:
    return rfc3339(datetime.fromtimestamp(seconds, UTC))
