"""One process that renews all certificates of a machine, each in time, for as long as it runs.

A loop wakes every second and compares the clock with what is planned, so that a clock which is set, or a machine
that slept, is noticed within that second. A few threads do what takes time: renewing, and asking the CA for
its wishes. Nothing is remembered that is not on the disk or cannot be asked again, so a kill costs nothing.

What fails is tried again for ever, after pauses that grow to a limit: minutes, or hours where only an operator can
change what was refused. A CA that cannot be reached, or is busy, is tried with one certificate at a time, until it
answers. A pair whose files cannot be used keeps no other from being renewed: it is said once, and the files are looked
at until they can be.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography import x509

from acme_iid.systemd import Notifier
from acme_iid.terminal.durations import span
from acme_iid_client.acme.connection import CaError
from acme_iid_client.errors import ClientError, sentence
from acme_iid_client.renewal.log import Journal
from acme_iid_client.renewal.refusals import Refusal, RefusedError
from acme_iid_client.renewal.renew import MissingError
from acme_iid_client.renewal.schedule import USUAL_INTERVAL, Window
from acme_iid_client.renewal.scheduled_pair import ScheduledPair
from acme_iid_client.renewal.wakeups import Bell, Clock
from acme_iid_client.renewal.workers import WORKERS, Done, Duties, What, Workers
from acme_iid_client.storage.records import Record
from acme_iid_client.x509.certificates import rfc3339

_TICK = 1.0
_LOOK = 0.5
"""Seconds between two looks at the files."""
_WORTH_SAYING = 60.0
"""Seconds by which a plan has to change to be worth a line."""
_ASK_AGAIN = 60.0
"""Seconds after which a CA that did not say what it wishes is asked again at the earliest."""
_LOOK_AGAIN = 30.0
"""Seconds after which files that cannot be used are looked at again, changed or not."""
_HANGS = 240.0
"""Seconds beyond every limit after which a thread counts as hanging."""
_LAST_WORK = 10.0
"""Seconds that renewals which are under way get when the program is to end. What they miss is tried the next time."""


@dataclass(frozen=True, slots=True)
class _Away:
    """A CA that could not be reached, or had too much to do.

    :ivar tries: the number of failed tries in a row.
    :ivar until: before this moment of the monotonic clock, it is not tried again.
    """

    tries: int
    until: float


@dataclass
class Daemon:
    """The loop.

    :ivar force: renew everything at the start.
    """

    duties: Duties
    journal: Journal
    notifier: Notifier
    force: bool = False
    _pairs: dict[str, ScheduledPair] = field(default_factory=dict)
    _away: dict[str, _Away] = field(default_factory=dict)
    _bell: Bell = field(default_factory=Bell)
    _workers: Workers = field(init=False)
    _found_at: float | None = None
    _trouble: str | None = None

    def __post_init__(self) -> None:
        self._workers = Workers(self.duties, self._bell.ring)

    def run(self) -> None:
        """Stay until SIGTERM or SIGINT."""
        with self._bell:
            self._workers.start()
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
        trouble = None
        try:
            records = {str(record.certificate): record for record in self.duties.find()}
        except (ClientError, OSError) as error:
            # Those that are known are renewed nevertheless.
            trouble = sentence(error)
            records = {name: pair.record for name, pair in self._pairs.items()}
        if trouble is not None and trouble != self._trouble:
            self.journal.error("unusable", trouble)
        self._trouble = trouble
        if first and not records and trouble is None:
            self.journal.info("idle", "nothing was ordered on this machine yet; waiting for 'acme-iid order'")
        for name in self._pairs.keys() - records.keys():
            if self._pairs[name].since is None:
                self._dropped(self._pairs.pop(name))
        for name, record in records.items():
            self._look(self._pairs.setdefault(name, ScheduledPair(record)), record)

    def _look(self, pair: ScheduledPair, record: Record) -> None:
        """Read a pair that has changed, or that was never read."""
        now, looks = time.monotonic(), self.duties.stamp(record)
        again = pair.leaf is None and now - pair.looked_at >= _LOOK_AGAIN
        if pair.since is not None or (pair.looked_at and looks == pair.stamp and not again):
            return
        first, known, trouble = not pair.looked_at, pair.leaf, pair.trouble
        pair.record, pair.stamp, pair.looked_at = record, looks, now
        try:
            current = self.duties.look(record)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one pair keeps no other from being renewed
            self._cannot_be_used(pair, error, first)
            return
        pair.trouble, pair.absent = None, current.revoked
        pair.leaf = None if current.revoked else current.leaf
        if current.revoked and known is not None:
            self._dropped(pair)
        if pair.leaf is None or pair.leaf == known:
            return
        pair.plan(None, self.duties.expires_in)
        pair.ask_at, pair.failures, pair.retry_at, pair.refused = 0.0, 0, 0.0, None
        pair.notification_pending = pair.notification_pending or current.notification_pending
        again = trouble is not None
        self._announce(pair, "first" if first else "found again, next" if again else "certificate has changed, next")
        if current.refusal is not None and not pair.forced:
            self._refused(pair, current.refusal)

    def _cannot_be_used(self, pair: ScheduledPair, error: Exception, first: bool) -> None:
        """Note what is wrong with the files of a pair, and say it once."""
        pair.leaf, pair.absent = None, isinstance(error, MissingError)
        text, before = sentence(error), pair.trouble
        pair.trouble = text
        if text == before:
            return
        if first and pair.absent:
            # Removed for good, or on a volume that is not there yet.
            self.journal.info("missing", f"not there, renewed once it is: {pair.name}", certificate=pair.name)
            return
        self.journal.error("unusable", f"cannot be renewed: {pair.name}: {text}", certificate=pair.name)

    def _dropped(self, pair: ScheduledPair) -> None:
        self.journal.info("dropped", f"no longer renewed: {pair.name}", certificate=pair.name)

    def _announce(self, pair: ScheduledPair, what: str) -> None:
        left = pair.planned - time.time()
        self.journal.info(
            "planned",
            f"{what} renewal {'now' if left <= 0 else 'in ' + span(left)}: {pair.name}",
            certificate=pair.name,
            planned=_rfc3339(pair.planned),
        )

    def _start_what_is_due(self) -> None:
        """Give the threads that have nothing to do what is most urgent."""
        now, clock = time.time(), time.monotonic()
        free = WORKERS - sum(pair.since is not None for pair in self._pairs.values())
        if free <= 0:
            return
        usable = [pair for pair in self._pairs.values() if pair.leaf is not None and pair.since is None]
        waiting = [pair for pair in usable if clock >= pair.retry_at]
        due = [pair for pair in waiting if pair.forced or now >= pair.planned]
        # The certificate that ends first goes first: after a day without the CA, all are due.
        chosen: list[tuple[What, ScheduledPair]] = [("renew", pair) for pair in sorted(due, key=lambda pair: pair.end)]
        if self.duties.expires_in is None:
            # An expired certificate is not asked about (RFC 9773 section 4.3).
            chosen += [("advise", pair) for pair in waiting if pair.ask_at <= now < min(pair.planned, pair.end)]
        chosen += [("notify", pair) for pair in usable if pair.notification_pending and clock >= pair.notify_at]
        for what, pair in chosen:
            if free and pair.since is None and (what == "notify" or self._may_try(pair, clock)):
                pair.since = clock
                self._workers.give(what, pair)
                free -= 1

    def _may_try(self, pair: ScheduledPair, clock: float) -> bool:
        """Whether its CA is well as far as is known, or this is the one that finds out."""
        if pair.ca not in self._away:
            return True
        trying = any(other.since is not None and other.ca == pair.ca for other in self._pairs.values())
        return not trying and clock >= self._away[pair.ca].until

    def _take_results(self) -> None:
        for done in self._workers.results():
            pair = done.pair
            pair.since = None
            if isinstance(done.outcome, Exception):
                self._failed(done, done.outcome)
                continue
            if done.what != "notify":
                self._away.pop(pair.ca, None)
            if done.outcome is None:
                self._advised(pair, done.wish)
                continue
            if done.what == "renew":
                self._renewed(pair, done.outcome, done.wish)
            self._notified(pair, done.notification_error)

    def _renewed(self, pair: ScheduledPair, leaf: x509.Certificate, wish: Window | Exception | None) -> None:
        pair.forced, pair.failures, pair.retry_at, pair.refused = False, 0, 0.0, None
        pair.notification_tries = 0
        # Read again soon: somebody else may have replaced it already.
        pair.leaf, pair.stamp = leaf, None
        self._take_wish(pair, wish)
        left = pair.planned - time.time()
        self.journal.info(
            "renewed",
            f"certificate renewed, next in {span(left)}: {pair.name}",
            certificate=pair.name,
            serial=str(leaf.serial_number),
            not_after=rfc3339(leaf.not_valid_after_utc),
        )

    def _notified(self, pair: ScheduledPair, fault: Exception | None) -> None:
        """Note whether everybody knows of a certificate; who does not is told again, after pauses as for renewals."""
        if fault is None:
            if pair.notification_pending:
                self.journal.info("told", f"all notifications have been sent: {pair.name}", certificate=pair.name)
            pair.notification_pending, pair.notification_tries = False, 0
            return
        pair.notification_pending, pair.notification_tries = True, pair.notification_tries + 1
        pause = pair.pause(pair.notification_tries, fault)
        pair.notify_at = time.monotonic() + pause
        self.journal.error("untold", f"{pair.name}: {fault} The next try is in {span(pause)}.", certificate=pair.name)

    def _advised(self, pair: ScheduledPair, wish: Window | Exception | None) -> None:
        before = pair.planned
        self._take_wish(pair, wish)
        if abs(pair.planned - before) > _WORTH_SAYING:
            why = f" ({wish.explanation})" if isinstance(wish, Window) and wish.explanation is not None else ""
            self._announce(pair, f"the CA's wish{why}: next")

    def _take_wish(self, pair: ScheduledPair, wish: Window | Exception | None) -> None:
        window = wish if isinstance(wish, Window) else None
        pair.plan(window, self.duties.expires_in)
        if isinstance(wish, Exception):
            pair.ask_at = time.time() + _ASK_AGAIN
        else:
            pair.ask_at = time.time() + (USUAL_INTERVAL if window is None else window.interval)

    def _failed(self, done: Done, error: Exception) -> None:
        pair, now = done.pair, time.monotonic()
        if isinstance(error, CaError) and error.is_of_the_moment:
            before = self._away.get(pair.ca)
            tries = 1 if before is None else before.tries + 1
            pause = pair.pause(tries, error)
            self._away[pair.ca] = _Away(tries, now + pause)
        else:
            self._away.pop(pair.ca, None)
            tries = pair.failures + 1
            pause = pair.pause(tries, error)
        if done.what == "advise":
            # There is a plan without the CA's word. The fault will be said when it matters, for renewing.
            pair.ask_at = time.time() + max(_ASK_AGAIN, pause)
            return
        if isinstance(error, RefusedError):
            self._refused(pair, error.refusal)
            return
        pair.failures, pair.retry_at, pair.refused = pair.failures + 1, now + pause, None
        text = sentence(error)
        self.journal.error(
            "failed",
            f"renewal failed, next try in {span(pause)}: {pair.name}: {text}",
            certificate=pair.name,
            error=text,
            tries=pair.failures,
        )

    def _refused(self, pair: ScheduledPair, refusal: Refusal) -> None:
        """Leave the CA alone after a refusal that only an operator can change, and say so once."""
        pause, before = max(0.0, refusal.until - time.time()), pair.refused
        pair.failures, pair.refused = refusal.tries, refusal.text
        pair.retry_at = time.monotonic() + pause
        if refusal.text != before:
            self.journal.error(
                "refused",
                f"renewal refused, and only an operator can change that: next try in {span(pause)}, or on SIGHUP: "
                f"{pair.name}: {refusal.text}",
                certificate=pair.name,
                error=refusal.text,
                tries=refusal.tries,
            )

    def _clock_was_set(self, step: float) -> None:
        way = "forward" if step > 0 else "back"
        self.journal.info("clock", f"the clock was set {way} by {span(abs(step))}", seconds=round(step, 3))
        # Failures may be due to the old time, and the times to ask were reckoned in it. Refusals do not depend on it.
        self._forget_failures(pair for pair in self._pairs.values() if pair.refused is None)
        for pair in self._pairs.values():
            pair.ask_at = 0.0

    def _renew_now(self) -> None:
        self.notifier.reloading()
        self.journal.info("hangup", "SIGHUP: renewing now")
        self.duties.look_at_roots()
        self._forget_failures(self._pairs.values())
        self._find()
        self._force()
        self.notifier.ready()

    def _force(self) -> None:
        for pair in self._pairs.values():
            pair.forced = True

    def _forget_failures(self, pairs: Iterable[ScheduledPair]) -> None:
        self._away.clear()
        for pair in pairs:
            pair.failures, pair.retry_at, pair.refused = 0, 0.0, None

    def _report(self) -> None:
        now, clock = time.time(), time.monotonic()
        there = [pair for pair in self._pairs.values() if not pair.absent]
        usable = [pair for pair in there if pair.leaf is not None]
        failing = sum(pair.failures > 0 for pair in usable) + len(there) - len(usable)
        text = f"{len(there)} certificates"
        if usable:
            text += f", next renewal at {_rfc3339(max(now, min(pair.planned for pair in usable)))}"
        if failing:
            text += f", {failing} failing"
        self.notifier.status(text)
        started = [(pair.record, pair.since) for pair in self._pairs.values() if pair.since is not None]
        # A thread that hangs beyond every limit is what a watchdog is for.
        if all(clock - since < self.duties.seconds(record) + _HANGS for record, since in started):
            self.notifier.alive()

    def _let_finish(self) -> None:
        deadline = time.monotonic() + _LAST_WORK
        for pair in self._workers.take_back():
            pair.since = None
        while any(pair.since is not None for pair in self._pairs.values()) and time.monotonic() < deadline:
            self._bell.wait(0.2)
            self._take_results()


def _rfc3339(seconds: float) -> str:
    return rfc3339(datetime.fromtimestamp(seconds, UTC))
