"""Chained events in their order, as readers elsewhere take them: a line of JSON each, of which they make the hash."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

from acme_iid.store.chain import Entry
from acme_iid.store.writes import Reader

AT_ONCE = 100
"""Events that are read in one question."""
_MOST_NAME = 300
"""Characters of a name in a line that is cut; no name in a certificate has more."""


class Sealed(NamedTuple):
    """An event with its number, and its hash."""

    entry: Entry
    hash: str

    def line(self) -> str:
        """The event as a JSON object without blanks, in ASCII: its columns by their names, and the hash.

        ``detail`` is a text: what is hashed, octet by octet.
        """
        return _json({**self.entry._asdict(), "hash": self.hash})

    def within(self, octets: int) -> str:
        """The line; one that is longer than so many octets is cut, and says so.

        It has ``detail_begins`` in place of ``detail``, and ``detail_octets``: of how many that is the beginning. Such
        an event's hash cannot be made from its line; its neighbours' can.
        """
        whole = self.line()
        if len(whole) <= octets:
            return whole
        columns: dict[str, object] = {**self.entry._asdict(), "hash": self.hash}
        detail = self.entry.detail
        del columns["detail"]
        columns = {name: _cut(value) for name, value in columns.items()}
        columns["detail_octets"] = len(detail.encode())
        left = octets - len(_json({**columns, "detail_begins": ""}))
        begins = detail[: max(0, left)]
        while len(_json(begins)) - 2 > max(0, left):
            begins = begins[: len(begins) * 9 // 10]
        return _json({**columns, "detail_begins": begins})


def _cut(value: object) -> object:
    return value[:_MOST_NAME] if isinstance(value, str) else value


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def after(reader: Reader, seq: int, most: int = AT_ONCE) -> list[Sealed]:
    """The events behind the one with the number ``seq``, as far as they are chained.

    :raises StoreUnavailableError: if the store cannot answer now.
    """
    rows = reader.rows("SELECT * FROM events WHERE seq > :seq ORDER BY seq LIMIT :most", seq=seq, most=most)
    return [Sealed(Entry.of(row), row["hash"]) for row in rows]


def lines(sealed: Iterable[Sealed]) -> str:
    """Events as NDJSON."""
    return "".join(f"{one.line()}\n" for one in sealed)
