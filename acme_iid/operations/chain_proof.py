"""What a page can prove of the chain of events at each look: a bounded number of events up to the head."""

from __future__ import annotations

from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypedDict

from acme_iid.operations import event_checkpoints
from acme_iid.operations.descriptions.times import timestamp
from acme_iid.store import checkpoints, events, stream
from acme_iid.store.chain import Link
from acme_iid.store.database import Database
from acme_iid.store.events import BrokenChainError

MOST = 2000
"""Events whose hashes are made again at one look."""


class ChainProof(TypedDict):
    """What was checked of the chain just now: the latest events, and the signature of the latest checkpoint.

    The event before the first one that was checked is believed, unless ``whole``. Whatever was done to the record
    before a head shows only to who kept that head elsewhere: ``acme-iid-ca events --check --expect``.

    :ivar head: the last event that was checked, NUMBER:HASH.
    :ivar events: the number of events that were checked, each by its hash over itself and the one before.
    :ivar first: the number of the first of them; None if there is no event.
    :ivar since: when that was decided, RFC 3339.
    :ivar whole: whether they are all events that are there, or follow from a place that was signed.
    :ivar unsealed: the number of events that are stored and not chained yet.
    :ivar removed: the number of the last event that is in an export and no longer here; 0 if none is.
    :ivar checkpoint: the latest place that an issuer has signed, NUMBER:HASH; None if there is none.
    :ivar fault: what is wrong, a sentence; None if nothing is. With it, ``head`` and ``events`` are of what was right.
    """

    head: str
    events: int
    first: int | None
    since: str | None
    whole: bool
    unsealed: int
    removed: int
    checkpoint: str | None
    fault: str | None


def prove(folder: Path, database: Database, most: int = MOST) -> ChainProof:
    """Check the latest events, and the latest checkpoint.

    :param folder: the CA's home, whose roots are believed.
    :param most: the largest number of events that are read.
    :raises CAFileError: if a file of the home cannot be used.
    :raises StoreUnavailableError: if the store cannot be used now.
    """
    head, gone, signed = events.head(database), events.removed(database), checkpoints.latest(database)
    first = max(gone.seq + 1, head.seq - most + 1)
    from_beginning = first == gone.seq + 1
    begin = stream.after(database, first - 1, 1)
    last, count, fault = Link(first - 1, ""), 0, None
    walk = events.check(database, 1 if from_beginning else first, partial(event_checkpoints.verify, folder, database))
    try:
        for link in islice(walk, most):
            last, count = link, count + 1
    except BrokenChainError as error:
        fault = str(error)
    return ChainProof(
        head=str(last if count else head),
        events=count,
        first=first if begin else None,
        since=timestamp(begin[0].entry.at) if begin else None,
        whole=fault is None and (from_beginning or (signed is not None and first <= signed.place.seq <= last.seq)),
        unsealed=database.unsealed().number,
        removed=gone.seq,
        checkpoint=None if signed is None else str(signed.place),
        fault=fault,
    )
