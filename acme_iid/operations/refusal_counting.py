"""Adding up refusals by hour, step and rule, behind the events: a page over months reads no event."""

from __future__ import annotations

import time
from functools import partial

from acme_iid.operations.descriptions.refusals import cause
from acme_iid.store import refusal_counts, refusals
from acme_iid.store.chain import Event
from acme_iid.store.database import Database
from acme_iid.store.refusal_counts import Cause
from acme_iid.store.writes import Reader, Write, perform

BATCH = 500
"""Events that are looked at in one write."""


def catch_up(database: Database, now: int, seconds: float | None = None, most: int = BATCH) -> bool:
    """Count the refusals up to the latest event that is chained.

    :param now: seconds.
    :param seconds: the time after which it stops; None to go on to the end.
    :param most: the largest number of events that are looked at in one write.
    :returns: whether all are counted.
    :raises StoreUnavailableError: if the store cannot be used now.
    """
    end = None if seconds is None else time.monotonic() + seconds
    while perform(database, partial(_batch, now=now, most=most), attempts=20):
        if end is not None and time.monotonic() >= end:
            return False
    return True


def _batch(reader: Reader, now: int, most: int) -> Write[bool] | bool:
    """Count some refusals; whether there may be more."""
    batch = refusal_counts.next_batch(reader, refusals.KINDS, now, most)
    if batch is None:
        return False
    return Write(refusal_counts.count(reader, batch, map(_cause, batch.events), now), lambda _rows: True)


def _cause(event: Event) -> Cause:
    step = event.detail.get("step")
    return Cause(event.kind.removesuffix(".refused") if step is None else str(step), cause(event).rule)
