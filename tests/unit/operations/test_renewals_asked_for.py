"""What an operator asks of many certificates is recorded in the commits of it, however many those are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from meanwhile import Meanwhile
from writing import put

from acme_iid.operations import bulk
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Account, Authorization, Certificate, Order
from acme_iid.store import accounts, certificates, orders
from acme_iid.store.database import Database, open_store
from acme_iid.store.listing import Filter
from acme_iid.store.writes import Outcome, Write

NOW, DAY = 1_800_000_000, 86400
MANY = 1001
NAME = Identifier("dns", "foo.local")


class Watched(Meanwhile):
    """A store that is looked at after each commit, as whoever finds it after a crash would."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, lambda _: None)
        self.seen: list[tuple[int, int]] = []

    def commit(self, write: Write[Any]) -> Outcome:
        outcome = super().commit(write)
        self.seal()
        asked = self.rows("SELECT count(*) AS n FROM certificates WHERE renew_from IS NOT NULL")[0]["n"]
        found = self.rows("SELECT count(*) AS n FROM events WHERE kind = 'certificate.renewal_asked'")[0]["n"]
        self.seen.append((asked, found))
        return outcome


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    with closing(open_store(store_url)) as opened:
        put(opened, accounts.add(Account("a", "{}", "t", (), NOW)))
        yield opened


def issue(database: Database, number: int) -> None:
    """Add certificates."""
    entry = Authorization("", "a", NAME, False, NOW, NOW + DAY, ())
    order = Order("", "a", (NAME,), NOW, NOW + DAY, authorizations=(entry,))
    tags = [orders.new_id() for _ in range(number)]
    rows = put(database, *(orders.add(order, tag) for tag in tags))
    made = (
        Certificate(f"{row['n']}.{tag}", f"1{row['n']:016x}", "a", (NAME,), NOW, NOW + DAY, NOW, b"", "i", "k")
        for row, tag in zip(rows, tags, strict=True)
    )
    put(database, *(certificates.add(certificate, None) for certificate in made))


def test_a_crash_between_two_pages_leaves_no_window_that_is_not_recorded(database: Database) -> None:
    issue(database, MANY)
    watched = Watched(database)
    assert sum(step.done for step in bulk.renew_now(watched, Filter(), 3600, bulk.Task("b"), NOW)) == MANY
    assert all(asked == recorded for asked, recorded in watched.seen), watched.seen
    assert watched.seen[-1] == (MANY, MANY)
    # It took several.
    assert len({asked for asked, _ in watched.seen}) > 2


def test_a_wish_that_is_for_no_certificate_is_recorded(database: Database) -> None:
    watched = Watched(database)
    assert list(bulk.renew_now(watched, Filter(), 3600, bulk.Task("b"), NOW)) == []
    assert [row["kind"] for row in watched.rows("SELECT kind FROM events")] == ["certificate.renewal_asked"]
