"""Acts on the record of decisions: listed, followed, and its chain proven a part at a time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TypedDict

from acme_iid.admin import kinds
from acme_iid.admin.acts import Act, Context
from acme_iid.admin.filters import Filters, timeless, wanted, without
from acme_iid.admin.parameters import Nothing, group, taken
from acme_iid.admin.problems import Problem
from acme_iid.admin.roles import Role
from acme_iid.errors import ConflictError
from acme_iid.operations import event_checkpoints
from acme_iid.operations.descriptions import events
from acme_iid.operations.descriptions.events import RecordedEvent
from acme_iid.operations.descriptions.pages import Page
from acme_iid.store import checkpoints, stream
from acme_iid.store import events as record
from acme_iid.store.chain import Link
from acme_iid.store.database import Database
from acme_iid.store.stream import Sealed
from acme_iid.store.writes import Reader

MOST_STREAMED = 1000
MOST_OCTETS = 1024 * 1024
"""The octets of a part of the stream, where one event alone has no more."""
MOST_WALKED = 10_000
_PLACE = re.compile(r"([0-9]{1,18}):([0-9a-f]{64})", re.ASCII)
_NDJSON = "application/x-ndjson"


class ChainEnd(TypedDict):
    """Where the chain of events ends.

    :ivar head: its latest event's place, NUMBER:HASH.
    :ivar unsealed: the number of events that came since, and are not chained yet.
    :ivar removed: the number of the last event that was exported and removed; 0 if none was.
    :ivar checkpoint: the place that was signed last, NUMBER:HASH; null if none was.
    :ivar signed_by: the id of the issuer that has signed it.
    """

    head: str
    unsealed: int
    removed: int
    checkpoint: str | None
    signed_by: str | None


class ChainPart(ChainEnd):
    """A part of the chain of events that was walked.

    :ivar events: the number of events that were walked and proven.
    :ivar until: the place of the last one that was proven, NUMBER:HASH; after takes it.
    :ivar more: whether the chain goes on behind it.
    :ivar fault: what does not follow: an event was removed, edited or inserted; null if nothing was met.
    """

    events: int
    until: str
    more: bool
    fault: str | None


def _link(text: str) -> Link:
    match = _PLACE.fullmatch(text)
    if match is None:
        raise ValueError
    return Link(int(match[1]), match[2])


_KEPT = kinds.parsed("a place in the chain: NUMBER:HASH", timeless(_link), longest=100)


@dataclass(frozen=True, slots=True)
class Listing:
    """What a list of events takes."""

    filters: Filters = field(default_factory=Filters, metadata=group(without()))


@dataclass(frozen=True, slots=True)
class Following:
    """What a part of the stream takes."""

    after: int = field(
        metadata=taken(kinds.number(0, 10**kinds.MOST_DIGITS - 1), "The number of the event to begin behind.")
    )
    limit: int = field(default=100, metadata=taken(kinds.number(1, MOST_STREAMED), "How many events at most."))


@dataclass(frozen=True, slots=True)
class Walk:
    """What a walk along the chain takes."""

    after: Link | None = field(
        default=None,
        metadata=taken(_KEPT, "Begin behind this place, which has to be in the chain: the member until of the part "
        "before, or a place that was kept elsewhere. Without it, begin at the first event that is there."),
    )  # fmt: skip
    limit: int = field(default=MOST_WALKED, metadata=taken(kinds.number(1, MOST_WALKED), "How many events at most."))


def _list(context: Context, asked: Listing) -> Page[RecordedEvent]:
    return events.listed(context.database, wanted(context, asked.filters, numbered=True))


def _stream(context: Context, asked: Following) -> str:
    context.database.seal(waits=False)
    head, gone = record.head(context.database).seq, record.removed(context.database).seq
    if asked.after > head:
        raise ConflictError(f"the chain ends at event {head}; after takes a number up to that")
    if asked.after < gone:
        raise ConflictError(f"events 1 to {gone} were exported and removed; begin after {gone}")
    return stream.lines(_within(_sealed(context.database, asked.after, asked.limit)))


def _sealed(reader: Reader, after: int, most: int) -> Iterator[Sealed]:
    """The events behind a number, read some at a time: of long ones few are taken."""
    while most and (page := stream.after(reader, after, min(most, stream.AT_ONCE))):
        yield from page
        after, most = page[-1].entry.seq, most - len(page)


def _within(sealed: Iterable[Sealed]) -> Iterator[Sealed]:
    """The first events that are not too long together, and one in any case."""
    octets = 0
    for one in sealed:
        own = len(one.line()) + 1
        if octets and octets + own > MOST_OCTETS:
            return
        octets += own
        yield one


def _head(context: Context, _asked: Nothing) -> ChainEnd:
    context.database.seal(waits=False)
    return _end(context.database)


def _end(database: Database) -> ChainEnd:
    signed = checkpoints.latest(database)
    return {
        "head": str(record.head(database)),
        "unsealed": database.unsealed().number,
        "removed": record.removed(database).seq,
        "checkpoint": None if signed is None else str(signed.place),
        "signed_by": None if signed is None else signed.issuer_id,
    }


def _check(context: Context, asked: Walk) -> ChainPart:
    database = context.database
    database.seal(waits=False)
    last = record.removed(database) if asked.after is None else asked.after
    begin = last.seq
    fault = None
    try:
        _require(database, last)
        verify = partial(event_checkpoints.verify, context.home, database)
        for link in islice(record.check(database, last.seq + 1, verify), asked.limit):
            last = link
    except record.BrokenChainError as error:
        fault = str(error)
    end = _end(database)
    more = _link(end["head"]).seq > last.seq
    return {**end, "events": last.seq - begin, "until": str(last), "more": more, "fault": fault}


def _require(reader: Reader, place: Link) -> None:
    """Prove that a place that was kept is in the chain.

    :raises BrokenChainError: if it is not.
    :raises ConflictError: if its event was exported and removed, so that this cannot be said.
    """
    gone = record.removed(reader)
    if place.seq < gone.seq:
        raise ConflictError(f"events 1 to {gone.seq} were exported and removed; begin after {gone}, or without after")
    found = gone if place.seq == gone.seq else _at(reader, place.seq)
    if found is None:
        raise record.BrokenChainError(f"there is no event {place.seq}: it was cut off or removed")
    if found != place:
        raise record.BrokenChainError(
            f"event {place.seq} does not have the hash {place.hash}: the chain was written anew"
        )


def _at(reader: Reader, seq: int) -> Link | None:
    found = stream.after(reader, seq - 1, 1)
    return Link(seq, found[0].hash) if found and found[0].entry.seq == seq else None


ACTS = (
    Act(
        "events.list", "GET", "/events", Role.VIEWER, "What was decided, and why.", _list, Page[RecordedEvent],
        Listing, "The latest is the first.",
    ),
    Act(
        "events.stream", "GET", "/events/stream", Role.VIEWER, "Events in their order, for a program that keeps them.",
        _stream, str, Following,
        "A line of JSON each, with the event's hash and what it is made of, as rfc-notes/iid-01.md says. The next part "
        "begins behind the number of the last line; where there is none, nothing has come yet.",
        media=_NDJSON, problems=(Problem.CONFLICT,),
    ),
    Act(
        "events.head", "GET", "/events/head", Role.VIEWER, "Where the chain of events ends.", _head, ChainEnd,
    ),
    Act(
        "events.check", "GET", "/events/check", Role.VIEWER, "Prove a part of the chain of events.", _check, ChainPart,
        Walk, "All of it is proven by asking again after each part until there is no more.",
        problems=(Problem.CONFLICT,),
    ),
)  # fmt: skip
