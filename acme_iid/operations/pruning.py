"""Keeping the store bounded: what ended long ago goes, a few rows at a time (rfc-notes/decisions/0012-pruning.md).

All that a client may still ask for stays: what is open or valid, certificates for a time after their end, and what an
order replaces or a revocation list must still name. Accounts, instances, blocks, closed names and events are never
removed here; events are a chain of hashes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import partial

from acme_iid.authority import Authority
from acme_iid.config.settings import Config
from acme_iid.operations.background import Background
from acme_iid.protocol.renewal import CertificateId
from acme_iid.store import fleet_samples, jobs, limits, pruning, refusal_counts, refusals
from acme_iid.store.chain import Event
from acme_iid.store.database import Database
from acme_iid.store.pruning import Ends, Expired
from acme_iid.store.writes import Decision, Reader, Write, perform

BATCH = 100
"""The number of things that go in one transaction, for whose time others wait for the store's one lock.

In a store of a million certificates each thing lies in some twenty pages of its own.
"""
INTERVAL = 3600
"""Seconds from one turn of the job to the next."""

LONG = 7 * 24 * 3600
"""Seconds: who finds that nobody has pruned for longer has a clock that may be wrong."""
DOUBT = 24 * 3600
"""Seconds for which that clock is watched, and perhaps set, before it is believed."""

_BY_TIME = {
    "limits": limits,
    "refusals": refusals,
    "fleet_samples": fleet_samples,
    "refusal_counts": refusal_counts,
}
"""What goes by its time alone."""
_JOB = "prune"
_FIRST_LOOK_SECONDS = 2.0
_POLL_SECONDS = 60.0
_FIRST = (-1, 0)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pruned:
    """The numbers of the things that went.

    :ivar certificates: with their orders.
    :ivar orders: that led to no certificate.
    :ivar authorizations: that no order took.
    :ivar limits: subjects of rate limits whose actions count no longer.
    :ivar refusals: refusals that are counted no longer; their events stay.
    :ivar fleet_samples: the fleet's numbers of one hour.
    :ivar refusal_counts: numbers of refusals of one hour.
    """

    certificates: int = 0
    orders: int = 0
    authorizations: int = 0
    external_keys: int = 0
    enrolments: int = 0
    limits: int = 0
    refusals: int = 0
    fleet_samples: int = 0
    refusal_counts: int = 0

    def __add__(self, other: Pruned) -> Pruned:
        return Pruned(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    @property
    def counts(self) -> dict[str, int]:
        """The numbers by their names."""
        return asdict(self)

    def __str__(self) -> str:
        return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in self.counts.items() if count)


def ends(config: Config, reader: Reader, now: int) -> Ends:
    """The moments by which something must have ended to go now."""
    retention = config.retention
    certificates = now - retention.certificates
    listed = pruning.listed_until(reader) if config.shows_status else None
    return Ends(now - retention.orders, certificates, certificates if listed is None else listed, now)


def count(config: Config, reader: Reader, now: int) -> Pruned:
    """The numbers that :func:`prune` would remove now."""
    terms = ends(config, reader, now)
    going, after = 0, _FIRST
    while page := pruning.expired(reader, terms, after, BATCH):
        going += len(_that_go(reader, terms, page))
        after = (page[-1].not_after, page[-1].n)
    kinds = {kind: pruning.count(reader, kind, terms) for kind in pruning.KINDS}
    kinds |= {kind: room.count_past(reader, now) for kind, room in _BY_TIME.items()}
    return Pruned(certificates=going, **kinds)


def prune(config: Config, database: Database, by: str, now: int, goes_on: Callable[[], bool] = lambda: True) -> Pruned:
    """Remove what can go, in transactions of a few rows each, and record how many of what were removed.

    :param by: the one that asks for it, for the record: "operator" or "server".
    :param goes_on: asked after each transaction.
    """
    terms = ends(config, database, now)
    total, after, more = Pruned(), _FIRST, True
    while more:
        begun = time.monotonic()
        removed, after, more = perform(database, partial(_batch, terms=terms, after=after, by=by, now=now))
        total += removed
        if not goes_on():
            break
        if more:
            # As long again, so that whoever waits for the lock gets it.
            time.sleep(time.monotonic() - begun)
    return total


Batch = tuple[Pruned, tuple[int, int], bool]
"""The numbers removed, how far certificates were seen, and whether there may be more."""


def _batch(reader: Reader, terms: Ends, after: tuple[int, int], by: str, now: int) -> Batch | Write[Batch]:
    """Remove up to :data:`BATCH` things, and record how many of what."""
    left = BATCH
    page = pruning.expired(reader, terms, after, left)
    if page:
        after = (page[-1].not_after, page[-1].n)
    gone = _that_go(reader, terms, page)
    statements = pruning.remove_certificates(reader, gone)
    left -= len(page)
    counts = {"certificates": len(gone)}
    for kind in pruning.KINDS:
        counts[kind], removing = pruning.removed(reader, kind, terms, left) if left else (0, [])
        statements += removing
        left -= counts[kind]
    for kind, room in _BY_TIME.items():
        counts[kind] = min(room.count_past(reader, terms.now), left) if left else 0
        if counts[kind]:
            statements.append(room.forget(terms.now, counts[kind]))
        left -= counts[kind]
    done = Pruned(**counts), after, not left
    if not any(counts.values()):
        return done
    detail: dict[str, object] = {name: count for name, count in counts.items() if count}
    return Write(statements, lambda _rows: done, [Event("store.pruned", now, detail={"by": by, "removed": detail})])


def _that_go(reader: Reader, terms: Ends, page: list[Expired]) -> list[Expired]:
    """Those of the certificates that nothing else needs.

    One that an open order replaces is looked at when that is finalized. The order that replaced a certificate stays as
    long as that could be named again: it is why no second one may (RFC 9773 section 5).
    """
    if not page:
        return []
    needed = {_serial(text) for text in pruning.open_replacements(reader, terms.now)}
    replaced = {one.n: _serial(one.replaces) for one in page if one.replaces is not None}
    staying = pruning.staying(reader, sorted(set(replaced.values())), terms)
    return [one for one in page if one.serial not in needed and replaced.get(one.n) not in staying]


def _serial(text: str) -> str:
    return f"{CertificateId.read(text).serial:x}"


class Pruning(Background):
    """The thread of one process that prunes when it is this process's turn: each hour one of all processes has it."""

    def __init__(self, authority: Authority) -> None:
        super().__init__(
            _POLL_SECONDS,
            first=_FIRST_LOOK_SECONDS,
            spread=0.1,
            fault="pruning the store failed",
            unavailable="The store is not pruned now",
        )
        self._authority = authority
        self._ahead = ahead()
        self._began = time.monotonic()

    def turn(self) -> None:
        """Prune if it is this process's turn, and the clock can be believed."""
        if clock_was_set(self._ahead):
            _log.warning("The clock was set by more than an hour; the store is pruned again after a restart.")
        elif in_doubt(self._authority.database, int(time.time()), time.monotonic() - self._began):
            _log.warning(
                "The store was not pruned for more than a week, by this machine's clock; check it. "
                "Nothing is pruned until the server has run for a day with it."
            )
            self.wait(INTERVAL)
        else:
            prune_if_due(self._authority.config, self._authority.database, int(time.time()), self.is_ending)


def ahead() -> float:
    """The clock's lead over the time since the machine's start, in seconds: it changes when the clock is set."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def clock_was_set(before: float) -> bool:
    """Whether the clock was set by more than an hour since :func:`ahead` was ``before``.

    A clock that has jumped ahead must not make certificates old that are in force.
    """
    return abs(ahead() - before) > INTERVAL


def last(reader: Reader) -> int | None:
    """When the latest pruning began, seconds; None if there was none."""
    due = jobs.due_at(reader, _JOB)
    return None if due is None else due - INTERVAL


def in_doubt(reader: Reader, now: int, running: float) -> bool:
    """Whether the clock cannot be believed yet: by it nobody has pruned for long.

    A machine that starts with a clock that is years ahead must not make certificates old that are in force, and a
    server that was off for long can wait another day.

    :param running: for how many seconds this process has run; its clock was not set meanwhile.
    """
    due = jobs.due_at(reader, _JOB)
    return due is not None and now - due > LONG and running < DOUBT


def prune_if_due(
    config: Config, database: Database, now: int, is_ending: Callable[[], bool] = lambda: False
) -> Pruned | None:
    """Prune if nobody has done it in the last hour, nor does now; None if somebody has or does.

    :param is_ending: whether to stop after the transaction of now; the rest is left to the next hour.
    """
    if not jobs.is_due(database, _JOB, now, INTERVAL):
        return None
    take: Decision[int | None] = partial(jobs.take, name=_JOB, now=now, interval=INTERVAL)
    mine = perform(database, take)
    if mine is None:
        return None

    def goes_on() -> bool:
        nonlocal mine
        assert mine is not None
        if is_ending():
            return False
        taken, moment = mine, int(time.time())
        if moment + INTERVAL <= mine + 60:
            return True  # it is ours for long enough
        kept = perform(database, lambda _reader: jobs.keep(_JOB, taken, moment, INTERVAL))
        mine = mine if kept is None else kept
        return kept is not None

    removed = prune(config, database, "server", now, goes_on)
    if any(removed.counts.values()):
        _log.info("Pruned the store: %s", removed)
    return removed
