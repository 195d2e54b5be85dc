"""What a page shows over time: the fleet, what ends soon, and refusals. Each read is of a bounded number of rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TypedDict

from acme_iid.operations.descriptions.times import timestamp
from acme_iid.operations.fleet_sampling import SHOWN_HOURS, SPARE_HOURS
from acme_iid.store import fleet_samples, refusal_counts
from acme_iid.store.fleet import OTHERS, Owned
from acme_iid.store.fleet_samples import DAY, KEPT_SECONDS, Sample
from acme_iid.store.refusal_counts import HOUR
from acme_iid.store.writes import Reader

WEEK = 7 * DAY
MOST_POINTS = 168
"""The largest number of times in one answer: the hours of a week."""
MOST_SERIES = 12
"""The largest number of owners, or of causes, that are apart in one answer; all others are one more."""
_MOST_SAMPLES = KEPT_SECONDS // HOUR + 100
"""More than are there: one an hour."""


class FleetPoint(TypedDict):
    """An owner's part of the fleet at one time.

    :ivar at: when it was counted, RFC 3339.
    :ivar cloud: None for hosts; "others", without an owner, for all owners beside the largest.
    :ivar owner: the account, project or subscription; None for hosts and for others.
    :ivar instances: the number of instances with a certificate in force.
    :ivar certificates: the number of certificates in force.
    """

    at: str
    cloud: str | None
    owner: str | None
    instances: int
    certificates: int


Ending = TypedDict("Ending", {"from": str, "until": str, "certificates": int, "replaced": int, "at": str})
Ending.__doc__ = """The certificates that end within one hour.

:ivar from: the hour's beginning, RFC 3339.
:ivar until: its end.
:ivar certificates: the number of certificates that end in it and were in force when they were counted.
:ivar replaced: of these, those that had a later one of the same names, for the same instance or account.
:ivar at: when they were counted.
"""


class RefusalCount(TypedDict):
    """Refusals of one cause.

    :ivar at: the beginning of the time in which they were, RFC 3339.
    :ivar step: the step at which an answer was refused, or what was refused: order, finalize, authorization, enrolment;
        "others" for all causes beside the most frequent ones.
    :ivar rule: the rule in few words, as ``acme-iid-ca status`` has it; "others" as above.
    :ivar refusals: the number, also of those that were the same again and got no event.
    """

    at: str
    step: str
    rule: str
    refusals: int


def fleet(
    reader: Reader, now: int, seconds: int = WEEK, *, points: int = MOST_POINTS, owners: int = MOST_SERIES
) -> list[FleetPoint]:
    """The fleet by owner over the last days, the earliest first and then the largest owner first.

    A sample that lacks an owner which others have is 0 for it.

    :param now: seconds.
    :param seconds: how far back; at most as far as samples are kept.
    :param points: the largest number of samples, up to :data:`MOST_POINTS`; the latest is one of them.
    :param owners: the largest number of owners apart, up to :data:`MOST_SERIES`.
    :raises StoreUnavailableError: if the store cannot be used now.
    """
    moments = fleet_samples.times(reader, now - min(seconds, KEPT_SECONDS), now + 1, _MOST_SAMPLES)
    samples = fleet_samples.taken_at(reader, _some(moments, min(points, MOST_POINTS)))
    totals: Counter[tuple[str | None, str | None]] = Counter()
    for sample in samples:
        for entry in sample.owners:
            if entry.cloud != OTHERS:
                totals[entry.cloud, entry.owner] += entry.certificates
    apart = [owner for owner, _ in totals.most_common(min(owners, MOST_SERIES))]
    has_others = len(totals) > len(apart) or any(entry.cloud == OTHERS for one in samples for entry in one.owners)
    return [point for sample in samples for point in _points(sample, apart, has_others=has_others)]


def _some(moments: Sequence[int], most: int) -> list[int]:
    """Up to ``most`` of them, evenly, with the last one."""
    step = max(1, -(-len(moments) // most))
    return list(moments[::-step][::-1])


def _points(
    sample: Sample, apart: Sequence[tuple[str | None, str | None]], *, has_others: bool
) -> Iterator[FleetPoint]:
    found = {(entry.cloud, entry.owner): entry for entry in sample.owners}
    for cloud, owner in apart:
        yield _point(sample.at, found.pop((cloud, owner), Owned(cloud, owner, 0, 0)))
    if has_others:
        left = found.values()
        instances, certificates = sum(entry.instances for entry in left), sum(entry.certificates for entry in left)
        yield _point(sample.at, Owned(OTHERS, None, instances, certificates))


def _point(at: int, owned: Owned) -> FleetPoint:
    return FleetPoint(
        at=timestamp(at),
        cloud=owned.cloud,
        owner=owned.owner,
        instances=owned.instances,
        certificates=owned.certificates,
    )


def ending(reader: Reader, now: int) -> list[Ending]:
    """The certificates that end in the next 48 hours, by hour; nothing if no server has counted them lately.

    They are counted once an hour; what was issued or revoked since is not seen.

    :param now: seconds.
    :raises StoreUnavailableError: if the store cannot be used now.
    """
    sample = fleet_samples.latest(reader, now)
    begin = now // HOUR
    if sample is None or begin - sample.at // HOUR > SPARE_HOURS:
        return []
    found = {entry.hour: entry for entry in sample.hours}
    rows: list[Ending] = []
    for hour in range(begin * HOUR, (begin + SHOWN_HOURS) * HOUR, HOUR):
        entry = found.get(hour)
        rows.append(
            {
                "from": timestamp(hour),
                "until": timestamp(hour + HOUR),
                "certificates": 0 if entry is None else entry.certificates,
                "replaced": 0 if entry is None else entry.replaced,
                "at": timestamp(sample.at),
            }
        )
    return rows


def refusals(
    reader: Reader, now: int, seconds: int = WEEK, *, points: int = MOST_POINTS, causes: int = MOST_SERIES
) -> list[RefusalCount]:
    """Refusals by step and rule over the last days, the earliest first; where there was none, there is no row.

    They are counted as far as events are followed, some seconds behind.

    :param now: seconds.
    :param seconds: how far back; at most as far as they are kept.
    :param points: the largest number of times, up to :data:`MOST_POINTS`; each has the same number of whole hours.
    :param causes: the largest number of causes apart, up to :data:`MOST_SERIES`.
    :raises StoreUnavailableError: if the store cannot be used now.
    """
    hours = -(-min(seconds, KEPT_SECONDS) // HOUR)
    width = -(-hours // min(points, MOST_POINTS)) * HOUR
    places = -(-hours * HOUR // width)
    since = (now // HOUR + 1) * HOUR - places * width
    counted = refusal_counts.by_time(reader, since, width, places, min(causes, MOST_SERIES))
    return [
        RefusalCount(at=timestamp(entry.at), step=entry.cause.step, rule=entry.cause.rule, refusals=entry.refusals)
        for entry in counted
    ]
