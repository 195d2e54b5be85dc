"""What lists and acts on many are asked for by, as the commands' options are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import TypeVar

from acme_iid.admin import kinds, problems
from acme_iid.admin.acts import Context
from acme_iid.admin.kinds import Kind
from acme_iid.admin.parameters import taken
from acme_iid.admin.problems import RETRY_AFTER, Problem, ProblemError
from acme_iid.config import parsers
from acme_iid.operations import criteria
from acme_iid.operations.criteria import FollowAgain
from acme_iid.policy.clouds import CLOUD_TYPES, one_of
from acme_iid.store import lookups
from acme_iid.store.database import Database
from acme_iid.store.listing import Filter, Position

T = TypeVar("T")

MOST_ROWS = 1000
MOST_FOLLOWING_SECONDS = 5.0
"""Seconds that a request reads events of before an upgrade again; a server does so by itself, in time."""
_OWNERS = one_of([entry.owner for entry in CLOUD_TYPES.values()])
_TIME = "a day, a time in RFC 3339, or an age such as 2h"


def timeless(read: Callable[[str], T]) -> Callable[[str, int], T]:
    """The same reader, which does not ask for the time."""
    return lambda text, _now: read(text)


WORD = kinds.text("one line of printable text")
MOMENT = kinds.parsed(_TIME, criteria.moment)
AHEAD = kinds.parsed("a day, a time in RFC 3339, or a time from now such as 4h", criteria.moment_ahead)
DURATION: Kind[int] = kinds.parsed("a duration such as 1h, 90m or 7d", timeless(parsers.duration), longest=32)
NAME = kinds.parsed("a name as it stands in certificates", timeless(criteria.name))
_OWNER = kinds.parsed(_OWNERS, timeless(criteria.owner))
_ADDRESS = kinds.parsed("an IP address", timeless(criteria.address), longest=64)
_PLACE = kinds.parsed("the member next of the page before", timeless(criteria.place))


@dataclass(frozen=True, slots=True)
class Filters:
    """All of them; each list takes some."""

    cloud: str | None = field(
        default=None,
        metadata=taken(kinds.choice((*(entry.cloud for entry in CLOUD_TYPES.values()), "acme")), "Only this cloud's."),
    )
    owner: str | None = field(default=None, metadata=taken(_OWNER, f"Only of this {_OWNERS}."))
    account: str | None = field(
        default=None, metadata=taken(WORD, "Only of this ACME account: its id or its key's thumbprint.")
    )
    instance: str | None = field(
        default=None, metadata=taken(WORD, "Only what concerns this instance: its whole id, or the cloud's own.")
    )
    name: str | None = field(default=None, metadata=taken(NAME, "Only with this name in a certificate or order."))
    kind: str | None = field(default=None, metadata=taken(WORD, "Only events of this kind, such as challenge.refused."))
    remote: str | None = field(default=None, metadata=taken(_ADDRESS, "Only requests from this address."))
    bulk: str | None = field(default=None, metadata=taken(WORD, "Only what this act on many has done."))
    image: str | None = field(
        default=None, metadata=taken(WORD, "Only of instances that were started from this image.")
    )
    region: str | None = field(default=None, metadata=taken(WORD, "Only of instances in this region."))
    profile: str | None = field(default=None, metadata=taken(WORD, "Only for this certificate profile."))
    provisioner: str | None = field(default=None, metadata=taken(WORD, "Only under this provisioner."))
    since: int | None = field(default=None, metadata=taken(MOMENT, "Not before that time."))
    until: int | None = field(default=None, metadata=taken(MOMENT, "Before that time."))
    limit: int = field(default=100, metadata=taken(kinds.number(1, MOST_ROWS), "How many at most."))
    before: Position | None = field(default=None, metadata=taken(_PLACE, "The next page: where the one before ended."))


PAGE = ("since", "until", "limit", "before")
"""Those of every list."""
ABOUT = tuple(entry.name for entry in fields(Filters) if entry.name not in PAGE)
"""Those that say what is looked for."""


def without(*names: str) -> tuple[str, ...]:
    """All of them but some."""
    return tuple(name for name in (*ABOUT, *PAGE) if name not in names)


def wanted(context: Context, filters: Filters, *, numbered: bool = False) -> Filter:
    """The filter that is asked for, over events that are all followed.

    :param numbered: whether the places in the list are numbers.
    :raises ProblemError: if its place is none of the list's; or while events of before an upgrade are read again.
    :raises RequestError: if there is no such account, or no one such instance.
    :raises StoreUnavailableError: if the store cannot be used now.
    """
    asked = {entry.name: getattr(filters, entry.name) for entry in fields(Filters)}
    found = criteria.filter_of(context.database, asked, following(context))
    if not numbered:
        return found
    try:
        return criteria.numbered(found)
    except ValueError as error:
        raise problems.of_parameter("before", f"before: {error}", _PLACE.expected) from None


def following(context: Context) -> FollowAgain:
    """How events of before an upgrade are read again for somebody."""
    return context.follow_again or follow_again


def follow_again(database: Database) -> None:
    """Have all events of before an upgrade be found by what this version writes of them.

    :raises ProblemError: if there are too many for a request.
    """
    if not lookups.follow_again(database, seconds=MOST_FOLLOWING_SECONDS):
        detail = "after the upgrade, older events are being read again for this; ask again in a while"
        raise ProblemError(Problem.UNAVAILABLE, detail, headers={"Retry-After": RETRY_AFTER})
