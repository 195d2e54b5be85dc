"""Use cases are decided on what was so, and committed in any order: what happens is what one after the other allows.

Each step either runs the first half of a use case, or commits one or several of the writes that were decided before, on
whatever has become of the store since. A model that knows only what was committed, one after the other, says whether it
could happen then, and what is to be seen of it.
"""

from __future__ import annotations

import functools
import itertools
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from running import ACCOUNT, CA, answer
from wire import Key, csr

from acme_iid import config
from acme_iid.authority import (
    Authority,
    accounts,
    authorizations,
    challenges,
    enrolments,
    finalization,
    instances,
    orders,
    pruning,
    reading,
    revocation,
)
from acme_iid.errors import AcmeError, RequestError
from acme_iid.issuance.ca import CertificateAuthority
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Account
from acme_iid.protocol.status import Status, of_order
from acme_iid.simulator import aws
from acme_iid.sources import trust_store
from acme_iid.store import accounts as stored_accounts
from acme_iid.store import certificates, events
from acme_iid.store import instances as stored_instances
from acme_iid.store import orders as stored_orders
from acme_iid.store.database import Database, SQLite, Transaction, open_store
from acme_iid.store.sealing import Unsealed
from acme_iid.store.writes import Committed, Outcome, Question, Reader, Row, Write

NAMES = (Identifier("dns", "foo.local"), Identifier("dns", "bar.local"))
REMOTE = "127.0.0.1"
WEEK_AND_MORE = 8 * 86400
few = st.integers(0, 3)


@functools.cache
def authority() -> Authority:
    """The CA of this test process."""
    home = Path(tempfile.mkdtemp(prefix="acme-iid-halves-"))
    ca = CA(home / "ca")
    ca.init()
    loaded = config.load(ca.home)
    made = Authority(
        loaded, open_store(loaded.store.url), CertificateAuthority.load(ca.home, None), trust_store(loaded.trust)
    )
    _HOMES.append((home, made.database))
    return made


_HOMES: list[tuple[Path, Database]] = []


@pytest.fixture(scope="module", autouse=True)
def removed() -> Iterator[None]:
    yield
    authority.cache_clear()
    while _HOMES:
        home, database = _HOMES.pop()
        database.close()
        shutil.rmtree(home)


class DecidedError(Exception):
    """What an operator's command was about to commit."""

    def __init__(self, write: Write[Any]) -> None:
        super().__init__()
        self.write = write


class FirstHalf:
    """A store in which a command gets as far as what it would commit."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def rows(self, statement: str, **parameters: object) -> list[Row]:
        return self._database.rows(statement, **parameters)

    def commit(self, write: Write[Any]) -> Outcome:
        # What follows the events, so that lists are up to date, is no decision and records nothing.
        if write.events:
            raise DecidedError(write)
        return self._database.commit(write)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        with self._database.transaction() as transaction:
            yield transaction

    migration = transaction

    def ahead(self, *questions: Question) -> Reader:
        return self._database.ahead(*questions)

    def seal(self, *, waits: bool = True) -> None:
        self._database.seal(waits=waits)

    def unsealed(self) -> Unsealed:
        return self._database.unsealed()

    def dialect(self) -> str:
        return self._database.dialect()

    def close(self) -> None:
        self._database.close()


@dataclass
class Holder:
    """An account, as the model knows it."""

    id: str
    key: Key
    active: bool = True
    enrolment: str | None = None


@dataclass
class Machine:
    """An instance, as the model knows it."""

    cloud: aws.Instance
    generation: int = 0
    blocked: bool = False
    holder: str | None = None
    released_to: str | None = None
    is_there: bool = False

    @property
    def id(self) -> str:
        return f"aws:aws:{ACCOUNT}:{self.cloud.region}:{self.cloud.instance_id}"


@dataclass
class Ordered:
    """An order, as the model knows it."""

    id: str
    account: Holder
    key: str
    made_at: int
    proven: tuple[str, int] | None = None
    ready: bool = False
    ended: bool = False
    issued: bool = False


@dataclass
class Handed:
    """An enrolment, as the model knows it."""

    account: Holder
    machine: Machine
    generation: int
    ended: bool = False


@dataclass(frozen=True)
class Decided:
    """A write that was decided.

    :ivar happens: what the model does of it, given its answer; it raises if that cannot be.
    :ivar at: how many writes had been committed when it was decided.
    """

    what: str
    write: Write[Any]
    happens: Callable[[Any], None]
    at: int


@dataclass
class World:
    """What was committed."""

    holders: list[Holder] = field(default_factory=list)
    machines: list[Machine] = field(default_factory=list)
    orders: dict[str, Ordered] = field(default_factory=dict)
    enrolments: dict[str, Handed] = field(default_factory=dict)
    certificates: list[tuple[str, Key]] = field(default_factory=list)
    compromised: set[str] = field(default_factory=set)


class Halves(RuleBasedStateMachine):
    """The first halves of use cases, and commits of what they have decided."""

    def __init__(self) -> None:
        super().__init__()
        self.authority = authority()
        self.database = self.authority.database
        self.world = World()
        self.decided: list[Decided] = []
        self.commits = 0
        self.now = 1_800_000_000 + next(_EXAMPLES) * 10
        self.database.seal()
        self.chained = events.head(self.database).seq

    @initialize()
    def begin(self) -> None:
        self.world.machines = [Machine(aws.Instance(account=ACCOUNT)) for _ in range(2)]
        for _ in range(2):
            self.register(None)
        self.proceed(0, 0)

    def at_once(self, what: str) -> None:
        """Commit what was decided last, if that is it."""
        if self.decided and self.decided[-1].what == what:
            self.commit_one(len(self.decided) - 1)

    @rule(who=few, of=few)
    def proceed(self, who: int, of: int) -> None:
        """Make an order and prove it at once."""
        self.new_order(who, two=False)
        self.at_once("newOrder")
        self.answer(-1, of, good=1)
        self.at_once("answer")

    @rule(which=few)
    def issue(self, which: int) -> None:
        """Get a certificate at once."""
        self.finalize(which, again=False)
        self.at_once("finalize")

    @rule(which=few)
    def hand_on(self, which: int) -> None:
        """Enrol and make the delegate's account at once."""
        self.enrol(which)
        self.at_once("enrol")
        self.at_once("newAccount")

    # What there is to choose from.

    def holder(self, number: int) -> Holder:
        return self.world.holders[number % len(self.world.holders)]

    def machine(self, number: int) -> Machine:
        return self.world.machines[number % len(self.world.machines)]

    def machine_of(self, instance_id: str) -> Machine:
        return next(machine for machine in self.world.machines if machine.id == instance_id)

    def ordered(self, number: int, status: Status | None = None) -> Ordered | None:
        """An order, of those that seem to be in a state."""
        found = [order for order in self.world.orders.values() if status is None or self.status(order) is status]
        return found[number % len(found)] if found else None

    def account(self, holder: Holder) -> Account | None:
        """The account of a request that it signs now."""
        found = stored_accounts.get(self.database, holder.id)
        assert found is not None
        assert (found.deactivated_at is None, found.thumbprint) == (holder.active, holder.key.thumbprint)
        return found if holder.active else None

    # First halves.

    def decide(
        self, what: str, half: Callable[[Reader], Any], happens: Callable[[Any], None], *, at: int | None = None
    ) -> None:
        """Run the first half of a use case; what it decides to write waits for its commit."""
        try:
            decided = half(self.database)
        except DecidedError as caught:
            decided = caught.write
        except (AcmeError, RequestError):
            return
        if isinstance(decided, Write):
            self.decided.append(Decided(what, decided, happens, self.commits if at is None else at))

    def signed(self, holder: Holder, what: str, happens: Callable[[Any], None], half: Callable[..., Any]) -> None:
        """The same for a request of an account."""
        account = self.account(holder)
        if account is None:
            return
        thumbprint = account.thumbprint

        def committed(given: Any) -> None:
            assert holder.active, what
            assert holder.key.thumbprint == thumbprint, what
            happens(given)

        self.decide(what, lambda reader: half(reader, account), committed)

    def register(self, enrolment: tuple[str, str] | None) -> None:
        key = Key()
        wanted = accounts.NewAccount(
            json.dumps(key.jwk, sort_keys=True, separators=(",", ":")),
            key.thumbprint,
            (),
            external_key_id=None if enrolment is None else enrolment[0],
        )

        def happens(given: tuple[Account, bool]) -> None:
            if enrolment is not None:
                handed = self.world.enrolments[enrolment[1]]
                assert not handed.ended
                assert handed.generation == handed.machine.generation
            self.world.holders.append(Holder(given[0].id, key, enrolment=None if enrolment is None else enrolment[1]))

        self.decide(
            "newAccount",
            lambda reader: accounts.create(reader, self.authority.config, wanted, REMOTE, self.now),
            happens,
        )
        if enrolment is None:
            self.commit_one(len(self.decided) - 1)

    @rule(who=few, two=st.booleans())
    def new_order(self, who: int, two: bool) -> None:
        holder = self.holder(who)
        wanted = orders.NewOrder(NAMES[: 1 + two])

        def happens(given: Any) -> None:
            order = Ordered(given.id, holder, holder.key.thumbprint, given.created_at)
            if holder.enrolment is not None:
                handed = self.world.enrolments[holder.enrolment]
                assert not handed.ended
                assert not handed.machine.blocked
                assert handed.generation == handed.machine.generation
                order.proven, order.ready = (handed.machine.id, handed.generation), True
            self.world.orders[order.id] = order

        self.signed(
            holder,
            "newOrder",
            happens,
            lambda reader, account: orders.new_order(reader, self.authority, account, wanted, REMOTE, self.now),
        )

    @rule(which=few, of=few, good=st.integers(0, 4))
    def answer(self, which: int, of: int, good: int) -> None:
        order = self.ordered(which, Status.PENDING)
        if order is None:
            return
        read = stored_orders.get(self.database, order.id)
        assert read is not None
        pending = [entry for entry in read.authorizations if not entry.challenges[0].validated_at]
        machine = self.machine(of)
        given = dict(answer(machine.cloud)) if good else {"format": "aws-rsa2048", "evidence": "AAAA"}
        is_last = len(pending) == 1
        generation = machine.generation

        def happens(answered: Any) -> None:
            if answered[1].validated_at is None:
                order.ended = True
                return
            assert self.status(order) is Status.PENDING
            assert (machine.blocked, machine.generation) == (False, generation)
            assert machine.holder in (None, order.account.id)
            assert machine.holder or machine.released_to in (None, order.account.key.thumbprint)
            machine.holder, machine.released_to, machine.is_there = order.account.id, None, True
            order.proven, order.ready = (machine.id, generation), is_last

        self.signed(
            order.account,
            "answer",
            happens,
            lambda reader, account: challenges.answer(
                reader, self.authority, account, pending[0].challenges[0].id, given, b"", REMOTE, self.now
            ),
        )

    @rule(which=few, again=st.booleans())
    def finalize(self, which: int, again: bool) -> None:
        order = self.ordered(which, Status.READY)
        if order is None:
            return
        read = stored_orders.get(self.database, order.id)
        assert read is not None
        key = (
            self.world.certificates[which % len(self.world.certificates)][1]
            if again and self.world.certificates
            else Key()
        )
        request = csr(*(name.value for name in read.identifiers), key=key)[1]

        def happens(_given: Any) -> None:
            assert self.status(order) is Status.READY
            assert order.proven is not None
            machine = self.machine_of(order.proven[0])
            assert not machine.blocked
            assert key.thumbprint not in self.world.compromised
            order.issued = True
            self.world.certificates.append((order.id, key))

        def half(reader: Reader, account: Account) -> Any:
            own = reading.order(reader, account, order.id)
            return finalization.finalize(reader, self.authority, account, own, request, REMOTE, self.now)

        self.signed(order.account, "finalize", happens, half)

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
                lambda reader: revocation.revoke_by_key(reader, key.thumbprint, found, 1, REMOTE, self.now),
                happens,
            )
        else:
            self.signed(
                order.account,
                "revoke",
                happens,
                lambda reader, account: revocation.revoke_by_account(reader, account, found, 0, REMOTE, self.now),
            )

    def act(self, what: str, act: Callable[[Database], object], happens: Callable[[Any], None]) -> None:
        """An operator's command, as far as what it would commit."""
        # Whoever reads a list has it follow first, which is a commit, and changes nothing that anybody decides on.
        self.decide(what, lambda _reader: act(FirstHalf(self.database)), happens)

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
            instances.reopen(self.database, instances.find(self.database, machine.id), name, self.now)
            self.commits += 1

    @rule(who=few, certain=st.integers(0, 2))
    def deactivate_account(self, who: int, certain: int) -> None:
        holder = self.holder(who)
        if certain:
            return

        def happens(_given: Any) -> None:
            holder.active = False

        account = self.account(holder)
        if account is not None:
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

        self.signed(
            holder,
            "change key",
            happens,
            lambda reader, account: accounts.change_key(reader, account, text, key.thumbprint, REMOTE, self.now),
        )

    @rule(which=few)
    def enrol(self, which: int) -> None:
        order = self.ordered(which, Status.READY)
        if order is None or order.account.enrolment is not None:
            return

        def happens(given: enrolments.Enrolled) -> None:
            assert order.proven is not None
            machine = self.machine_of(order.proven[0])
            assert (machine.blocked, machine.generation) == (False, order.proven[1])
            handed = Handed(order.account, machine, order.proven[1])
            assert given.made == (given.enrolment.id not in self.world.enrolments)
            self.world.enrolments[given.enrolment.id] = handed
            assert given.key is not None
            self.register((given.key.id, given.enrolment.id))

        def half(reader: Reader, account: Account) -> Any:
            own = reading.order(reader, account, order.id)
            return enrolments.enrol(reader, self.authority, account, own, None, REMOTE, self.now)

        self.signed(order.account, "enrol", happens, half)

    @rule(certain=st.integers(0, 2))
    def prune(self, certain: int) -> None:
        """Remove what came to nothing, by a clock that is ahead; what was decided on it is still to be committed."""
        if certain:
            return
        pruning.prune(self.authority.config, self.database, "operator", self.now + WEEK_AND_MORE)
        self.world.orders = {order.id: order for order in self.world.orders.values() if order.issued}
        self.commits += 1

    @rule()
    def time_passes(self) -> None:
        self.now += 1

    # Second halves.

    @precondition(lambda self: self.decided)
    @rule(which=st.integers(0, 50))
    def commit(self, which: int) -> None:
        self.commit_one(which % len(self.decided))

    def commit_one(self, place: int) -> None:
        self.settle([self.decided.pop(place)], [self.database.commit])

    @precondition(lambda self: len(self.decided) > 1)
    @rule(picked=st.permutations(range(5)))
    def commit_several(self, picked: Sequence[int]) -> None:
        """Commit up to five of what was decided, together where the store does that."""
        several = [self.decided[place] for place in picked if place < len(self.decided)]
        self.decided = [decided for decided in self.decided if decided not in several]
        if isinstance(self.database, SQLite):
            outcomes = self.database.commit_all([decided.write for decided in several])
            self.settle(several, [partial(_given, outcome) for outcome in outcomes])
        else:
            self.settle(several, [self.database.commit] * len(several))

    def settle(
        self, several: Sequence[Decided], commits: Sequence[Callable[[Write[Any]], Outcome | Exception]]
    ) -> None:
        for decided, commit in zip(several, commits, strict=True):
            outcome = commit(decided.write)
            assert not isinstance(outcome, Exception), decided.what
            if not isinstance(outcome, Committed):
                # Either it is refused for good, or others came in between.
                refused = outcome.verdict(self.database) is not None
                assert refused or self.commits > decided.at, f"{decided.what}: nothing had happened since"
                continue
            try:
                given = decided.write.answer(outcome.rows)
            except AcmeError:
                given = None  # a refusal that is recorded
            self.commits += 1
            if given is not None or decided.what in ("revoke", "compromise", "unblock"):
                decided.happens(given)
            for event in decided.write.events:
                self.recorded(event.kind, event.instance_id, json.loads(event.detail))

    def recorded(self, kind: str, instance_id: str | None, detail: dict[str, Any]) -> None:
        """What an event of a write says that the model does not reckon by itself."""
        if kind == "enrolment.ended" and detail["enrolment"] in self.world.enrolments:
            self.world.enrolments[detail["enrolment"]].ended = True
        if kind == "certificate.revoked" and detail["closed"]:
            assert instance_id is not None
            self.machine_of(instance_id).generation += 1

    # What must hold.

    def status(self, order: Ordered) -> Status:
        """What is to be shown of an order."""
        if order.issued:
            return Status.VALID
        if order.ended:
            return Status.INVALID
        if not order.ready and order.key != order.account.key.thumbprint:
            return Status.INVALID
        handed = None if order.account.enrolment is None else self.world.enrolments[order.account.enrolment]
        lost = order.proven is not None and self.machine_of(order.proven[0]).generation != order.proven[1]
        if lost or (handed is not None and handed.ended):
            return Status.INVALID
        return Status.READY if order.ready else Status.PENDING

    @invariant()
    def what_is_shown_is_what_the_model_says(self) -> None:
        for order in self.world.orders.values():
            read = stored_orders.get(self.database, order.id)
            assert read is not None
            assert of_order(read, self.now) is self.status(order), order
            number = stored_orders.number(read)
            issued = self.database.rows("SELECT 1 FROM certificates WHERE n = :n", n=number)
            assert len(issued) == order.issued

    @invariant()
    def instances_are_what_the_model_says(self) -> None:
        for machine in self.world.machines:
            found = stored_instances.get(self.database, machine.id)
            assert (found is not None) == machine.is_there
            if found is not None:
                assert (found.generation, found.blocked_at is not None) == (machine.generation, machine.blocked)
                assert (found.account_id, found.release_to) == (machine.holder, machine.released_to)

    @invariant()
    def no_account_has_a_compromised_key(self) -> None:
        for holder in self.world.holders:
            self.account(holder)
            assert not (holder.active and holder.key.thumbprint in self.world.compromised)

    def teardown(self) -> None:
        self.database.seal()
        links = list(events.check(self.database, self.chained + 1))
        assert not self.commits or links


def _given(outcome: Outcome | Exception, _write: Write[Any]) -> Outcome | Exception:
    return outcome


_EXAMPLES = itertools.count()


def test_what_halves_in_any_order_leave_is_what_one_after_the_other_allows() -> None:
    run_state_machine_as_test(
        Halves,
        settings=settings(
            deadline=None, max_examples=60, stateful_step_count=60, suppress_health_check=list(HealthCheck)
        ),
    )
