"""Acts that show how things are: the CA and its fleet, its issuers, who may hold what, refusals, servers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from acme_iid.admin import kinds, problems
from acme_iid.admin.acts import Act, Context
from acme_iid.admin.filters import WORD, Filters, following, wanted, without
from acme_iid.admin.parameters import Nothing, group, taken
from acme_iid.admin.roles import Role
from acme_iid.operations import criteria
from acme_iid.operations import status as state
from acme_iid.operations.descriptions import issuers, policy, refusals, servers, status
from acme_iid.operations.descriptions.issuers import CARow, IssuerStatusRow
from acme_iid.operations.descriptions.pages import Page
from acme_iid.operations.descriptions.policy import PolicyRow
from acme_iid.operations.descriptions.refusals import RefusalRow, Refusals
from acme_iid.operations.descriptions.servers import ServerRow, SinkRow
from acme_iid.operations.descriptions.status import StatusDescription
from acme_iid.store import lookups

MOST_REFUSALS = 1000


@dataclass(frozen=True, slots=True)
class Refused:
    """What a list of refusals takes."""

    filters: Filters = field(default_factory=Filters, metadata=group(without("kind", "bulk")))


@dataclass(frozen=True, slots=True)
class Why:
    """What the question for the reason of refusals takes."""

    about: str = field(
        metadata=taken(WORD, "An instance, by its whole id or the cloud's own; a name; or a client's address.")
    )
    limit: int = field(default=3, metadata=taken(kinds.number(1, MOST_REFUSALS), "How many refusals at most."))


def _status(context: Context, _asked: Nothing) -> StatusDescription:
    database, now = context.database, context.now
    lookups.follow(database)
    following(context)(database)
    found = state.collect(context.home, database, context.config.sink_names, now, without_keys=True)
    described = status.describe(found, now)
    _without_places(described["ca"])
    return described


def _issuers(context: Context, _asked: Nothing) -> Page[IssuerStatusRow]:
    rows = issuers.statuses(context.home, context.database, context.now, without_keys=True)
    _without_places(rows)
    return {"items": rows, "next": None}


def _without_places(rows: Iterable[CARow | IssuerStatusRow]) -> None:
    """Leave of the places of keys only what kind of place it is: a file, a token, a program."""
    for row in rows:
        if row["key"] is not None:
            row["key"] = row["key"].partition(":")[0]


def _policy(context: Context, _asked: Nothing) -> Page[PolicyRow]:
    return {"items": list(policy.rows(context.config)), "next": None}


def _refusals(context: Context, asked: Refused) -> Page[RefusalRow]:
    return refusals.listed(context.database, wanted(context, asked.filters, numbered=True))


def _why(context: Context, asked: Why) -> Refusals:
    lookups.follow(context.database)
    following(context)(context.database)
    try:
        meant = criteria.meant_by(context.database, asked.about)
    except ValueError as error:
        raise problems.of_parameter("about", f"about: {error}", "an instance, a name or an address") from None
    return refusals.latest(context.database, meant, asked.limit)


def _servers(context: Context, _asked: Nothing) -> Page[ServerRow]:
    return {"items": servers.running(context.database, context.now), "next": None}


def _sinks(context: Context, _asked: Nothing) -> Page[SinkRow]:
    return {"items": servers.receiving(context.database), "next": None}


ACTS = (
    Act(
        "status.show", "GET", "/status", Role.VIEWER, "The CA and its fleet: what is red, and the facts.", _status,
        StatusDescription,
        more="Of key places it says the kind only: file, pkcs11, exec or elsewhere. No key is asked for a signature.",
    ),
    Act(
        "issuer.status", "GET", "/issuers", Role.VIEWER, "Every certificate of the CA's up to the roots.", _issuers,
        Page[IssuerStatusRow],
        more="With the OCSP responders and the revocation lists. Of key places it says the kind only: file, pkcs11, "
        "exec or elsewhere. No key is asked for a signature, so that answers is null.",
    ),
    Act(
        "policy.show", "GET", "/policy", Role.VIEWER, "Each owner, and the names that its instances may hold.",
        _policy, Page[PolicyRow], more="As the server has taken up ca.toml.",
    ),
    Act(
        "refusal.list", "GET", "/refusals", Role.VIEWER, "What was refused, by which rule, and what lifts that.",
        _refusals, Page[RefusalRow], Refused, "The latest is the first.",
    ),
    Act(
        "refusal.why", "GET", "/why", Role.VIEWER, "Why something was refused last, and what lets it in.", _why,
        Refusals, Why,
    ),
    Act(
        "server.list", "GET", "/servers", Role.VIEWER, "The processes of servers that run.", _servers,
        Page[ServerRow], more="A process that was killed is listed for half a minute more.",
    ),
    Act(
        "sink.list", "GET", "/sinks", Role.VIEWER, "The sinks that events are sent to, and how far each is.", _sinks,
        Page[SinkRow],
    ),
)  # fmt: skip
