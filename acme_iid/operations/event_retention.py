"""Old events go: first into a file, then their place in the chain is signed, then from the store.

Decision 38 says why in this order. A segment is what one file has. Nothing goes that a sink still has to get, that is
not followed yet, or that does not follow from what went before; the latest event always stays, since the next one
follows it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import socket
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding

from acme_iid.authority import Authority
from acme_iid.config.settings import Config
from acme_iid.durable import replace_file, sync_names
from acme_iid.errors import SignerError
from acme_iid.issuance import checkpoints as signatures
from acme_iid.issuance.issuer import Issuer
from acme_iid.operations.background import Background
from acme_iid.operations.pruning import ahead, clock_was_set, in_doubt
from acme_iid.store import checkpoints, events, jobs, lookups, sinks, stream
from acme_iid.store.chain import Event, Link
from acme_iid.store.checkpoints import Checkpoint
from acme_iid.store.events import BrokenChainError
from acme_iid.store.stream import Sealed
from acme_iid.store.writes import Committing, Decision, Reader, Write, perform

SEGMENT = 10_000
"""The largest number of events in one file."""
BATCH = 100
"""Events that go in one transaction."""
INTERVAL = 3600
"""Seconds from one turn of the job to the next."""
DAY = 86400
"""Seconds that events wait for a segment to be full."""
FORGOTTEN_SINK = 7 * DAY
"""Seconds: a sink that no server has had in its ca.toml for so long keeps nothing."""

_JOB = "remove events"
_POLL_SECONDS = 60.0

_log = logging.getLogger(__name__)


class _Hold(NamedTuple):
    """A sink that has taken events up to ``last``; those of before ``dropped`` may go all the same."""

    name: str
    last: int
    dropped: int | None

    def keeps(self, sealed: Sealed) -> bool:
        """Whether an event stays for this sink."""
        return sealed.entry.seq > self.last and (self.dropped is None or sealed.entry.at >= self.dropped)


@dataclass(frozen=True, slots=True)
class Segment:
    """Events in a file that may go.

    :ivar before: the place that the first of them follows.
    :ivar last: that of the last one.
    """

    before: Link
    last: Link
    file: Path
    sha256: str


def remove_old(
    config: Config, database: Committing, issuer: Issuer, now: int, goes_on: Callable[[], bool] = lambda: True
) -> int:
    """Remove the events that are older than ca.toml says; how many went.

    :param goes_on: asked after each transaction.
    :raises BrokenChainError: if they do not follow from those before: then nothing goes.
    :raises SignerError: if the issuer's key gives no signature now.
    :raises OSError: if their file cannot be written.
    :raises StoreUnavailableError: if the store cannot be used now.
    """
    if config.retention.events is None or config.retention.events_export is None:
        return 0
    keep, folder = config.retention.events, config.retention.events_export
    count = _finish(database, goes_on)
    while goes_on() and _is_finished(database):
        holds = _holds(config, database, now)
        segment = _export(database, folder, now - keep, holds)
        if segment is None:
            break
        _sign(database, issuer, segment, holds, now)
        count += _finish(database, goes_on)
    return count


def _is_finished(reader: Reader) -> bool:
    """Whether all events before the latest checkpoint have gone: no two segments overlap."""
    checkpoint = checkpoints.latest(reader)
    return checkpoint is None or events.removed(reader) == checkpoint.place


def _holds(config: Config, reader: Reader, now: int) -> list[_Hold]:
    """The sinks that events stay for: those of this ca.toml, and those of others that share the store."""
    taken = {cursor.name: cursor for cursor in sinks.cursors(reader)}
    own = {sink.name: sink for sink in config.sinks}
    holds = [
        _Hold(name, cursor.last, None)
        for name, cursor in taken.items()
        if name not in own and cursor.used_at > now - FORGOTTEN_SINK
    ]
    for name, sink in own.items():
        dropped = None if sink.drop_after is None else now - sink.drop_after
        holds.append(_Hold(name, taken[name].last if name in taken else 0, dropped))
    return holds


def _export(reader: Reader, folder: Path, before: int, holds: list[_Hold]) -> Segment | None:
    """Write the next events that may go into a file; None if there are too few yet.

    :param before: a time: what is older may go.
    """
    start = events.removed(reader)
    if not _is_due(reader, start, before):
        return None
    last, digest = start, hashlib.sha256()
    # A new file with a name of its own: several machines may share the folder.
    descriptor, name = tempfile.mkstemp(".new", ".events-", folder)
    partial_file = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as out:
            for sealed in _that_may_go(reader, start, before, holds):
                last = _write(out, digest.update, last, sealed)
            out.flush()
            os.fsync(out.fileno())
        if last == start:
            return None
        file = folder / f"events-{start.seq + 1:012d}-{last.seq:012d}.ndjson"
        partial_file.replace(file)
        sync_names(folder)
    finally:
        partial_file.unlink(missing_ok=True)
    return Segment(start, last, file, digest.hexdigest())


def _is_due(reader: Reader, start: Link, before: int) -> bool:
    """Whether the first event has waited for a day, or there are enough for a whole segment."""
    first = stream.after(reader, start.seq, 1)
    if first and first[0].entry.at < before - DAY:
        return True
    end = stream.after(reader, start.seq + SEGMENT - 1, 1)
    return bool(end) and end[0].entry.at < before


def _that_may_go(reader: Reader, start: Link, before: int, holds: list[_Hold]) -> Iterator[Sealed]:
    """The next events that may go, up to a segment."""
    end = min(start.seq + SEGMENT, events.head(reader).seq - 1, lookups.followed(reader))
    seq = start.seq
    while page := stream.after(reader, seq):
        for sealed in page:
            if sealed.entry.seq > end or sealed.entry.at >= before:
                return
            kept_for = [hold.name for hold in holds if hold.keeps(sealed)]
            if kept_for:
                _log.warning(
                    "Events from %d on are old enough to go, and stay: the sink %s has not taken them.",
                    sealed.entry.seq, kept_for[0],
                )  # fmt: skip
                return
            yield sealed
        seq = page[-1].entry.seq


def _write(out: IO[bytes], note: Callable[[bytes], None], last: Link, sealed: Sealed) -> Link:
    """Write an event that follows from the one before it; its place."""
    seq = sealed.entry.seq
    if seq != last.seq + 1 or sealed.entry.hash_after(last.hash) != sealed.hash:
        raise BrokenChainError(f"event {seq} does not follow event {last.seq}; 'acme-iid-ca events --check' says more")
    line = f"{sealed.line()}\n".encode("ascii")
    out.write(line)
    note(line)
    return Link(seq, sealed.hash)


def _sign(database: Committing, issuer: Issuer, segment: Segment, holds: list[_Hold], now: int) -> None:
    """Sign the place at the end of a segment, and record that its events go."""
    facts: dict[str, object] = {
        "first": segment.before.seq + 1,
        "seq": segment.last.seq,
        "before": segment.before.hash,
        "hash": segment.last.hash,
        "made_at": now,
        "issuer": issuer.id,
        "file": segment.file.name,
        "sha256": segment.sha256,
    }
    statement = signatures.statement(facts)
    signature = signatures.signed(issuer.signer, statement)
    beside = {
        "statement": statement,
        "signature": base64.b64encode(signature).decode(),
        "certificate": issuer.certificate.public_bytes(Encoding.PEM).decode(),
    }
    replace_file(segment.file.with_suffix(".checkpoint.json"), json.dumps(beside, indent=1).encode(), 0o600)
    missed = {hold.name: hold.last for hold in holds if hold.last < segment.last.seq}
    for name, last in missed.items():
        _log.error(
            "The sink %s never gets events %d to %d: they are older than its drop_after.",
            name,
            last + 1,
            segment.last.seq,
        )
    checkpoint = Checkpoint(segment.last, issuer.id, statement, signature)
    known = frozenset(hold.name for hold in holds)
    perform(database, partial(_record, checkpoint=checkpoint, facts=facts, missed=missed, known=known, now=now))


def _record(
    reader: Reader,
    checkpoint: Checkpoint,
    facts: Mapping[str, object],
    missed: Mapping[str, int],
    known: Collection[str],
    now: int,
) -> Write[None] | None:
    latest = checkpoints.latest(reader)
    if latest is not None and latest.place.seq >= checkpoint.place.seq:
        return None  # another process was there before
    guard = sinks.no_other(known, checkpoint.place.seq, now - FORGOTTEN_SINK)
    if not reader.rows(guard.text, **guard.values):
        return None  # a server has begun to send to one meanwhile
    detail: dict[str, object] = {
        **{name: fact for name, fact in facts.items() if name != "made_at"},
        "host": socket.gethostname(),
        "missed_by": dict(missed) or None,
    }
    statements = [guard, checkpoints.add(checkpoint), *(sinks.skip(name, checkpoint.place.seq) for name in missed)]
    return Write(statements, lambda _rows: None, [Event("events.removed", now, detail=detail)])


def _finish(database: Committing, goes_on: Callable[[], bool]) -> int:
    """Remove the events up to the latest checkpoint; how many went."""
    checkpoint = checkpoints.latest(database)
    count = 0
    while checkpoint is not None and goes_on():
        begun = time.monotonic()
        gone = perform(database, partial(_remove, until=checkpoint.place.seq), attempts=10)
        if not gone:
            break
        count += gone
        # As long again, so that whoever waits for the lock gets it.
        time.sleep(time.monotonic() - begun)
    return count


def _remove(reader: Reader, until: int) -> int | Write[int]:
    before = events.removed(reader)
    place, statements = checkpoints.remove(reader, before, until, BATCH)
    return Write(statements, lambda _rows: place.seq - before.seq) if statements else 0


class Removing(Background):
    """The thread of one process that has old events removed: each hour one of all processes does so."""

    def __init__(self, authority: Authority) -> None:
        super().__init__(
            _POLL_SECONDS,
            first=5.0,
            spread=0.1,
            fault="removing old events failed",
            unavailable="Old events are not removed now",
        )
        self._authority = authority
        self._ahead = ahead()
        self._began = time.monotonic()

    def turn(self) -> None:
        """Remove old events if it is this process's turn, and the clock can be believed."""
        authority, now = self._authority, int(time.time())
        if authority.config.retention.events is None or not jobs.is_due(authority.database, _JOB, now, INTERVAL):
            return
        if clock_was_set(self._ahead) or in_doubt(authority.database, now, time.monotonic() - self._began):
            return  # pruning says so in the log
        take: Decision[int | None] = partial(jobs.take, name=_JOB, now=now, interval=INTERVAL)
        if perform(authority.database, take) is None:
            return
        try:
            count = remove_old(
                authority.config, authority.database, authority.ca.current, now, lambda: not self.is_ending()
            )
        except (BrokenChainError, SignerError, OSError) as error:
            _log.error("Old events stay: %s", error)
            return
        if count:
            _log.info("Removed %d old events; they are in files in %s", count, authority.config.retention.events_export)
