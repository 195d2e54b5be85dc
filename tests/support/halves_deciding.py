"""First halves of what accounts ask for, beside a model that knows only what was committed (tests/stories/races)."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from typing import Any

from halves_world import DELISTED, NAMES, Decided, DecidedError, Handed, Holder, Machine, Ordered, Store, World, home
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from running import ACCOUNT, answer
from wire import Key, csr

from acme_iid.authority import (
    accounts,
    authorizations,
    challenges,
    enrolments,
    finalization,
    orders,
    reading,
    revocation,
)
from acme_iid.authority.context import RequestContext
from acme_iid.binding import CHALLENGE_TYPE
from acme_iid.errors import AcmeError, RequestError
from acme_iid.protocol.resources import Account, Order
from acme_iid.protocol.status import Status
from acme_iid.simulator import aws
from acme_iid.store import accounts as stored_accounts
from acme_iid.store import certificates, events
from acme_iid.store import orders as stored_orders
from acme_iid.store.writes import Answered, Reader, Write, ask
from acme_iid.web.ahead import Ahead

REMOTE = "127.0.0.1"
few = st.integers(0, 3)
_EXAMPLES = itertools.count()


class Deciding(RuleBasedStateMachine):
    """What is decided for accounts; each first half leaves a write that waits for its commit."""

    def __init__(self) -> None:
        super().__init__()
        self.database = home().database
        self.store = Store(self.database)
        self.ruling = home().rulings[0]
        self.world = World()
        self.world.machines = [Machine(aws.Instance(account=account)) for account in (ACCOUNT, DELISTED)]
        self.decided: list[Decided] = []
        self.commits = 0
        self.now = int(time.time()) + next(_EXAMPLES) * 10
        self.aheads: dict[tuple[str, str], tuple[Reader, int]] = {}
        self.database.seal()
        self.chained = events.head(self.database).seq

    @property
    def authority(self) -> Any:
        """The CA under the configuration that is in force."""
        return self.ruling.authority

    @property
    def context(self) -> RequestContext:
        """The context of a request of now."""
        return RequestContext(REMOTE, self.now)

    # What there is to choose from.

    def holder(self, number: int) -> Holder:
        return self.world.holders[number % len(self.world.holders)]

    def machine(self, number: int) -> Machine:
        return self.world.machines[number % len(self.world.machines)]

    def machine_of(self, instance_id: str) -> Machine:
        return next(machine for machine in self.world.machines if machine.id == instance_id)

    def ordered(self, number: int, status: Status | None = None) -> Ordered | None:
        """An order, of those that are in a state."""
        found = [order for order in self.world.orders.values() if status is None or self.status(order) is status]
        return found[number % len(found)] if found else None

    def status(self, order: Ordered) -> Status:
        """What is to be shown of an order."""
        if order.issued:
            return Status.VALID
        waiting = set(order.names) - set(order.proofs)
        if order.ended:
            return Status.INVALID
        handed = None if order.account.enrolment is None else self.world.enrolments[order.account.enrolment]
        lost = order.proven is not None and self.machine_of(order.proven[0]).generation != order.proven[1]
        if lost or (handed is not None and handed.ended):
            return Status.INVALID
        return Status.PENDING if waiting else Status.READY

    # First halves.

    def decide(
        self, what: str, half: Callable[[Reader], Any], happens: Callable[[Any], None], *,
        reader: Reader | None = None, at: int | None = None,
    ) -> None:  # fmt: skip
        """Run the first half of a use case; what it decides to write waits for its commit."""
        try:
            decided = half(reader or self.database)
        except DecidedError as caught:
            decided = caught.write
        except (AcmeError, RequestError):
            return
        if isinstance(decided, Write) and (decided.statements or decided.events):
            self.decided.append(Decided(what, decided, happens, self.commits if at is None else at))

    def ask_ahead(self, path: str, holder: Holder) -> None:
        """Ask the store what a request asks in any case; what it decides on may be old by then."""
        questions = Ahead(self.authority.config.limits).questions(path, holder.id, self.now)
        # SQLite is asked when the answer is needed; that it might be old all the same proves more, and does no harm.
        reader = Answered(self.database, [(question, ask(self.database, question)) for question in questions])
        self.aheads[path, holder.id] = reader, self.commits

    def signed(
        self, holder: Holder, what: str, path: str, happens: Callable[[Any], None], half: Callable[..., Any]
    ) -> None:
        """The first half of a request that an account signs."""
        reader, at = self.aheads.pop((path, holder.id), (self.database, self.commits))
        account = stored_accounts.get(reader, holder.id)
        assert account is not None
        if reader is self.database:
            assert (account.deactivated_at is None, account.thumbprint) == (holder.active, holder.key.thumbprint)
        if account.deactivated_at is not None:
            return
        thumbprint = account.thumbprint

        def committed(given: Any) -> None:
            assert holder.active, what
            assert holder.key.thumbprint == thumbprint, what
            happens(given)

        self.decide(what, lambda reader: half(reader, account), committed, reader=reader, at=at)

    @rule(which=few, what=st.sampled_from(["newOrder", "answer", "finalize"]))
    def arrive(self, which: int, what: str) -> None:
        """A request comes, whose use case is decided later on what is there now."""
        order = self.ordered(which, Status.PENDING if what == "answer" else Status.READY)
        if what == "newOrder":
            self.ask_ahead("/acme/new-order", self.holder(which))
        elif order is not None:
            suffix = f"order/{order.id}/finalize" if what == "finalize" else f"challenge/{self.waiting(order)[0]}"
            self.ask_ahead(f"/acme/{suffix}", order.account)

    def register(self, enrolment: tuple[str, str] | None) -> None:
        """Decide a new account, which an enrolment's external key may make a delegate."""
        key = Key()
        text = json.dumps(key.jwk, sort_keys=True, separators=(",", ":"))
        external = None if enrolment is None else enrolment[0]
        wanted = accounts.NewAccount(text, key.thumbprint, (), external_key_id=external)

        def happens(given: tuple[Account, bool]) -> None:
            if enrolment is not None:
                handed = self.world.enrolments[enrolment[1]]
                assert not handed.ended
                assert handed.generation == handed.machine.generation
            self.world.holders.append(Holder(given[0].id, key, enrolment=None if enrolment is None else enrolment[1]))

        self.decide(
            "newAccount",
            lambda reader: accounts.create(self.authority, self.context, reader, wanted),
            happens,
        )

    @rule(who=few, two=st.booleans())
    def new_order(self, who: int, two: bool) -> None:
        holder, ruling = self.holder(who), self.ruling
        wanted = orders.NewOrder(NAMES[: 1 + two])

        def happens(given: Order) -> None:
            types = {entry.name: {one.type for one in entry.challenges} for entry in given.authorizations}
            by_iid = {name for name in types if CHALLENGE_TYPE in types[name]}
            only = {name for name in types if types[name] == {CHALLENGE_TYPE}}
            order = Ordered(given.id, holder, wanted.identifiers, frozenset(only))
            assert ruling.accounts or not by_iid or holder.enrolment is not None
            assert ruling.hosts or by_iid == set(wanted.identifiers)
            if holder.enrolment is not None:
                handed = self.world.enrolments[holder.enrolment]
                assert not handed.ended
                assert (handed.machine.blocked, handed.machine.generation) == (False, handed.generation)
                assert all(ruling.gives(name, handed.machine) for name in order.names)
                order.proven = handed.machine.id, handed.generation
                order.proofs = dict.fromkeys(order.names, handed.machine.id)
            self.world.orders[order.id] = order

        self.signed(
            holder,
            "newOrder",
            "/acme/new-order",
            happens,
            lambda reader, account: orders.new_order(self.authority, self.context, reader, account, wanted),
        )

    def waiting(self, order: Ordered, kind: str | None = None) -> list[str]:
        """The challenges, by their ids, of the names that nothing has proven: of one type, or each name's first."""
        read = stored_orders.get(self.database, order.id)
        assert read is not None
        found = (
            [challenge.id for challenge in entry.challenges if kind in (None, challenge.type)]
            for entry in read.authorizations
            if entry.name not in order.proofs
        )
        return [ids[0] for ids in found if ids]

    def place(self, challenge_id: str) -> int:
        """The place of a challenge's authorization in its order."""
        return int(challenge_id.split(".")[2])

    @rule(which=few, of=few, good=st.integers(0, 4))
    def answer(self, which: int, of: int, good: int) -> None:
        """Answer an iid-01 challenge."""
        order = self.ordered(which, Status.PENDING)
        waiting = [] if order is None else self.waiting(order, CHALLENGE_TYPE)
        if order is None or not waiting:
            return
        name = order.names[self.place(waiting[0])]
        machine, ruling = self.machine(of), self.ruling
        given = dict(answer(machine.cloud)) if good else {"format": "aws-rsa2048", "evidence": "AAAA"}
        generation = machine.generation

        def happens(answered: Any) -> None:
            if answered[1].validated_at is None:
                order.ended = True
                return
            assert self.status(order) is Status.PENDING
            assert order.is_bound
            assert ruling.gives(name, machine)
            assert (machine.blocked, machine.generation) == (False, generation)
            assert machine.holder in (None, order.account.id)
            assert machine.holder or machine.released_to in (None, order.account.key.thumbprint)
            assert order.proven in (None, (machine.id, generation))
            machine.holder, machine.released_to, machine.is_there = order.account.id, None, True
            order.proven = machine.id, generation
            order.proofs[name] = machine.id

        self.signed(
            order.account,
            "answer",
            f"/acme/challenge/{waiting[0]}",
            happens,
            lambda reader, account: challenges.answer(
                self.authority, self.context, reader, account, waiting[0], given, b""
            ),
        )

    @rule(which=few, again=st.booleans())
    def finalize(self, which: int, again: bool) -> None:
        order, ruling = self.ordered(which, Status.READY), self.ruling
        if order is None:
            return
        has = again and self.world.certificates
        key = self.world.certificates[which % len(self.world.certificates)][1] if has else Key()
        request = csr(*(name.value for name in order.names), key=key)[1]

        def happens(_given: Any) -> None:
            assert self.status(order) is Status.READY
            for name, instance_id in order.proofs.items():
                assert ruling.gives(name, None if instance_id is None else self.machine_of(instance_id))
            assert order.proven is None or not self.machine_of(order.proven[0]).blocked
            assert key.thumbprint not in self.world.compromised
            order.issued = True
            self.world.certificates.append((order.id, key))

        def half(reader: Reader, account: Account) -> Any:
            own = reading.order(reader, account, order.id)
            return finalization.finalize(self.authority, self.context, reader, account, own, request)

        self.signed(order.account, "finalize", f"/acme/order/{order.id}/finalize", happens, half)

    @rule(which=few)
    def deactivate_authorization(self, which: int) -> None:
        order = self.ordered(which)
        if order is None:
            return

        def happens(_given: Any) -> None:
            order.ended = True

        # Whoever holds the key meanwhile: it changes nothing that a key is relied on for.
        if order.account.active:
            self.decide(
                "deactivate authorization",
                lambda reader: authorizations.deactivate(reader, f"{order.id}.0", self.now),
                happens,
            )

    @rule(which=few, by_key=st.booleans())
    def revoke(self, which: int, by_key: bool) -> None:
        if not self.world.certificates:
            return
        order_id, key = self.world.certificates[which % len(self.world.certificates)]
        order = self.world.orders[order_id]
        found = certificates.get(self.database, order_id)
        assert found is not None

        def happens(_given: Any) -> None:
            if by_key:
                self.world.compromised.add(key.thumbprint)
                for holder in self.world.holders:
                    holder.active = holder.active and holder.key.thumbprint != key.thumbprint

        if by_key:
            self.decide(
                "compromise",
                lambda reader: revocation.revoke_by_key(self.context, reader, key.thumbprint, found, 1),
                happens,
            )
        else:
            self.signed(
                order.account,
                "revoke",
                "/acme/revoke-cert",
                happens,
                lambda reader, account: revocation.revoke_by_account(self.context, reader, account, found, 0),
            )

    @rule(who=few, certain=st.integers(0, 2))
    def deactivate_account(self, who: int, certain: int) -> None:
        holder = self.holder(who)
        if certain:
            return

        def happens(_given: Any) -> None:
            holder.active = False

        account = stored_accounts.get(self.database, holder.id)
        assert account is not None
        if holder.active:
            self.decide("deactivate account", lambda reader: accounts.deactivate(reader, account, self.now), happens)

    @rule(who=few, to_a_certificates=st.booleans(), certain=st.integers(0, 1))
    def change_key(self, who: int, to_a_certificates: bool, certain: int) -> None:
        holder = self.holder(who)
        if certain and not to_a_certificates:
            return
        key = self.world.certificates[-1][1] if to_a_certificates and self.world.certificates else Key()
        text = json.dumps(key.jwk, sort_keys=True, separators=(",", ":"))

        def happens(given: tuple[Account, bool]) -> None:
            assert given[1]
            assert key.thumbprint not in self.world.compromised
            assert all(other.key.thumbprint != key.thumbprint for other in self.world.holders)
            holder.key = key
            for order in self.world.orders.values():
                if order.account is holder and self.status(order) in (Status.PENDING, Status.READY):
                    order.is_bound = False
                    order.ended = bool(order.by_iid - set(order.proofs))

        self.signed(
            holder,
            "change key",
            "/acme/key-change",
            happens,
            lambda reader, account: accounts.change_key(self.context, reader, account, text, key.thumbprint),
        )

    @rule(which=few)
    def enrol(self, which: int) -> None:
        order, ruling = self.ordered(which, Status.READY), self.ruling
        if order is None or order.account.enrolment is not None:
            return

        def happens(given: enrolments.Enrolled) -> None:
            assert order.proven is not None
            machine = self.machine_of(order.proven[0])
            assert set(order.proofs.values()) == {machine.id}
            assert all(ruling.gives(name, machine) for name in order.names)
            assert (machine.blocked, machine.generation) == (False, order.proven[1])
            assert given.made == (given.enrolment.id not in self.world.enrolments)
            self.world.enrolments[given.enrolment.id] = Handed(order.account, machine, order.proven[1])
            assert given.key is not None
            self.register((given.key.id, given.enrolment.id))

        def half(reader: Reader, account: Account) -> Any:
            own = reading.order(reader, account, order.id)
            return enrolments.enrol(self.authority, self.context, reader, account, own, None)

        self.signed(order.account, "enrol", "/acme/enrolment", happens, half)
