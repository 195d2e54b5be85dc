"""The values by which operators look for events and certificates: names, accounts, instances, clouds, owners, images.

No request pays for it: one follower reads the events that were chained since it last did, and writes what they are
found by, sorted, in batches. A command that acts by a list has it follow first.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from acme_iid.store.database import Database
from acme_iid.store.listing import Filter
from acme_iid.store.serials import number_of
from acme_iid.store.writes import Reader, Row, Statement, Write, again, perform

_LONG = 100
"""Characters; a value that has more is found by its digest, which is shorter."""
BATCH = 500
"""Events that are followed in one write."""
_FIELDS = ("account", "instance", "cloud", "owner", "name")
_ISSUED = "certificate.issued"


class _Lookup(NamedTuple):
    field: str
    value: str
    at: int
    seq: int
    n: int | None


def follow(database: Database) -> None:
    """Follow the events up to the latest one, which are chained before where they are not.

    :raises StoreUnavailableError: if the store cannot be used now.
    """
    database.seal()
    catch_up(database)


def is_behind(reader: Reader) -> bool:
    """Whether there are events that were chained and not followed yet."""
    rows = reader.rows("SELECT 1 FROM events WHERE seq > (SELECT coalesce(max(seq), 0) FROM followed) LIMIT 1")
    return bool(rows)


def catch_up(database: Database, most: int = BATCH) -> None:
    """Follow the events up to the latest one that is chained.

    :param most: the largest number of them in one write.
    :raises StoreUnavailableError: if the store cannot be used now.
    """
    while perform(database, partial(_batch, most=most), attempts=20):
        pass


def _batch(reader: Reader, most: int) -> Write[bool] | bool:
    """Follow some events; whether there may be more."""
    at: int = reader.rows("SELECT coalesce(max(seq), 0) AS seq FROM followed")[0]["seq"]
    rows = reader.rows("SELECT * FROM events WHERE seq > :seq ORDER BY seq LIMIT :most", seq=at, most=most)
    if not rows:
        return False
    lookups: list[_Lookup] = []
    holders: set[tuple[str, str]] = set()
    for row in rows:
        detail: Mapping[str, Any] = json.loads(row["detail"])
        lookups += list(_lookups(row, detail))
        if row["kind"] == _ISSUED and row["instance_id"] is not None:
            holders |= {(name, row["instance_id"]) for name in detail["names"]}
    statements = [
        Statement(
            """INSERT INTO followed (id, seq) VALUES (1, :until)
               ON CONFLICT (id) DO UPDATE SET seq = excluded.seq WHERE followed.seq = :seq""",
            {"seq": at, "until": rows[-1]["seq"]},
            again,
        ),
        *_inserts("lookups (field, value, at, seq, n)", _sorted(lookups)),
        *_inserts("holders (name, instance_id)", sorted(holders)),
    ]
    more = len(rows) == most
    return Write(statements, lambda _rows: more)


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


def _lookups(row: Row, detail: Mapping[str, Any]) -> Iterator[_Lookup]:
    """The values by which an event is found."""
    issued = row["kind"] == _ISSUED
    n = number_of(detail["serial"]) if issued else None
    values = {field: {row[column]} for field, column in _columns()}
    values["name"] |= names(row["kind"], row["name"], detail)
    if issued:
        values["image"] = {detail.get("image")}
    for field, several in values.items():
        for value in map(_key, several):
            if value is not None:
                yield _Lookup(f"issued {field}" if issued else field, value, row["at"], row["seq"], n)


def followed(reader: Reader) -> int:
    """The number of the last event that was followed."""
    seq: int = reader.rows("SELECT coalesce(max(seq), 0) AS seq FROM followed")[0]["seq"]
    return seq


def forget(rows: Sequence[Row], until: int) -> list[Statement]:
    """Remove the values by which events that go are found; those of a certificate that stays are still its own.

    :param rows: the events.
    :param until: the number of the last event that goes.
    """
    latest: dict[tuple[str, str], int] = {}
    for row in rows:
        for lookup in _lookups(row, json.loads(row["detail"])):
            key = (lookup.field, lookup.value)
            latest[key] = max(latest.get(key, 0), lookup.at)
    kept = "AND NOT EXISTS (SELECT 1 FROM certificates c WHERE c.n = lookups.n AND c.issued_at = lookups.at)"
    return [
        Statement(
            f"""DELETE FROM lookups WHERE field = :field AND value = :value AND at <= :at AND seq <= :until
                {kept if field.startswith("issued ") else ""}""",  # noqa: S608 - our own words
            {"field": field, "value": value, "at": at, "until": until},
        )
        for (field, value), at in sorted(latest.items())
    ]


def _key(value: str | None) -> str | None:
    """The key under which a value is looked up."""
    if value is None or len(value) <= _LONG:
        return value
    return f"sha256:{hashlib.sha256(value.encode()).hexdigest()}"


def _columns() -> Iterator[tuple[str, str]]:
    for field in _FIELDS:
        yield field, f"{field}_id" if field in ("account", "instance") else field


def names(kind: str, name: str | None, detail: Mapping[str, Any]) -> set[str]:
    """The names, of those in an event's detail, that it is found by: a certificate's, or a refused order's."""
    if "names" in detail:
        return set(detail["names"])
    return set(detail.get("identifiers", ())) if name is None and kind.endswith(".refused") else set()


def _narrowest(criteria: Filter) -> tuple[str, str] | None:
    """The field of a filter that leaves the fewest rows, with its value."""
    for field in ("instance", "name", "account", "image", "owner", "cloud"):
        value = getattr(criteria, field)
        if value is not None:
            return field, value
    return None


def events(reader: Reader, criteria: Filter) -> list[Row]:
    """Events under a filter, newest first."""
    narrowest = _narrowest(criteria)
    columns = {field: f"e.{column}" for field, column in _columns() if field != "name"}
    if narrowest is None:
        return criteria.page(reader, "SELECT e.* FROM events e", {}, time="e.at", key="e.seq")
    field, value = narrowest
    others = {other: column for other, column in columns.items() if other != field}
    heads: list[Row] = []
    # Each list is in order, so their heads are enough.
    for listed in (field, f"issued {field}"):
        heads += criteria.page(
            reader,
            "SELECT e.* FROM lookups l JOIN events e ON e.seq = l.seq",
            others,
            time="l.at",
            key="l.seq",
            where=("l.field = :listed", "l.value = :value", *_also_named(criteria, field, "l.at", "l.seq")),
            listed=listed,
            value=_key(value),
            also=_key(criteria.name),
        )
    return sorted(heads, key=lambda row: (row["at"], row["seq"]), reverse=True)[: criteria.limit]


def _also_named(criteria: Filter, field: str, at: str, seq: str) -> tuple[str, ...]:
    """The condition that an event has the filter's name, where another field is looked up."""
    if criteria.name is None or field == "name":
        return ()
    return (
        f"""EXISTS (SELECT 1 FROM lookups o WHERE o.field IN ('name', 'issued name') AND o.value = :also
            AND o.at = {at} AND o.seq = {seq})""",  # noqa: S608 - our own words
    )


def certificates(reader: Reader, criteria: Filter, where: Sequence[str], now: int) -> list[Row]:
    """Rows of certificates under a filter, with their orders' tags, the latest issued first.

    :param where: further conditions on the certificate ``c``, for the time ``now``.
    """
    narrowest = _narrowest(criteria)
    columns = {
        "account": "c.account_id", "instance": "c.instance_id", "cloud": "c.cloud", "owner": "c.owner",
        "image": "c.image",
    }  # fmt: skip
    tags = "JOIN orders o ON o.n = c.n"
    if narrowest is None:
        return criteria.page(
            reader,
            f"SELECT c.*, o.tag FROM certificates c {tags}",  # noqa: S608 - our own words
            {},
            time="c.issued_at",
            key="c.n",
            where=where,
            now=now,
        )
    field, value = narrowest
    # CROSS JOIN is where SQLite begins with the left side (sqlite.org/optoverview.html).
    return criteria.page(
        reader,
        f"SELECT c.*, o.tag FROM lookups l CROSS JOIN certificates c {tags}",  # noqa: S608 - our own words
        columns,
        time="l.at",
        key="c.n",
        where=(
            "l.field = :listed",
            "l.value = :value",
            # The number may be another's by now: SQLite gives that of the latest order again once that was pruned.
            "c.n = l.n AND c.issued_at = l.at",
            # Events stay when certificates are pruned: none of what is older has one.
            "l.at >= (SELECT issued_at FROM certificates ORDER BY issued_at LIMIT 1)",
            *_also_named(criteria, field, "l.at", "l.seq"),
            *where,
        ),
        listed=f"issued {field}",
        value=_key(value),
        also=_key(criteria.name),
        now=now,
    )
