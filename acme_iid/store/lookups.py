"""The values by which operators look for events, certificates and instances, written after the events.

No request pays for it: one follower reads the events that were chained since it last did, and writes what they are
found by, sorted, in batches. A command that acts by a list has it follow first.

What is written of an event has a version. A store that an earlier version followed is followed by this one from there
on, so that lists stay up to date, and what came before is followed again beside that, a little at a time.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from acme_iid.policy import clouds
from acme_iid.store import refusals
from acme_iid.store.database import Database
from acme_iid.store.serials import number_of
from acme_iid.store.writes import Reader, Row, Statement, Write, again, perform

VERSION = 3
"""The version of what is written of an event; one more when there is more of it."""
BATCH = 500
"""Events that are followed in one write."""
_LATER_FIELDS = {"kind", "remote", "image", "region", "profile", "provisioner", "refused"}
"""What events are found by, and versions before this one did not write, or not of all events."""
TRAITS = ("image", "region", "provisioner")
"""What an instance is found by, beside its columns, as far as it has proven that."""
WORD = "word"
"""The field under which :func:`instances_called` finds an instance."""
_LONG = 100
"""Characters; a value that has more is found by its digest, which is shorter."""
ISSUED = "certificate.issued"
"""The kind of the event of a certificate."""
PROVEN = ("challenge.valid", "order.proven", ISSUED)
"""The kinds of events that say what an instance has proven."""

Progress = Callable[[int], None]
"""Is told of so many events more that were followed again."""


class _Lookup(NamedTuple):
    field: str
    value: str
    at: int
    seq: int
    n: int | None


class Following(NamedTuple):
    """How far events are followed.

    :ivar seq: the number of the latest one that is.
    :ivar again: of those that an earlier version followed, the latest one that was followed again.
    :ivar until: the latest one that an earlier version followed.
    """

    seq: int
    again: int
    until: int

    @property
    def behind(self) -> int:
        """The number of events that were not followed again yet; about, where some were removed."""
        return max(0, self.until - self.again)


def following(reader: Reader) -> Following:
    """How far events are followed by this version."""
    rows = reader.rows(
        "SELECT version, seq, again, until FROM followings WHERE version <= :version ORDER BY version DESC LIMIT 1",
        version=VERSION,
    )
    if not rows:
        return Following(0, 0, 0)
    row = rows[0]
    if row["version"] == VERSION:
        return Following(row["seq"], row["again"], row["until"])
    # What an earlier one has not followed again, if it was to, is followed by this one as well.
    return Following(row["seq"], 0, row["seq"])


def follow(database: Database) -> None:
    """Follow the events up to the latest one, which are chained before where they are not.

    :raises StoreUnavailableError: if the store cannot be used now.
    """
    database.seal()
    catch_up(database)


def is_behind(reader: Reader) -> bool:
    """Whether there are events that were chained and not followed yet."""
    rows = reader.rows("SELECT 1 FROM events WHERE seq > :seq LIMIT 1", seq=following(reader).seq)
    return bool(rows)


def catch_up(database: Database, most: int = BATCH) -> None:
    """Follow the events up to the latest one that is chained.

    :param most: the largest number of them in one write.
    :raises StoreUnavailableError: if the store cannot be used now.
    """
    while perform(database, partial(_batch, most=most), attempts=20):
        pass


def follow_again(
    database: Database, most: int = BATCH, seconds: float | None = None, progress: Progress | None = None
) -> bool:
    """Follow again what an earlier version has followed.

    :param most: the largest number of events in one write.
    :param seconds: the time after which it stops; None to go on to the end.
    :returns: whether all is done.
    :raises StoreUnavailableError: if the store cannot be used now.
    """
    end = None if seconds is None else time.monotonic() + seconds
    while done := perform(database, partial(_batch_again, most=most), attempts=20):
        if progress is not None:
            progress(done)
        if end is not None and time.monotonic() >= end:
            return not following(database).behind
    return True


def _batch(reader: Reader, most: int) -> Write[bool] | bool:
    """Follow some events; whether there may be more."""
    at = following(reader)
    rows = reader.rows("SELECT * FROM events WHERE seq > :seq ORDER BY seq LIMIT :most", seq=at.seq, most=most)
    if not rows:
        return False
    more = len(rows) == most
    return Write([_move(at, at._replace(seq=rows[-1]["seq"])), *_all_of(rows)], lambda _rows: more)


def _batch_again(reader: Reader, most: int) -> Write[int] | int:
    """Follow some events again; how many those are, or so many as were removed since."""
    at = following(reader)
    if not at.behind:
        return 0
    rows = reader.rows(
        "SELECT * FROM events WHERE seq > :again AND seq <= :until ORDER BY seq LIMIT :most",
        again=at.again,
        until=at.until,
        most=most,
    )
    end = rows[-1]["seq"] if len(rows) == most else at.until
    return Write([_move(at, at._replace(again=end)), *_all_of(rows, _LATER_FIELDS)], lambda _rows: end - at.again)


def _move(at: Following, to: Following) -> Statement:
    """Say how far events are followed, if nobody else has followed some meanwhile."""
    return Statement(
        """INSERT INTO followings (version, seq, again, until) VALUES (:version, :to_seq, :to_again, :until)
           ON CONFLICT (version) DO UPDATE SET seq = excluded.seq, again = excluded.again
           WHERE followings.seq = :seq AND followings.again = :again""",
        {
            "version": VERSION,
            "seq": at.seq,
            "again": at.again,
            "until": at.until,
            "to_seq": to.seq,
            "to_again": to.again,
        },
        again,
    )


def _all_of(rows: Sequence[Row], only: set[str] | None = None) -> Iterator[Statement]:
    """Write what events are found by.

    :param only: the fields to write; None for all.
    """
    found: list[_Lookup] = []
    holders: set[tuple[str, str]] = set()
    traits: set[tuple[str, str, str]] = set()
    for row in rows:
        detail: Mapping[str, Any] = json.loads(row["detail"])
        values = _values(row, detail)
        found += _lookups(row, detail, values, only)
        traits |= set(_traits(row, values))
        if only is None and row["kind"] == ISSUED and row["instance_id"] is not None:
            holders |= {(name, row["instance_id"]) for name in detail["names"]}
    yield from _inserts("lookups (field, value, at, seq, n)", _sorted(found))
    yield from _inserts("holders (name, instance_id)", sorted(holders))
    yield from _inserts("traits (field, value, instance_id)", sorted(traits))


def _sorted(lookups: list[_Lookup]) -> list[_Lookup]:
    return sorted(lookups, key=lambda lookup: (lookup.field, lookup.value, lookup.at, lookup.seq))


def _inserts(table: str, rows: Sequence[Sequence[object]]) -> Iterator[Statement]:
    for start in range(0, len(rows), 100):
        part = rows[start : start + 100]
        values = ", ".join(
            "(" + ", ".join(f":v{number}_{place}" for place in range(len(row))) + ")" for number, row in enumerate(part)
        )
        yield Statement(
            f"INSERT INTO {table} VALUES {values} ON CONFLICT DO NOTHING",  # noqa: S608 - our own words and numbers
            {f"v{number}_{place}": value for number, row in enumerate(part) for place, value in enumerate(row)},
        )


def _lookups(
    row: Row, detail: Mapping[str, Any], values: Mapping[str, set[str]], only: set[str] | None
) -> Iterator[_Lookup]:
    """The rows by which an event is found."""
    issued = row["kind"] == ISSUED
    n = number_of(detail["serial"]) if issued else None
    for field, several in values.items():
        if only is None or field in only:
            # Certificates are found by what begins so. Nobody looks for them by the kind of their event.
            own = f"issued {field}" if issued and field != "kind" else field
            for value in several:
                yield _Lookup(own, value, row["at"], row["seq"], n)


def followed(reader: Reader) -> int:
    """The number of the last event that was followed."""
    return following(reader).seq


def forget(rows: Sequence[Row], until: int) -> list[Statement]:
    """Remove the values by which events that go are found; those of a certificate that stays are still its own.

    :param rows: the events.
    :param until: the number of the last event that goes.
    """
    latest: dict[tuple[str, str], int] = {}
    for row in rows:
        detail: Mapping[str, Any] = json.loads(row["detail"])
        for lookup in _lookups(row, detail, _values(row, detail), None):
            found = (lookup.field, lookup.value)
            latest[found] = max(latest.get(found, 0), lookup.at)
    kept = "AND NOT EXISTS (SELECT 1 FROM certificates c WHERE c.n = lookups.n AND c.issued_at = lookups.at)"
    return [
        Statement(
            f"""DELETE FROM lookups WHERE field = :field AND value = :value AND at <= :at AND seq <= :until
                {kept if field.startswith("issued ") else ""}""",  # noqa: S608 - our own words
            {"field": field, "value": value, "at": at, "until": until},
        )
        for (field, value), at in sorted(latest.items())
    ]


def _values(row: Row, detail: Mapping[str, Any]) -> dict[str, set[str]]:
    """The values by which an event is found, as they are looked up."""
    instance_id = row["instance_id"]
    region = detail.get("region") or (None if instance_id is None else clouds.region_of(instance_id))
    values: dict[str, set[str | None]] = {
        "account": {row["account_id"]},
        "instance": {instance_id},
        "cloud": {row["cloud"]},
        "owner": {row["owner"]},
        "name": {row["name"], *names(row["kind"], row["name"], detail)},
        "kind": {row["kind"]},
        "remote": {address(detail.get("remote"))},
        "region": {region},
        "refused": {instance_id if row["kind"] in refusals.KINDS else None},
        **{field: {detail.get(field)} for field in ("image", "profile", "provisioner", "bulk")},
    }
    return {field: {key(value) for value in several if isinstance(value, str)} for field, several in values.items()}


def _traits(row: Row, values: Mapping[str, set[str]]) -> Iterator[tuple[str, str, str]]:
    """What the instance of an event is found by."""
    instance_id = row["instance_id"]
    if instance_id is None:
        return
    yield WORD, key(word_of(instance_id)), instance_id
    if row["kind"] in PROVEN:
        for field in TRAITS:
            yield from ((field, value, instance_id) for value in values[field])


def word_of(instance_id: str) -> str:
    """The cloud's own word for an instance: the last part of its whole id."""
    return instance_id.rpartition(":")[2]


def address(text: object) -> str | None:
    """A client's address in its one spelling; None if there is none."""
    if not isinstance(text, str):
        return None
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return text


def key(value: str) -> str:
    """The key under which a value is looked up."""
    return value if len(value) <= _LONG else f"sha256:{hashlib.sha256(value.encode()).hexdigest()}"


def names(kind: str, name: str | None, detail: Mapping[str, Any]) -> set[str]:
    """The names, of those in an event's detail, that it is found by: a certificate's, or a refused order's."""
    if "names" in detail:
        return set(detail["names"])
    return set(detail.get("identifiers", ())) if name is None and kind.endswith(".refused") else set()
