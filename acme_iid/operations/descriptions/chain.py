"""The chain of events, walked and proven, as operators are shown it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypedDict

from acme_iid.errors import RequestError
from acme_iid.operations import event_checkpoints
from acme_iid.store import checkpoints, events
from acme_iid.store.chain import Link
from acme_iid.store.database import Database
from acme_iid.store.events import Verify

Watch = Callable[[Iterator[Link], int], Iterator[Link]]
"""Gives the same links, of which there are about so many."""


class Kept(NamedTuple):
    """A place in the chain that somebody has kept elsewhere.

    :ivar seq: the event's number; None if it was not kept.
    :ivar hash: the event's hash.
    """

    seq: int | None
    hash: str


class ChainCheck(TypedDict):
    """A walk along the chain that has met nothing wrong.

    :ivar events: the number of events that were walked.
    :ivar head: the chain's end, ``NUMBER:HASH``.
    :ivar unsealed: the number of events that came since, and are not chained yet.
    :ivar removed: the number of the last event that was exported and removed; 0 if none was.
    :ivar checkpoint: the place that was signed last, ``NUMBER:HASH``; None if none was.
    """

    events: int
    head: str
    unsealed: int
    removed: int
    checkpoint: str | None


def check(
    home: Path,
    database: Database,
    first: int | None = None,
    kept: Kept | None = None,
    watch: Watch = lambda links, _count: links,
) -> ChainCheck:
    """Walk the chain, and look for a place in it that was kept.

    :param first: the number of the event to begin at; None for the first that is there.
    :raises BrokenChainError: at the first event that does not follow.
    :raises RequestError: if the place is not in the chain.
    """
    latest, gone = events.head(database), events.removed(database)
    begin = gone.seq + 1 if first is None else first
    verify = partial(event_checkpoints.verify, home, database)
    last, met = None, kept is None or _is_checkpoint(database, kept, verify)
    for link in watch(events.check(database, first or 1, verify), latest.seq - begin + 1):
        last = link
        met = met or (kept is not None and kept.hash == link.hash and kept.seq in (None, link.seq))
    if kept is not None and not met:
        raise RequestError(_unmet(database, kept, begin, latest))
    signed = checkpoints.latest(database)
    return {
        "events": 0 if last is None else last.seq - begin + 1,
        "head": str(last or latest),
        # All were sealed before, but servers go on.
        "unsealed": database.unsealed().number,
        "removed": gone.seq,
        "checkpoint": None if signed is None else str(signed.place),
    }


def _is_checkpoint(database: Database, kept: Kept, verify: Verify) -> bool:
    """Whether a place that was kept is one that was signed."""
    if kept.seq is None:
        return False
    checkpoint = checkpoints.at(database, kept.seq)
    if checkpoint is None or checkpoint.place != Link(kept.seq, kept.hash):
        return False
    verify(checkpoint)
    return True


def _unmet(database: Database, kept: Kept, first: int, latest: Link) -> str:
    number, hash_ = kept
    gone = events.removed(database)
    if number is not None and number <= gone.seq:
        checkpoint = checkpoints.at(database, number)
        file = "an export" if checkpoint is None else event_checkpoints.file_of(checkpoint)
        if checkpoint is not None and checkpoint.place.seq == number:
            return f"event {number} does not have the hash {hash_}: the place that was signed there is another"
        return f"event {number} is no longer here: compare it with its line in the export {file}"
    if number is not None and number < first:
        return f"event {number} is before the first that was checked; begin at it or earlier (--from)"
    if number is not None and number > latest.seq:
        return f"events {latest.seq + 1} to {number} were cut off: the chain ends at event {latest.seq}"
    what = f"event {number} does not have" if number is not None else f"no event from {first} on has"
    return f"{what} the hash {hash_}: the chain was cut off before it, or written anew"
