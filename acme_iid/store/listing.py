"""Lists for operators: filtered, newest first, and read in pages that cost the same however long the list is.

A page goes on below the place where the one before it ended (keyset), never past an offset, and every filter has
an index in which rows stand in the list's own order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from acme_iid.store.writes import Reader, Row


class Position(NamedTuple):
    """A position in a list: the time, in seconds, and the key of the row there."""

    time: int
    key: str | int


@dataclass(frozen=True, slots=True)
class Filter:
    """The criteria of a list that an operator asks for; None for all.

    :ivar account: the account's id.
    :ivar name: a name, canonical.
    :ivar instance: the whole id.
    :ivar image: what an instance was started from.
    :ivar provisioner: the provisioner under which something was proven, as ``profile`` is what was issued for it.
    :ivar kind: of events: their kind, such as ``challenge.refused``.
    :ivar remote: of events: the address that a request came from.
    :ivar bulk: of events: the act on many that they are of.
    :ivar refused: of events: the whole id of the instance that was refused something.
    :ivar since: seconds; nothing before.
    :ivar until: seconds; nothing from then on.
    :ivar before: where the page before ended.
    :ivar limit: the largest number of rows.
    """

    cloud: str | None = None
    owner: str | None = None
    account: str | None = None
    instance: str | None = None
    name: str | None = None
    image: str | None = None
    region: str | None = None
    profile: str | None = None
    provisioner: str | None = None
    kind: str | None = None
    remote: str | None = None
    bulk: str | None = None
    refused: str | None = None
    since: int | None = None
    until: int | None = None
    before: Position | None = None
    limit: int = 100

    def page(
        self,
        reader: Reader,
        select: str,
        columns: Mapping[str, str],
        *,
        time: str,
        key: str,
        where: Sequence[str] = (),
        **parameters: object,
    ) -> list[Row]:
        """The rows that ``select`` gives under this filter.

        :param select: a statement up to its WHERE.
        :param columns: the column for each of the filter's fields that the statement knows.
        :param time: the column that the list is ordered by.
        :param key: the column that decides between rows of the same time.
        :param where: further conditions, with their ``parameters``.
        """
        conditions = [*where]
        for name, column in columns.items():
            if (value := getattr(self, name)) is not None:
                conditions.append(f"{column} = :{name}")
                parameters[name] = value
        if self.since is not None:
            conditions.append(f"{time} >= :since")
            parameters["since"] = self.since
        if self.until is not None:
            conditions.append(f"{time} < :until")
            parameters["until"] = self.until
        if self.before is not None:
            # The first half is a range of the index, the second decides within one second.
            conditions.append(f"{time} <= :time AND ({time} < :time OR {key} < :key)")
            parameters |= {"time": self.before.time, "key": self.before.key}
        condition = " WHERE " + " AND ".join(conditions) if conditions else ""
        order = f" ORDER BY {time} DESC, {key} DESC LIMIT :limit"
        return reader.rows(select + condition + order, **parameters, limit=self.limit)
