"""Commits of what was decided, alone and together, whole and with a failure in their midst (tests/stories/races)."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NoReturn

from halves_deciding import few
from halves_operating import Operating
from halves_world import Decided, Store, home
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from acme_iid.errors import AcmeError, OutcomeUnknownError, StoreConflictError, StoreUnavailableError
from acme_iid.store.batches import Batches
from acme_iid.store.chain import Event
from acme_iid.store.database import SQLite
from acme_iid.store.writes import Committed, Outcome, Refused, Row, Statement, Write, again

ALONE = ("statement", "event", "guard")
"""Failures that are one write's alone."""
OF_SQLITE = (*ALONE, "full", "busy", "answer", "gone")
OF_POSTGRESQL = (*ALONE, "terminated", "conflict", "conflict once", "cut")
_MARK = "INSERT INTO ballast (id) VALUES (:id)"
_numbers = itertools.count()


class AnswerError(Exception):
    """A fault of ours in what makes an answer."""


class Locking(Store):
    """A store that another program writes to when a batch comes, and no longer when it has said so."""

    def __init__(self, store: Store, path: str | None) -> None:
        super().__init__(store.database)
        self._store = store
        self._other = None if path is None else sqlite3.connect(path, isolation_level=None)
        if self._other is not None:
            self._other.execute("BEGIN IMMEDIATE")
        self.outcomes: dict[int, Outcome | Exception] = {}
        """Of each write, by its identity."""

    def commit_all(self, writes: Sequence[Write[Any]], *, waits: bool = True) -> list[Outcome | Exception]:
        try:
            outcomes = self._store.commit_all(writes, waits=waits)
        except StoreUnavailableError:
            self.end()
            raise
        self.outcomes |= {id(write): outcome for write, outcome in zip(writes, outcomes, strict=True)}
        return outcomes

    def end(self) -> None:
        """The other program ends."""
        if self._other is not None:
            self._other.close()
            self._other = None


def _fails(rows: Sequence[Row]) -> NoReturn:
    raise AnswerError(rows)


class Committing(Operating):
    """Second halves, and what may go wrong in them."""

    @initialize()
    def begin(self) -> None:
        with self.database.transaction() as transaction:
            transaction.run("DELETE FROM ballast")
            # Those of an example before would count among what is under way.
            transaction.run("DELETE FROM attempts")
            transaction.run("INSERT INTO ballast (id) VALUES ('first')")
        self.others = self.count("accounts"), self.count("enrolments")
        for _ in range(2):
            self.register(None)
            self.at_once("newAccount")
        self.proceed(0, 0)

    def count(self, table: str) -> int:
        """How many rows a table has."""
        rows = self.database.rows(f"SELECT count(*) AS number FROM {table}")  # noqa: S608 - a word of ours
        return int(rows[0]["number"])

    # Whole ways, with nothing in between.

    def at_once(self, what: str) -> None:
        if self.decided and self.decided[-1].what == what:
            self.settle([self.decided.pop()])

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

    # Commits.

    @precondition(lambda self: self.decided)
    @rule(which=st.integers(0, 50))
    def commit(self, which: int) -> None:
        """Commit one of what was decided."""
        self.settle([self.decided.pop(which % len(self.decided))])

    def several(self, picked: Sequence[int]) -> list[Decided]:
        """Take up to five of what was decided."""
        several = [self.decided[place] for place in picked if place < len(self.decided)]
        self.decided = [decided for decided in self.decided if decided not in several]
        return several

    @precondition(lambda self: len(self.decided) > 1)
    @rule(picked=st.permutations(range(5)))
    def commit_several(self, picked: Sequence[int]) -> None:
        """Commit up to five of what was decided, together where the store does that."""
        self.settle(self.several(picked))

    @precondition(lambda self: self.decided)
    @rule(picked=st.permutations(range(5)), at=st.integers(0, 12), kind=st.integers(0, 6), which=st.integers(0, 4))
    def commit_with_a_failure(self, picked: Sequence[int], at: int, kind: int, which: int) -> None:
        """The same, with a failure before or after a statement of one of them."""
        several = self.several(picked)
        if not several:
            return
        kinds = OF_SQLITE if isinstance(self.database, SQLite) else OF_POSTGRESQL
        self.settle(several, kinds[kind % len(kinds)], which % len(several), at)

    def settle(self, several: Sequence[Decided], failure: str | None = None, place: int = 0, at: int = 0) -> None:
        """Commit, and have the model do what the store has done.

        :param failure: what goes wrong; None for nothing.
        :param place: in which write.
        :param at: before which of its statements.
        """
        mark = f"mark-{next(_numbers)}"
        writes = [decided.write for decided in several]
        if failure is not None:
            writes[place] = self.failing(writes[place], failure, mark, at)
        if isinstance(self.database, SQLite):
            outcomes = self.together(self.database, writes, failure, place)
        else:
            outcomes = [self.apart(write) for write in writes]
        for number, (decided, found) in enumerate(zip(several, outcomes, strict=True)):
            outcome = found
            # A full disk ends all of a batch, unless a guard of the write in which it was met has failed before.
            is_struck = failure == "full" and not isinstance(outcomes[place], Refused)
            failed = failure if number == place or is_struck else None
            if isinstance(outcome, OutcomeUnknownError) and failed == "cut":
                outcome = self.after_cut(decided, mark) or outcome
            self.settle_one(decided, outcome, failed)
            if number == place and failure is not None:
                assert self.is_marked(mark) == isinstance(outcome, Committed)

    def settle_one(self, decided: Decided, outcome: Outcome | Exception, failed: str | None) -> None:
        if isinstance(outcome, Exception):
            # It was not answered, and nothing of it is there: whoever asked may ask once more.
            assert failed is not None, (decided.what, outcome)
            assert failed not in ("guard", "busy", "conflict once", "answer", "gone"), (decided.what, outcome)
            assert isinstance(outcome, StoreUnavailableError) == (failed not in ALONE), outcome
            assert isinstance(outcome, StoreConflictError) == (failed == "conflict"), outcome
            assert isinstance(outcome, OutcomeUnknownError) == (failed in ("terminated", "cut")), outcome
            self.decided.append(decided)
            return
        if isinstance(outcome, Refused):
            # Either it is refused for good, or others came in between.
            refused = outcome.verdict(self.database) is not None
            is_free = failed == "guard" or self.commits > decided.at
            assert refused or is_free, f"{decided.what}: nothing had happened since"
            return
        assert failed in (None, "busy", "conflict once", "answer", "gone", "cut"), (decided.what, failed)
        try:
            given = decided.write.answer(outcome.rows)
        except AcmeError:
            given = None  # a refusal that is recorded
        self.commits += 1
        if given is not None or decided.what in ("revoke", "compromise", "unblock", "validate"):
            decided.happens(given)
        for event in decided.write.events:
            self.recorded(event.kind, None if event.instance is None else event.instance.id, dict(event.detail))

    def recorded(self, kind: str, instance_id: str | None, detail: dict[str, Any]) -> None:
        """What an event of a write says that the model does not reckon by itself."""
        if kind == "enrolment.ended" and detail["enrolment"] in self.world.enrolments:
            self.world.enrolments[detail["enrolment"]].ended = True
        if kind == "certificate.revoked" and detail["closed"]:
            assert instance_id is not None
            self.machine_of(instance_id).generation += 1

    # Failures.

    def failing(self, write: Write[Any], failure: str, mark: str, at: int) -> Write[Any]:
        """A write with a failure before one of its statements, and with a mark that stands for all that it does."""
        if failure == "event":
            # No column takes a text that is no text.
            bad = Event("no.event", self.now, name="\ud800")
            return replace(write, statements=[Statement(_MARK, {"id": mark}), *write.statements],
                           events=[*write.events, bad])  # fmt: skip
        fault = {
            "statement": Statement("INSERT INTO ballast (id) VALUES ('first')", {}),
            "guard": Statement("UPDATE ballast SET id = id WHERE 1 = 0", {}, again),
            "full": Statement("INSERT INTO ballast VALUES ('full', zeroblob(:octets))", {"octets": self.too_many()}),
            "terminated": Statement("SELECT pg_terminate_backend(pg_backend_pid())", {}),
            "conflict": Statement("SELECT conflict(TRUE)", {}),
            "conflict once": Statement("SELECT conflict(FALSE)", {}),
        }.get(failure)
        place = at % (len(write.statements) + 1)
        further = [Statement(_MARK, {"id": mark}), *([] if fault is None else [fault])]
        if failure == "cut":
            relay = home().relay
            assert relay is not None
            relay.cut_after(mark.encode())
        return replace(write, statements=[*write.statements[:place], *further, *write.statements[place:]])

    def too_many(self) -> int:
        """More octets than there is room for in SQLite's file, whose size has a bound while a disk is full."""
        if not isinstance(self.database, SQLite):
            return 0
        return (int(next(iter(dict(self.database.rows("PRAGMA freelist_count")[0]).values()))) + 100) * 4096

    def together(
        self, database: SQLite, writes: Sequence[Write[Any]], failure: str | None, place: int
    ) -> list[Outcome | Exception]:
        """Commit several writes in a batch of one loop; what came of each, whether or not somebody was there to see."""
        if failure == "full":
            pages = next(iter(dict(database.rows("PRAGMA page_count")[0]).values()))
            database.rows(f"PRAGMA max_page_count = {pages + 16}")
        store = Locking(self.store, str(database.path) if failure == "busy" else None)
        try:
            found = asyncio.run(_commit(store, writes, failure, place))
        finally:
            store.end()
            if failure == "full":
                database.rows("PRAGMA max_page_count = 1000000000")
        if failure in ("answer", "gone"):
            seen = found[place]
            found[place] = store.outcomes[id(writes[place])]
            is_committed = isinstance(found[place], Committed)
            expected = asyncio.CancelledError if failure == "gone" else AnswerError if is_committed else Refused
            assert isinstance(seen, expected), seen
        assert all(isinstance(outcome, Committed | Refused | Exception) for outcome in found)
        return [outcome for outcome in found if isinstance(outcome, Committed | Refused | Exception)]

    def apart(self, write: Write[Any]) -> Outcome | Exception:
        """Commit a write in a transaction of its own."""
        try:
            return self.store.commit(write)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is looked at
            return error

    def after_cut(self, decided: Decided, mark: str) -> Committed | None:
        """What was committed, though its answer was lost; None if nothing was."""
        deadline = time.monotonic() + 60
        while self.database.rows(
            """SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
               AND backend_type = 'client backend' AND state <> 'idle'"""
        ):
            assert time.monotonic() < deadline, "the transaction of the connection that was cut goes on and on"
            time.sleep(0.01)
        if not self.is_marked(mark):
            return None
        self.store.events += decided.write.events
        rows: list[Row] = []
        if decided.what == "newOrder":
            rows = self.database.rows("SELECT max(n) AS n FROM orders")
        if decided.what == "take":
            (taken,) = [one.values for one in decided.write.statements]
            is_free = "SELECT attempts FROM attempts WHERE n = :n AND i = :i AND k = :k AND attempts > :number"
            known = self.attempts_known().get((int(str(taken["n"])), int(str(taken["i"]))), 0)
            rows = self.database.rows(is_free, n=taken["n"], i=taken["i"], k=taken["k"], number=known)
        return Committed(rows)

    def attempts_known(self) -> dict[tuple[int, int], int]:
        """How often each challenge was looked for, by its order's number and its place, as the model has it."""
        return {
            (attempted.asked.n, place): attempted.number
            for order in self.world.orders.values()
            for place, attempted in order.attempts.items()
        }

    def is_marked(self, mark: str) -> bool:
        """Whether a write with a mark has happened."""
        return bool(self.database.rows("SELECT 1 FROM ballast WHERE id = :id", id=mark))


async def _commit(store: Store, writes: Sequence[Write[Any]], failure: str | None, place: int) -> list[object]:
    """Commit writes in one turn of a loop, each as a task: one may fail to answer, or its client go away."""
    batches = Batches(store)
    tasks: list[asyncio.Task[Any]] = []
    for number, write in enumerate(writes):
        tasks.append(asyncio.create_task(_answered(batches, write, fails=failure == "answer" and number == place)))
    if failure == "gone":
        await asyncio.sleep(0)  # it has been queued, and nothing is committed yet
        tasks[place].cancel()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    if failure is not None:
        # All that was queued before this has been committed by then, and whatever is queued once more.
        await batches.commit(Write([], tuple))
    return list(found)


async def _answered(batches: Batches, write: Write[Any], *, fails: bool) -> Outcome:
    outcome = await batches.commit(write)
    if fails and isinstance(outcome, Committed):
        _fails(outcome.rows)
    return outcome
