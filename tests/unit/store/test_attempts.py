"""Attempts at challenges take turns: by addresses that ask, by targets, first ones first, in all processes together."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from itertools import islice

import pytest
from writing import add_order, happens, pass_time, put

from acme_iid.authority.rounds import Rounds
from acme_iid.errors import Fault, Problem
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Account, Authorization, Challenge, Order
from acme_iid.protocol.status import Status, of_challenge
from acme_iid.store import accounts, attempts, orders
from acme_iid.store.attempts import MOST_AT_TARGET, MOST_OF_ACCOUNT, MOST_OF_ADDRESS, Asked
from acme_iid.store.database import Database, open_store
from acme_iid.store.writes import Question, Reader, Row

NOW = 20
FAULT = Fault(Problem.CONNECTION, "no answer")
_numbers = itertools.count()


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    database = open_store(store_url)
    yield database
    database.close()


def answer(database: Database, address: str, target: str, account_id: str | None = None, count: int = 1) -> list[Asked]:
    """Answer challenges for a target from an address, each by an account of its own unless one is named."""
    made = []
    for _ in range(count):
        owner = account_id or f"account {next(_numbers)}"
        happens(database, accounts.add(Account(owner, "{}", owner, (), 1)))
        name = Identifier("dns", target)
        offered = Authorization("", owner, name, False, 1, 999, (Challenge("", "http-01", "token"),))
        order = add_order(database, Order("", owner, (name,), 1, 999, key=owner, authorizations=(offered,)))
        located = orders.locate(order, 0, 0)
        assert located is not None
        put(database, attempts.ask(located, address, address, NOW))
        made.append(Asked(orders.number(order), 0, 0, address, owner, target))
    return made


def take(database: Database, asked: Asked, now: int = NOW) -> bool:
    return bool(put(database, attempts.take(asked, now, now + 25)))


def taken(database: Database, rounds: Rounds, most: int = 100, now: int = NOW) -> list[Asked]:
    """What a process takes that has room for ``most`` attempts, in its order."""
    found: list[Asked] = []
    for asked in islice(rounds.due(database, now), most):
        assert take(database, asked, now)
        found.append(asked)
    return found


def fail(database: Database, asked: Asked, again_at: int) -> None:
    order = orders.by_number(database, asked.n)
    assert order is not None
    located = orders.locate(order, asked.i, asked.k)
    assert located is not None
    put(database, attempts.postpone(located, FAULT, again_at))


def addresses(found: list[Asked]) -> list[str]:
    return [asked.requester for asked in found]


def test_addresses_take_turns_however_much_each_asks_for(database: Database) -> None:
    for number in range(9):
        answer(database, "a", f"dead{number}.local")
    answer(database, "b", "foo.local", count=2)
    answer(database, "c", "bar.local")
    assert sorted(addresses(taken(database, Rounds(), 3))) == ["a", "b", "c"]


def test_an_address_that_just_had_its_turn_comes_after_waiting_ones(database: Database) -> None:
    rounds = Rounds()
    for number in range(9):
        for address in "abcd":
            answer(database, address, f"dead{number}.{address}.local")
    order: list[Asked] = []
    for _ in range(12):
        # One place, which is free again after each attempt: no address has anything under way then.
        (asked,) = taken(database, rounds, 1)
        fail(database, asked, 900)
        order.append(asked)
    assert {tuple(sorted(addresses(order[start : start + 4]))) for start in (0, 4, 8)} == {("a", "b", "c", "d")}
    late = answer(database, "late", "foo.local")
    assert taken(database, rounds, 1) == late


def test_an_address_has_so_many_attempts_under_way_in_all_processes(database: Database) -> None:
    for number in range(MOST_OF_ADDRESS + 2):
        answer(database, "a", f"dead{number}.local")
    first = taken(database, Rounds(), MOST_OF_ADDRESS - 1)
    assert len(taken(database, Rounds())) == 1
    assert taken(database, Rounds()) == []
    pass_time(database, 25)
    assert addresses(taken(database, Rounds())) == ["a"] * MOST_OF_ADDRESS
    assert len(first) == MOST_OF_ADDRESS - 1


def test_a_target_has_so_many_attempts_under_way_whoever_asks(database: Database) -> None:
    for number in range(MOST_AT_TARGET + 2):
        answer(database, f"a{number}", "dead.local")
    assert len(taken(database, Rounds())) == MOST_AT_TARGET
    other = answer(database, "a0", "foo.local")
    assert taken(database, Rounds()) == other


def test_an_account_has_so_many_attempts_under_way(database: Database) -> None:
    for number in range(MOST_OF_ACCOUNT + 2):
        answer(database, "a", f"dead{number}.local", account_id="one")
    assert len(taken(database, Rounds())) == MOST_OF_ACCOUNT
    other = answer(database, "a", "foo.local")
    assert taken(database, Rounds()) == other


@pytest.mark.parametrize(
    ("most", "others"),
    [
        (MOST_OF_ADDRESS, [("a", f"dead{number}.local", f"b{number}") for number in range(MOST_OF_ADDRESS)]),
        (MOST_OF_ACCOUNT, [(f"a{number}", f"dead{number}.local", "b") for number in range(MOST_OF_ACCOUNT)]),
        (MOST_AT_TARGET, [(f"a{number}", "foo.local", f"b{number}") for number in range(MOST_AT_TARGET)]),
    ],
    ids=["address", "account", "target"],
)
def test_what_is_taken_by_two_processes_at_once_is_no_more_than_that(
    database: Database, most: int, others: list[tuple[str, str, str]]
) -> None:
    (late,) = answer(database, "a", "foo.local", account_id="b")
    ids = [answer(database, *entry)[0] for entry in others]
    assert [take(database, asked) for asked in ids] == [True] * most
    assert not take(database, late)
    fail(database, ids[0], 900)
    assert take(database, late)


def test_targets_of_an_address_take_turns(database: Database) -> None:
    answer(database, "a", "dead.local", count=20)
    answer(database, "a", "foo.local")
    answer(database, "a", "zoo.local", count=20)
    rounds = Rounds()
    targets = [asked.target for asked in taken(database, rounds, 6)]
    assert targets == ["dead.local", "foo.local", "zoo.local", "dead.local", "zoo.local", "dead.local"]


def test_first_attempts_come_before_repeated_ones(database: Database) -> None:
    repeated = answer(database, "a", "dead.local", count=3)
    assert taken(database, Rounds()) == repeated
    for asked in repeated:
        fail(database, asked, NOW + 1)
    first = answer(database, "a", "foo.local", count=2)
    assert taken(database, Rounds(), now=NOW + 10) == [*first, *repeated]


def test_a_repeated_attempt_is_not_due_before_its_time(database: Database) -> None:
    (asked,) = answer(database, "a", "dead.local")
    assert take(database, asked)
    now = int(time.time())
    fail(database, asked, now + 3600)
    assert attempts.requesters(database) == {"a"}
    assert taken(database, Rounds(), now=now) == []
    pass_time(database, 3600)
    assert taken(database, Rounds(), now=now) == [asked]


def test_an_attempt_belongs_to_one_process_until_its_lease_ends(database: Database) -> None:
    (asked,) = answer(database, "a", "x")
    assert take(database, asked)
    assert not take(database, asked)
    assert attempts.under_way(database, NOW) == [asked]
    pass_time(database, 25)
    assert take(database, asked)


class ReadWhileRecorded:
    """A reader of a store in which an outcome is recorded between its first question and the next one."""

    def __init__(self, database: Database, record: Callable[[], None]) -> None:
        self._database = database
        self._record = record
        self._asked = 0

    def rows(self, statement: str, **parameters: object) -> list[Row]:
        self._asked += 1
        if self._asked == 2:
            self._record()
        return self._database.rows(statement, **parameters)

    def ahead(self, *_questions: Question) -> Reader:
        return self


def test_an_outcome_recorded_while_an_order_is_read_is_not_missed(database: Database) -> None:
    (asked,) = answer(database, "192.0.2.1", "foo.local")
    order = orders.by_number(database, asked.n)
    assert order is not None
    located = orders.locate(order, asked.i, asked.k)
    assert located is not None
    assert of_challenge(located.challenge) is Status.PROCESSING

    def record() -> None:
        failed, _ = orders.failed(located, FAULT, NOW)
        put(database, orders.change(failed, NOW), *attempts.decide(located))

    read = orders.by_number(ReadWhileRecorded(database, record), asked.n)
    assert read is not None
    seen = orders.locate(read, asked.i, asked.k)
    assert seen is not None
    assert of_challenge(seen.challenge) is Status.INVALID
