"""Lists of events and certificates under an operator's filter, as far as events are followed (lookups.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from acme_iid.store.listing import Filter
from acme_iid.store.lookups import ISSUED, WORD, key
from acme_iid.store.writes import Reader, Row

_NARROWEST = (
    "bulk", "refused",
    "instance", "name", "remote", "account", "image", "owner", "kind", "region", "provisioner", "profile", "cloud",
)  # fmt: skip
"""A filter's fields, those first that leave the fewest rows."""
_OF_EVENTS = {
    "instance": "e.instance_id", "account": "e.account_id", "owner": "e.owner", "kind": "e.kind", "cloud": "e.cloud",
}  # fmt: skip
_OF_CERTIFICATES = {
    "instance": "c.instance_id", "account": "c.account_id", "owner": "c.owner", "cloud": "c.cloud",
    "image": "c.image", "provisioner": "c.provisioner", "profile": "c.profile",
}  # fmt: skip


class _Parts:
    """The parts of a filter: one field that is looked up, and the conditions for the others."""

    def __init__(self, criteria: Filter, columns: Mapping[str, str]) -> None:
        given = [field for field in _NARROWEST if getattr(criteria, field) is not None]
        self.field = given[0] if given else None
        self.columns = {field: columns[field] for field in given[1:] if field in columns}
        self.others = [field for field in given[1:] if field not in columns]
        self.values: dict[str, object] = {f"also_{field}": key(getattr(criteria, field)) for field in self.others}
        if self.field is not None:
            self.values["value"] = key(getattr(criteria, self.field))

    def conditions(self) -> tuple[str, ...]:
        """That a row of ``l`` has the other fields' values, as far as they stand in no column."""
        return tuple(
            f"""EXISTS (SELECT 1 FROM lookups o WHERE o.field IN ('{field}', 'issued {field}')
                AND o.value = :also_{field} AND o.at = l.at AND o.seq = l.seq)"""  # noqa: S608 - our own words
            for field in self.others
        )


def events(reader: Reader, criteria: Filter) -> list[Row]:
    """Events under a filter, newest first."""
    parts = _Parts(criteria, _OF_EVENTS)
    if parts.field is None:
        return criteria.page(reader, "SELECT e.* FROM events e", {}, time="e.at", key="e.seq")
    heads: list[Row] = []
    # Each list is in order, so their heads are enough. What was issued stands in the second one alone.
    lists = [parts.field, f"issued {parts.field}"]
    if criteria.kind is not None and parts.field != "kind":
        lists = lists[1:] if criteria.kind == ISSUED else lists[:1]
    for listed in lists:
        heads += criteria.page(
            reader,
            "SELECT e.* FROM lookups l JOIN events e ON e.seq = l.seq",
            parts.columns,
            time="l.at",
            key="l.seq",
            where=("l.field = :listed", "l.value = :value", *parts.conditions()),
            listed=listed,
            **parts.values,
        )
    return sorted(heads, key=lambda row: (row["at"], row["seq"]), reverse=True)[: criteria.limit]


def certificates(reader: Reader, criteria: Filter, where: Sequence[str], now: int, **values: object) -> list[Row]:
    """Rows of certificates under a filter, with their orders' tags, the latest issued first.

    :param where: further conditions on the certificate ``c``, for the time ``now`` and with further ``values``.
    """
    parts = _Parts(criteria, _OF_CERTIFICATES)
    tags = "JOIN orders o ON o.n = c.n"
    if parts.field is None:
        return criteria.page(
            reader,
            f"SELECT c.*, o.tag FROM certificates c {tags}",  # noqa: S608 - our own words
            {},
            time="c.issued_at",
            key="c.n",
            where=where,
            now=now,
            **values,
        )
    # CROSS JOIN is where SQLite begins with the left side (sqlite.org/optoverview.html).
    return criteria.page(
        reader,
        f"SELECT c.*, o.tag FROM lookups l CROSS JOIN certificates c {tags}",  # noqa: S608 - our own words
        parts.columns,
        time="l.at",
        key="c.n",
        where=(
            "l.field = :listed",
            "l.value = :value",
            # The number may be another's by now: SQLite gives that of the latest order again once that was pruned.
            "c.n = l.n AND c.issued_at = l.at",
            # Events stay when certificates are pruned: none of what is older has one.
            "l.at >= (SELECT issued_at FROM certificates ORDER BY issued_at LIMIT 1)",
            *parts.conditions(),
            *where,
        ),
        listed=f"issued {parts.field}",
        now=now,
        **parts.values,
        **values,
    )


def instances_called(reader: Reader, word: str) -> list[str]:
    """The whole ids of the instances that a cloud calls ``word``, also of those that were only ever refused."""
    rows = reader.rows(
        "SELECT instance_id FROM traits WHERE field = :field AND value = :value ORDER BY instance_id",
        field=WORD,
        value=key(word),
    )
    return [row["instance_id"] for row in rows]
