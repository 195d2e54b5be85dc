"""Acts for pages: the fleet and the refusals over time, what ends soon, the chain's latest part, and a search."""

from __future__ import annotations

from dataclasses import dataclass, field

from acme_iid.admin import kinds
from acme_iid.admin.acts import Act, Context
from acme_iid.admin.filters import DURATION, WORD, following
from acme_iid.admin.parameters import Nothing, taken
from acme_iid.admin.roles import Role
from acme_iid.operations import chain_proof, over_time, refusal_counting
from acme_iid.operations.chain_proof import ChainProof
from acme_iid.operations.descriptions import instances
from acme_iid.operations.descriptions.instances import InstanceRow
from acme_iid.operations.descriptions.pages import Page
from acme_iid.operations.over_time import MOST_POINTS, Ending, FleetPoint, RefusalCount
from acme_iid.store import lookups

MOST_FOUND = 100
COUNTING_SECONDS = 2.0
"""How long one request counts refusals that nobody has counted yet; a server does so by itself, in time."""


@dataclass(frozen=True, slots=True)
class Span:
    """What a view over time takes."""

    seconds: int = field(metadata=taken(DURATION, "How far back.", name="back", default="7d"))
    points: int = field(default=MOST_POINTS, metadata=taken(kinds.number(1, MOST_POINTS), "How many times at most."))


@dataclass(frozen=True, slots=True)
class Search:
    """What a search takes."""

    about: str = field(metadata=taken(WORD, "An instance's whole id or the cloud's own, or a name."))
    limit: int = field(default=20, metadata=taken(kinds.number(1, MOST_FOUND), "How many at most."))


def _fleet(context: Context, asked: Span) -> Page[FleetPoint]:
    rows = over_time.fleet(context.database, context.now, asked.seconds, points=asked.points)
    return {"items": rows, "next": None}


def _endings(context: Context, _asked: Nothing) -> Page[Ending]:
    return {"items": over_time.ending(context.database, context.now), "next": None}


def _refusals(context: Context, asked: Span) -> Page[RefusalCount]:
    lookups.follow(context.database)
    refusal_counting.catch_up(context.database, context.now, COUNTING_SECONDS)
    rows = over_time.refusals(context.database, context.now, asked.seconds, points=asked.points)
    return {"items": rows, "next": None}


def _proof(context: Context, _asked: Nothing) -> ChainProof:
    context.database.seal(waits=False)
    return chain_proof.prove(context.home, context.database)


def _search(context: Context, asked: Search) -> Page[InstanceRow]:
    lookups.follow(context.database)
    following(context)(context.database)
    return {"items": instances.meant(context.database, asked.about, asked.limit), "next": None}


ACTS = (
    Act(
        "fleet.over_time", "GET", "/fleet/over-time", Role.VIEWER, "The fleet by cloud and owner over time.", _fleet,
        Page[FleetPoint], Span, "As servers have counted it, once an hour; the earliest is the first.",
    ),
    Act(
        "fleet.endings", "GET", "/fleet/endings", Role.VIEWER, "The certificates that end in the next 48 hours.",
        _endings, Page[Ending], more="By hour; nothing if no server has counted them lately.",
    ),
    Act(
        "refusal.over_time", "GET", "/refusals/over-time", Role.VIEWER, "The refusals by step and rule over time.",
        _refusals, Page[RefusalCount], Span, "The earliest is the first; where there was none, there is no row.",
    ),
    Act(
        "events.proof", "GET", "/events/proof", Role.VIEWER, "Prove the latest part of the chain of events.", _proof,
        ChainProof, more="With the latest checkpoint's signature; a bounded number of events is read.",
    ),
    Act(
        "instance.search", "GET", "/instances/search", Role.VIEWER, "The instances that a word may mean.", _search,
        Page[InstanceRow], Search, "By their ids, and by the names that they have certificates for.",
    ),
)  # fmt: skip
