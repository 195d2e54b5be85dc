"""Use cases are decided on what was so, and committed in any order: what happens is what one after the other allows.

Each step either runs the first half of a use case (tests/support/halves_deciding.py,
tests/support/halves_operating.py), or commits one or several of the writes that were decided before, on whatever has
become of the store since, with a failure in their midst or without (tests/support/halves_committing.py). A model that
knows only what was committed, one after the other, says whether it could happen then, and what is to be seen of it.
"""

from __future__ import annotations

from collections.abc import Iterator

import postgresql
import pytest
from halves_committing import Committing
from halves_world import home
from hypothesis import HealthCheck, settings
from hypothesis.stateful import invariant, run_state_machine_as_test

from acme_iid.protocol.status import of_order
from acme_iid.store import accounts, events, instances, orders
from acme_iid.store.chain import Columns


@pytest.fixture(scope="module", autouse=True)
def removed() -> Iterator[None]:
    yield
    home().close()
    home.cache_clear()


class Halves(Committing):
    """What must hold after each step."""

    @invariant()
    def what_is_shown_is_what_the_model_says(self) -> None:
        for order in self.world.orders.values():
            read = orders.get(self.database, order.id)
            assert read is not None
            assert of_order(read, self.now) is self.status(order), order
            issued = self.database.rows("SELECT 1 FROM certificates WHERE n = :n", n=orders.number(read))
            assert len(issued) == order.issued

    @invariant()
    def nothing_is_there_that_nobody_was_told_of(self) -> None:
        made = self.count("accounts"), self.count("enrolments")
        others = getattr(self, "others", made)
        known = (len(self.world.holders), len(self.world.enrolments)) if hasattr(self, "others") else (0, 0)
        assert made == (others[0] + known[0], others[1] + known[1])
        of_accounts = "(SELECT n FROM orders WHERE account_id = :id)"
        for holder in self.world.holders:
            mine = [order for order in self.world.orders.values() if order.account is holder]
            stored = self.database.rows(f"SELECT n FROM {of_accounts} AS own", id=holder.id)  # noqa: S608 - ours
            assert sorted(row["n"] for row in stored) == sorted(int(order.id.split(".")[0]) for order in mine)
            rows = self.database.rows("SELECT n, i, attempts FROM attempts WHERE account_id = :id", id=holder.id)
            found = {(row["n"], row["i"]): row["attempts"] for row in rows}
            assert len(found) == len(rows)
            known_attempts = self.attempts_known()
            numbers = {int(order.id.split(".")[0]) for order in mine}
            assert found == {key: number for key, number in known_attempts.items() if key[0] in numbers}

    @invariant()
    def instances_are_what_the_model_says(self) -> None:
        for machine in self.world.machines:
            found = instances.get(self.database, machine.id)
            assert (found is not None) == machine.is_there
            if found is not None:
                assert (found.generation, found.blocked_at is not None) == (machine.generation, machine.blocked)
                assert (found.account_id, found.release_to) == (machine.holder, machine.released_to)

    @invariant()
    def accounts_are_what_the_model_says(self) -> None:
        for holder in self.world.holders:
            found = accounts.get(self.database, holder.id)
            assert found is not None
            assert (found.deactivated_at is None, found.thumbprint) == (holder.active, holder.key.thumbprint)
            assert not (holder.active and holder.key.thumbprint in self.world.compromised)

    def teardown(self) -> None:
        self.database.seal()
        links = list(events.check(self.database, self.chained + 1))
        fields = ", ".join(Columns._fields)
        rows = self.database.rows(
            f"SELECT {fields} FROM events WHERE seq > :seq ORDER BY seq",  # noqa: S608 - constants only
            seq=self.chained,
        )
        recorded = [event.columns() for event in self.store.events]
        assert [Columns(*(row[field] for field in Columns._fields)) for row in rows] == recorded
        assert bool(links) == bool(rows)


def test_interleaved_halves_leave_only_what_some_serial_order_allows() -> None:
    run_state_machine_as_test(
        Halves,
        settings=settings(
            deadline=None,
            max_examples=10 if postgresql.is_wanted() else 30,
            stateful_step_count=60,
            suppress_health_check=list(HealthCheck),
        ),
    )
