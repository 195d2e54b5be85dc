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

from acme_iid.terminal.durations import span
from acme_iid_client.acme.connection import CaError
from acme_iid_client.errors import ClientError, sentence
from acme_iid_client.renewal import ari
from acme_iid_client.renewal.log import Journal
from acme_iid_client.renewal.refusals import Refusal, RefusedError
from acme_iid_client.renewal.renew import MissingError
from acme_iid_client.renewal.scheduled_pair import Watched
from acme_iid_client.renewal.systemd import Notifier
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

    :ivar tries: how often in a row.
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
    _watched: dict[str, Watched] = field(default_factory=dict)
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
            records = {name: watched.record for name, watched in self._watched.items()}
        if trouble is not None and trouble != self._trouble:
            self.journal.error("unusable", trouble)
        self._trouble = trouble
        if first and not records and trouble is None:
            self.journal.info("idle", "nothing was ordered on this machine yet; waiting for 'acme-iid order'")
        for name in self._watched.keys() - records.keys():
            if self._watched[name].since is None:
                self._dropped(self._watched.pop(name))
        for name, record in records.items():
            self._look(self._watched.setdefault(name, Watched(record)), record)

    def _look(self, watched: Watched, record: Record) -> None:
        """Read a pair that has changed, or that was never read."""
        now, looks = time.monotonic(), self.duties.stamp(record)
        again = watched.leaf is None and now - watched.looked_at >= _LOOK_AGAIN
        if watched.since is not None or (watched.looked_at and looks == watched.stamp and not again):
            return
        first, known, trouble = not watched.looked_at, watched.leaf, watched.trouble
        watched.record, watched.stamp, watched.looked_at = record, looks, now
        try:
            current = self.duties.look(record)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one pair keeps no other from being renewed
            self._cannot_be_used(watched, error, first)
            return
        watched.trouble, watched.absent = None, current.revoked
        watched.leaf = None if current.revoked else current.leaf
        if current.revoked and known is not None:
            self._dropped(watched)
        if watched.leaf is None or watched.leaf == known:
            return
        watched.plan(None, self.duties.expires_in)
        watched.ask_at, watched.failures, watched.retry_at, watched.refused = 0.0, 0, 0.0, None
        watched.untold = watched.untold or current.untold
        again = trouble is not None
        self._announce(watched, "first" if first else "found again, next" if again else "certificate has changed, next")
        if current.refusal is not None and not watched.forced:
            self._refused(watched, current.refusal)

    def _cannot_be_used(self, watched: Watched, error: Exception, first: bool) -> None:
        """Note what is wrong with the files of a pair, and say it once."""
        watched.leaf, watched.absent = None, isinstance(error, MissingError)
        text, before = sentence(error), watched.trouble
        watched.trouble = text
        if text == before:
            return
        if first and watched.absent:
            # Removed for good, or on a volume that is not there yet.
            self.journal.info("missing", f"not there, renewed once it is: {watched.name}", certificate=watched.name)
            return
        self.journal.error("unusable", f"cannot be renewed: {watched.name}: {text}", certificate=watched.name)

    def _dropped(self, watched: Watched) -> None:
        self.journal.info("dropped", f"no longer renewed: {watched.name}", certificate=watched.name)

    def _announce(self, watched: Watched, what: str) -> None:
        left = watched.planned - time.time()
        self.journal.info(
            "planned",
            f"{what} renewal {'now' if left <= 0 else 'in ' + span(left)}: {watched.name}",
            certificate=watched.name,
            planned=_rfc3339(watched.planned),
        )

    def _start_what_is_due(self) -> None:
        """Give the threads that have nothing to do what is most urgent."""
        now, clock = time.time(), time.monotonic()
        free = WORKERS - sum(watched.since is not None for watched in self._watched.values())
        if free <= 0:
            return
        usable = [watched for watched in self._watched.values() if watched.leaf is not None and watched.since is None]
        waiting = [watched for watched in usable if clock >= watched.retry_at]
        due = [watched for watched in waiting if watched.forced or now >= watched.planned]
        # What ends first goes first: after a day without the CA, all are due.
        chosen: list[tuple[What, Watched]] = [("renew", watched) for watched in sorted(due, key=lambda w: w.end)]
        if self.duties.expires_in is None:
            # An expired certificate is not asked about (RFC 9773 section 4.3).
            chosen += [("advise", w) for w in waiting if now >= w.ask_at and now < min(w.planned, w.end)]
        chosen += [("tell", w) for w in usable if w.untold and clock >= w.tell_at]
        for what, watched in chosen:
            if free and watched.since is None and (what == "tell" or self._may_try(watched, clock)):
                watched.since = clock
                self._workers.give(what, watched)
                free -= 1

    def _may_try(self, watched: Watched, clock: float) -> bool:
        """Whether its CA is well as far as is known, or this is the one that finds out."""
        if watched.ca not in self._away:
            return True
        trying = any(other.since is not None and other.ca == watched.ca for other in self._watched.values())
        return not trying and clock >= self._away[watched.ca].until

    def _take_results(self) -> None:
        for done in self._workers.results():
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
            self._told(watched, done.untold)

    def _renewed(self, watched: Watched, leaf: x509.Certificate, wish: ari.Window | Exception | None) -> None:
        watched.forced, watched.failures, watched.retry_at, watched.refused = False, 0, 0.0, None
        watched.tellings = 0
        # Read again soon: somebody else may have replaced it already.
        watched.leaf, watched.stamp = leaf, None
        self._take_wish(watched, wish)
        left = watched.planned - time.time()
        self.journal.info(
            "renewed",
            f"certificate renewed, next in {span(left)}: {watched.name}",
            certificate=watched.name,
            serial=str(leaf.serial_number),
            not_after=rfc3339(leaf.not_valid_after_utc),
        )

    def _told(self, watched: Watched, fault: Exception | None) -> None:
        """Note whether everybody knows of a certificate; who does not is told again, after pauses as for renewals."""
        if fault is None:
            if watched.untold:
                self.journal.info("told", f"now everybody knows: {watched.name}", certificate=watched.name)
            watched.untold, watched.tellings = False, 0
            return
        watched.untold, watched.tellings = True, watched.tellings + 1
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
            self._announce(watched, f"the CA's wish{why}: next")

    def _take_wish(self, watched: Watched, wish: ari.Window | Exception | None) -> None:
        window = wish if isinstance(wish, ari.Window) else None
        watched.plan(window, self.duties.expires_in)
        if isinstance(wish, Exception):
            watched.ask_at = time.time() + _ASK_AGAIN
        else:
            watched.ask_at = time.time() + (ari.USUAL_INTERVAL if window is None else window.interval)

    def _failed(self, done: Done, error: Exception) -> None:
        watched, now = done.watched, time.monotonic()
        if isinstance(error, CaError) and error.is_of_the_moment:
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
        if isinstance(error, RefusedError):
            self._refused(watched, error.refusal)
            return
        watched.failures, watched.retry_at, watched.refused = watched.failures + 1, now + pause, None
        text = sentence(error)
        self.journal.error(
            "failed",
            f"renewal failed, next try in {span(pause)}: {watched.name}: {text}",
            certificate=watched.name,
            error=text,
            tries=watched.failures,
        )

    def _refused(self, watched: Watched, refusal: Refusal) -> None:
        """Leave the CA alone after a refusal that only an operator can change, and say so once."""
        pause, before = max(0.0, refusal.until - time.time()), watched.refused
        watched.failures, watched.refused = refusal.tries, refusal.text
        watched.retry_at = time.monotonic() + pause
        if refusal.text != before:
            self.journal.error(
                "refused",
                f"renewal refused, and only an operator can change that: next try in {span(pause)}, or on SIGHUP: "
                f"{watched.name}: {refusal.text}",
                certificate=watched.name,
                error=refusal.text,
                tries=refusal.tries,
            )

    def _clock_was_set(self, step: float) -> None:
        way = "forward" if step > 0 else "back"
        self.journal.info("clock", f"the clock was set {way} by {span(abs(step))}", seconds=round(step, 3))
        # What failed may have failed for the old time, and when to ask was reckoned in it. What was refused was not.
        self._forget_failures(watched for watched in self._watched.values() if watched.refused is None)
        for watched in self._watched.values():
            watched.ask_at = 0.0

    def _renew_now(self) -> None:
        self.notifier.reloading()
        self.journal.info("hangup", "SIGHUP: renewing now")
        self._forget_failures(self._watched.values())
        self._find()
        self._force()
        self.notifier.ready()

    def _force(self) -> None:
        for watched in self._watched.values():
            watched.forced = True

    def _forget_failures(self, pairs: Iterable[Watched]) -> None:
        self._away.clear()
        for watched in pairs:
            watched.failures, watched.retry_at, watched.refused = 0, 0.0, None

    def _report(self) -> None:
        now, clock = time.time(), time.monotonic()
        there = [watched for watched in self._watched.values() if not watched.absent]
        usable = [watched for watched in there if watched.leaf is not None]
        failing = sum(watched.failures > 0 for watched in usable) + len(there) - len(usable)
        text = f"{len(there)} certificates"
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
        for watched in self._workers.take_back():
            watched.since = None
        while any(w.since is not None for w in self._watched.values()) and time.monotonic() < deadline:
            self._bell.wait(0.2)
            self._take_results()


def _rfc3339(seconds: float) -> str:
    return rfc3339(datetime.fromtimestamp(seconds, UTC))
