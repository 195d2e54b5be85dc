"""What operators, SIGHUP and the server's own threads do between the halves of requests (tests/stories/races)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from halves_deciding import REMOTE, Deciding, few
from halves_world import Attempted, FirstHalf, Ordered, home
from hypothesis import strategies as st
from hypothesis.stateful import rule
from writing import pass_time, put

from acme_iid.authority import challenges, validations
from acme_iid.operations import instances, pruning
from acme_iid.protocol.status import Status
from acme_iid.store import attempts, certificates
from acme_iid.store import orders as stored_orders
from acme_iid.store.database import Database
from acme_iid.store.writes import Statement
from acme_iid.validation.attempt import FEW, MANY
from acme_iid.web.links import Links

WEEK_AND_MORE = 8 * 86400
HTTP = "http-01"


class Operating(Deciding):
    """Operators' commands, a configuration that is swapped, and the attempts at standard challenges."""

    def act(self, what: str, act: Callable[[Database], object], happens: Callable[[Any], None]) -> None:
        """An operator's command, as far as what it would commit."""
        # Whoever reads a list has it follow first, which is a commit, and changes nothing that anybody decides on.
        self.decide(what, lambda _reader: act(FirstHalf(self.database, lists=True)), happens)

    @rule(which=few, certain=st.integers(0, 2))
    def block(self, which: int, certain: int) -> None:
        machine = self.machine(which)
        if certain:
            return

        def happens(_given: Any) -> None:
            assert not machine.blocked
            machine.blocked, machine.is_there = True, True
            machine.generation += 1

        self.act(
            "block", lambda database: instances.block(database, machine.id, None, revoke=False, now=self.now), happens
        )

    @rule(which=few)
    def unblock(self, which: int) -> None:
        machine = self.machine(which)

        def happens(_given: Any) -> None:
            machine.blocked = False

        self.act("unblock", lambda database: instances.unblock(database, machine.id, self.now), happens)

    @rule(which=few, to=few, certain=st.integers(0, 2))
    def release(self, which: int, to: int, certain: int) -> None:
        machine, thumbprint = self.machine(which), self.holder(to).key.thumbprint
        if certain:
            return

        def happens(_given: Any) -> None:
            machine.holder, machine.released_to, machine.is_there = None, thumbprint, True
            machine.generation += 1

        self.act(
            "release",
            lambda database: instances.release(database, machine.id, thumbprint, 10**6, revoke=False, now=self.now),
            happens,
        )

    @rule(which=few)
    def reopen(self, which: int) -> None:
        """Let an instance have again what revocations closed to it."""
        machine = self.machine(which)
        for name in sorted(certificates.closed_names(self.database, machine.id)):
            instances.reopen(self.store, instances.find(self.store, machine.id), name, self.now)
            self.commits += 1

    @rule(certain=st.integers(0, 2))
    def prune(self, certain: int) -> None:
        """Remove what came to nothing, by a clock that is ahead; what was decided on it is still to be committed."""
        if certain:
            return
        pruning.prune(self.authority.config, self.store, "operator", self.now + WEEK_AND_MORE)
        self.world.orders = {order.id: order for order in self.world.orders.values() if order.issued}
        self.commits += 1

    @rule()
    def time_passes(self) -> None:
        self.now += 1

    @rule(number=st.integers(0, 5))
    def reload(self, number: int) -> None:
        """SIGHUP: another configuration is in force for what is decided from now on, most often the first one."""
        self.ruling = home().rulings[number if number < len(home().rulings) else 0]

    # The standard challenges: asked for, taken under a lease, looked for, and what came of it recorded.

    @rule(which=few)
    def ask_for_validation(self, which: int) -> None:
        """Answer an http-01 challenge."""
        order = self.ordered(which, Status.PENDING)
        waiting = [] if order is None else self.waiting(order, HTTP)
        if order is None or not waiting:
            return
        challenge = waiting[0]
        place = self.place(challenge)

        def happens(_given: Any) -> None:
            assert self.status(order) is Status.PENDING
            if place not in order.attempts:
                number, k = int(order.id.split(".")[0]), int(challenge.rsplit(".")[-1])
                asked = attempts.Asked(number, place, k, REMOTE, order.account.id, order.names[place].value)
                order.attempts[place] = Attempted(asked, challenge)

        self.signed(
            order.account,
            "ask for validation",
            f"/acme/challenge/{challenge}",
            happens,
            lambda reader, account: challenges.answer(
                self.authority, self.context, reader, account, challenge, {}, b"{}"
            ),
        )

    def attempted(self, number: int, *, leased: bool) -> tuple[Ordered, int] | None:
        """An attempt that waits, or that somebody has."""
        found = [
            (order, place)
            for order in self.world.orders.values()
            for place, attempted in order.attempts.items()
            if attempted.is_leased is leased
        ]
        return found[number % len(found)] if found else None

    def attempts_at(self, attempted: Attempted) -> dict[int, Attempted]:
        """The attempts at the order that has the number of an attempt's: SQLite gives one that was pruned once more."""
        for order in self.world.orders.values():
            if int(order.id.split(".")[0]) == attempted.asked.n:
                return order.attempts
        return {}

    def is_of_use(self, order: Ordered, place: int) -> bool:
        """Whether an attempt can still prove something."""
        return self.status(order) is Status.PENDING and order.names[place] not in order.proofs

    @rule(which=few, other=st.booleans())
    def take(self, which: int, other: bool) -> None:
        """Take an attempt: one that is nobody's, or, as a process that has looked too early, one that somebody has."""
        found = self.attempted(which, leased=other)
        if found is None:
            return
        order, place = found
        attempted = order.attempts[place]
        # It is due, whatever the clock of the database says.
        put(self.database, Statement("UPDATE attempts SET due_at = due_at - 1000", {}))
        postponed = attempted.postponed
        is_of_use = self.is_of_use(order, place) and order.account.active

        def happens(taken: bool) -> None:
            if not is_of_use:
                assert not self.is_of_use(order, place) or not order.account.active
                assert not taken
                self.attempts_at(attempted).pop(place, None)
                return
            still = self.attempts_at(attempted).get(place)  # none, if its order was pruned meanwhile
            leased = sum(one.is_leased for entry in self.world.orders.values() for one in entry.attempts.values())
            if taken:
                assert still is not None
                assert not still.is_leased
                still.number, still.is_leased = still.number + 1, True
            else:
                # One that was put off meanwhile is not due by the time of the decision.
                is_due = still is attempted and still.postponed == postponed
                assert not is_due or attempted.is_leased or leased >= attempts.MOST_AT_TARGET

        self.decide("take", lambda reader: validations.take(reader, attempted.asked, self.now), happens)

    @rule()
    def leases_run_out(self) -> None:
        """Whoever has an attempt has been at it for too long: another may take it."""
        pass_time(self.database, 10_000)
        for order in self.world.orders.values():
            for attempted in order.attempts.values():
                attempted.is_leased = False

    @rule(which=few, good=st.integers(0, 4))
    def look(self, which: int, good: int | bool) -> None:
        """Look for the answer to a challenge, over the network; what came of it is still to be recorded."""
        found = self.attempted(which, leased=True)
        if found is None:
            return
        order, place = found
        attempted, ruling, name = order.attempts[place], self.ruling, order.names[place]
        number, thumbprint = attempted.number, order.account.key.thumbprint
        read = stored_orders.get(self.database, order.id)
        assert read is not None
        token = next(one.token for one in read.authorizations[place].challenges if one.id == attempted.challenge)
        home().host.files = {token: f"{token}.{thumbprint}" if good else "something else"}
        is_right = bool(good) and number <= MANY and ruling.hosts
        is_last = not ruling.hosts or number >= (MANY if good else FEW)

        def happens(_given: Any) -> None:
            assert order.attempts.get(place) is attempted
            assert attempted.number == number
            assert self.is_of_use(order, place)
            if is_right:
                assert ruling.gives(name, None)
                assert (order.account.active, order.account.key.thumbprint) == (True, thumbprint)
                order.proofs[name] = None
            elif is_last:
                order.ended = True
            else:
                attempted.is_leased, attempted.postponed = False, attempted.postponed + 1
                return
            for at in [at for at, one in order.attempts.items() if at == place]:
                del order.attempts[at]

        stopping = replace(self.authority, database=FirstHalf(self.database, lists=False))
        links = Links(self.authority.config.server.url)
        self.decide("validate", lambda _reader: validations.make(stopping, attempted.asked, links), happens)

    @rule(which=few, two=st.booleans())
    def begin_to_validate(self, which: int, two: bool) -> None:
        """Make an order, have it validated by http-01 and take the attempt, with nothing in between."""
        self.new_order(which, two)
        self.at_once("newOrder")
        self.ask_for_validation(-1)
        self.at_once("ask for validation")
        self.take(-1, other=False)
        self.at_once("take")

    @rule(which=few, good=st.integers(0, 4))
    def end_validation(self, which: int, good: int) -> None:
        """Look, and record what came of it, with nothing in between."""
        self.look(which, good)
        self.at_once("validate")

    @rule(which=few, good=st.booleans())
    def come_too_late(self, which: int, good: bool) -> None:
        """Look for so long that another process takes the next attempt; what came of it is still to be recorded."""
        self.look(which, good)
        self.leases_run_out()
        self.take(which, other=False)
        self.at_once("take")

    def at_once(self, what: str) -> None:
        """Commit what was decided last, if that is it."""
        raise NotImplementedError
