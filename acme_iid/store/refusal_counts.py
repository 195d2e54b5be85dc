"""Numbers of refusals by hour, step and rule, which whoever follows the events adds up.

The rule is not in an event: it is read out of the event's words (acme_iid/operations/refusal_counting.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from acme_iid.store.chain import Event
from acme_iid.store.fleet_samples import kept_since
from acme_iid.store.writes import Reader, Row, Statement, again

HOUR = 3600
MOST = 50
"""Different steps and rules that are counted apart in one hour; all further ones are counted together."""
OTHERS = "others"
"""The step and the rule of what is counted together."""
_MOST_CHARACTERS = 200
_AT_ONCE = 100


class Cause(NamedTuple):
    """Why something was refused: the step at which it was, and the rule in few words."""

    step: str
    rule: str


class Counted(NamedTuple):
    """Refusals of one cause.

    :ivar at: the beginning of the time in which they were, seconds.
    """

    at: int
    cause: Cause
    refusals: int


class Batch(NamedTuple):
    """Refusals that were chained one after the other.

    :ivar after: the number of the event that they come after.
    :ivar until: the number of the last event that was looked at for them.
    """

    after: int
    until: int
    events: Sequence[Event]


def next_batch(reader: Reader, kinds: Collection[str], now: int, most: int) -> Batch | None:
    """The next refusals that are not counted yet; None if all events are.

    :param kinds: the kinds of events that are refusals.
    :param now: seconds; in a store that was never counted, it begins with what is kept at this time.
    :param most: the largest number of events that are looked at.
    """
    after = _counted(reader, now)
    # Numbers of events that were removed are passed over.
    ends = reader.rows(
        "SELECT max(seq) AS until FROM (SELECT seq FROM events WHERE seq > :after ORDER BY seq LIMIT :most) AS ahead",
        after=after,
        most=most,
    )
    until = ends[0]["until"]
    if until is None:
        return None
    values = {f"kind{place}": kind for place, kind in enumerate(sorted(kinds))}
    found = reader.rows(
        f"""SELECT * FROM events WHERE seq > :after AND seq <= :until
            AND kind IN ({", ".join(f":{name}" for name in values)}) ORDER BY seq LIMIT :most""",  # noqa: S608 - our own words
        after=after,
        until=until,
        most=most,
        **values,
    )
    return Batch(after, until, [Event.of(row) for row in found])


def is_behind(reader: Reader, now: int) -> bool:
    """Whether there are events that were chained and not looked at yet."""
    return bool(reader.rows("SELECT 1 FROM events WHERE seq > :after LIMIT 1", after=_counted(reader, now)))


def _counted(reader: Reader, now: int) -> int:
    """The number of the last event that was looked at; at first, of the last one that is too old to be counted."""
    rows = reader.rows("SELECT seq FROM refusals_counted WHERE id = 1") or reader.rows(
        "SELECT seq FROM events WHERE at < :since ORDER BY at DESC, seq DESC LIMIT 1", since=kept_since(now)
    )
    return rows[0]["seq"] if rows else 0


def count(reader: Reader, batch: Batch, causes: Iterable[Cause], now: int) -> list[Statement]:
    """Add up the refusals of a batch, if nobody else has counted some meanwhile.

    :param causes: that of each of its events.
    :param now: seconds; what is older than what is kept then is not counted.
    """
    numbers: Counter[tuple[int, Cause]] = Counter()
    since = kept_since(now)
    for event, cause in zip(batch.events, causes, strict=True):
        if event.at >= since:
            numbers[event.at // HOUR * HOUR, _shown(cause)] += refusals_of(event)
    known = _known(reader, {hour for hour, _ in numbers})
    bounded: Counter[tuple[int, Cause]] = Counter()
    for (hour, cause), number in sorted(numbers.items()):
        own = known[hour]
        if len(own) < MOST:
            own.add(cause)
        bounded[hour, cause if cause in own else Cause(OTHERS, OTHERS)] += number
    return [_move(batch), *_additions(sorted(bounded.items()))]


def refusals_of(event: Event) -> int:
    """The number of refusals that an event stands for: of the same, only one an hour becomes an event."""
    number = event.detail.get("refused")
    return number if isinstance(number, int) and number > 0 else 1


def _shown(cause: Cause) -> Cause:
    """The cause, as much as is kept of it."""
    return Cause(*(part[:_MOST_CHARACTERS] for part in cause))


def _known(reader: Reader, hours: Collection[int]) -> Mapping[int, set[Cause]]:
    """What is counted apart in some hours."""
    known: dict[int, set[Cause]] = {hour: set() for hour in hours}
    waiting = sorted(hours)
    for start in range(0, len(waiting), _AT_ONCE):
        values = {f"h{place}": hour for place, hour in enumerate(waiting[start : start + _AT_ONCE])}
        rows = reader.rows(
            f"""SELECT hour, step, rule FROM refusal_counts WHERE hour IN ({", ".join(f":{name}" for name in values)})
                AND step <> :others LIMIT :most""",  # noqa: S608 - our own words
            others=OTHERS,
            most=len(values) * MOST,
            **values,
        )
        for row in rows:
            known[row["hour"]].add(Cause(row["step"], row["rule"]))
    return known


def _move(batch: Batch) -> Statement:
    """Say how far events are counted."""
    return Statement(
        """INSERT INTO refusals_counted (id, seq) VALUES (1, :until)
           ON CONFLICT (id) DO UPDATE SET seq = excluded.seq WHERE refusals_counted.seq = :after""",
        {"until": batch.until, "after": batch.after},
        again,
    )


def _additions(numbers: Sequence[tuple[tuple[int, Cause], int]]) -> Iterator[Statement]:
    for start in range(0, len(numbers), _AT_ONCE):
        part = numbers[start : start + _AT_ONCE]
        values: dict[str, object] = {}
        for place, ((hour, cause), number) in enumerate(part):
            values |= {f"h{place}": hour, f"s{place}": cause.step, f"r{place}": cause.rule, f"n{place}": number}
        rows = ", ".join(f"(:h{place}, :s{place}, :r{place}, :n{place})" for place in range(len(part)))
        yield Statement(
            f"""INSERT INTO refusal_counts (hour, step, rule, refusals) VALUES {rows}
                ON CONFLICT (hour, step, rule) DO UPDATE
                SET refusals = refusal_counts.refusals + excluded.refusals""",  # noqa: S608 - our own words
            values,
        )


def by_time(reader: Reader, since: int, width: int, places: int, most: int) -> list[Counted]:
    """Refusals in several times of the same length, by cause; the earliest first, and the causes in their order.

    :param since: the beginning of the first of these times, seconds; the beginning of an hour.
    :param width: the length of each: whole hours, seconds.
    :param places: how many of these times there are.
    :param most: the causes with the most refusals in all that are shown apart; all others are together.
    """
    rows: Sequence[Row] = reader.rows(
        """WITH counted AS (
               SELECT (hour - :since) / :width AS place, step, rule, sum(refusals) AS refusals
               FROM refusal_counts WHERE hour >= :since AND hour < :until GROUP BY 1, 2, 3),
           largest AS (
               SELECT step, rule FROM counted WHERE step <> :others
               GROUP BY step, rule ORDER BY sum(refusals) DESC, step, rule LIMIT :most)
           SELECT counted.place, coalesce(largest.step, :others) AS step, coalesce(largest.rule, :others) AS rule,
                  sum(counted.refusals) AS refusals
           FROM counted LEFT JOIN largest ON largest.step = counted.step AND largest.rule = counted.rule
           GROUP BY 1, 2, 3 ORDER BY 1, 2, 3 LIMIT :rows""",
        since=since,
        until=since + places * width,
        width=width,
        others=OTHERS,
        most=most,
        rows=places * (most + 1),
    )
    return [
        Counted(since + row["place"] * width, Cause(row["step"], row["rule"]), int(row["refusals"])) for row in rows
    ]


def forget(now: int, most: int) -> Statement:
    """Forget up to ``most`` numbers that are older than they are kept."""
    return Statement(
        """DELETE FROM refusal_counts WHERE (hour, step, rule) IN
           (SELECT hour, step, rule FROM refusal_counts WHERE hour < :end ORDER BY hour, step, rule LIMIT :most)""",
        {"end": kept_since(now), "most": most},
    )


def count_past(reader: Reader, now: int) -> int:
    """The number of numbers that :func:`forget` would forget."""
    rows = reader.rows("SELECT count(*) AS number FROM refusal_counts WHERE hour < :end", end=kept_since(now))
    number: int = rows[0]["number"]
    return number
