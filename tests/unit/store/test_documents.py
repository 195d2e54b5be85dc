"""What an order's document holds, and what follows from what has happened to others since."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from writing import add_order, key, put, read

from acme_iid.errors import Fault, Problem, Remedy
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Account, Authorization, Challenge, Enrolment, Instance, Order, Proof
from acme_iid.protocol.status import Status, of_authorization, of_order
from acme_iid.store import accounts, attempts, documents, enrolments, instances, orders
from acme_iid.store.database import Database, open_store
from acme_iid.store.writes import Row, again

FOO, BAR = Identifier("dns", "foo.local"), Identifier("dns", "bar.local")
INSTANCE = "aws:aws:123456789042:eu-west-1:i-0123456789abcdef0"
BY_INSTANCE = Proof(INSTANCE, "aws", "AWS", "123456789042")
BY_HOST = Proof(None, "acme", "Racks", "")
LOST = Fault(Problem.UNAUTHORIZED, "an operator blocked this instance")

names = st.one_of(
    st.from_regex(r"(\*\.)?[a-z]{1,8}\.local", fullmatch=True).map(lambda value: Identifier("dns", value)),
    st.integers(1, 254).map(lambda number: Identifier("ip", f"192.0.2.{number}")),
)
times = st.integers(1, 1 << 40)
faults = st.builds(Fault, st.sampled_from(Problem), st.text(max_size=80), remedy=st.sampled_from([None, *Remedy]))
proofs = st.tuples(
    st.sampled_from([BY_INSTANCE, BY_HOST, replace(BY_INSTANCE, provisioner="Ünïcode")]),
    st.lists(names, max_size=3).map(tuple),
    st.one_of(st.none(), st.text(max_size=20)),
)


@st.composite
def challenges(draw: st.DrawFn, kind: str) -> Challenge:
    challenge = Challenge("", kind, draw(st.text(max_size=10)))
    match draw(st.sampled_from(["pending", "valid", "failed"])):
        case "valid":
            proof, held, identity = draw(proofs)
            return replace(challenge, validated_at=draw(times), proof=proof, names=held, identity=identity)
        case "failed":
            return replace(challenge, failed_at=draw(times), error=draw(st.one_of(st.none(), faults)))
        case _:
            return challenge


@st.composite
def whole_orders(draw: st.DrawFn) -> Order:
    """An order in whatever state, numbered, some of whose authorizations are limited, or were made ahead of it."""
    asked = tuple(draw(st.lists(names, min_size=1, max_size=4, unique=True)))
    expires_at = draw(times)
    entries = []
    for name in asked:
        kinds = draw(st.lists(st.sampled_from(["iid-01", "http-01", "dns-01"]), min_size=1, unique=True))
        offered = tuple(draw(challenges(kind)) for kind in kinds)
        until = draw(st.one_of(st.just(expires_at), times))
        entries.append(Authorization("", "a", name.base, name.wildcard, 1, until, offered))
    numbered = orders.numbered(
        Order(
            "",
            "a",
            asked,
            created_at=1,
            expires_at=expires_at,
            key="t",
            ahead=draw(st.booleans()),
            instance_id=draw(st.sampled_from([None, INSTANCE])),
            generation=7,
            not_before=draw(st.one_of(st.none(), times)),
            not_after=draw(st.one_of(st.none(), times)),
            profile=draw(st.one_of(st.none(), st.text(min_size=1, max_size=10))),
            replaces=draw(st.sampled_from([None, "aYhba4dGZkHhs3uEe6CuLN4ByNQ.AIdlQyE"])),
            ended_at=draw(st.one_of(st.none(), times)),
            error=draw(st.one_of(st.none(), faults)),
            authorizations=tuple(entries),
        ),
        draw(st.integers(1, 10**18 - 1)),
        "A" * 16,
    )
    return replace(numbered, authorizations=tuple(draw(later(numbered, entry)) for entry in numbered.authorizations))


@st.composite
def later(draw: st.DrawFn, order: Order, entry: Authorization) -> Authorization:
    """An authorization of an order as it may have become: deactivated, without a challenge, or one made ahead."""
    kept = draw(st.lists(st.sampled_from(entry.challenges), min_size=1, unique=True))
    entry = replace(entry, challenges=tuple(one for one in entry.challenges if one in kept))
    if order.ended_at is not None and draw(st.booleans()):
        entry = replace(entry, deactivated_at=draw(times))
    if draw(st.integers(0, 4)) == 0:
        number = entry.id.rpartition(".")[2]
        entry = replace(entry, id=f"5.{'B' * 15}{number}.0")
    return entry


def row_of(order: Order, **facts: object) -> dict[str, Any]:
    """The row of an order with what is joined to it, of which nothing has happened to anybody."""
    return {
        **orders.add(order, "").values,
        **orders.change(order, 1).values,
        "n": orders.number(order),
        "tag": order.id.partition(".")[2],
        "issued_at": order.issued_at,
        "taken_at": order.taken_at,
        "thumbprint": order.key,
        "key_since": 1,
        "generation_now": order.generation,
        "raised_at": 1,
        "raised_for": "",
        "enrolment_ended_at": None,
        "enrolment_reason": None,
        **facts,
    }


def derive(row: Row, ahead: dict[str, Authorization] | None = None) -> Order:
    return documents.order_of(row, documents.parse(row), (), ahead)


def ahead_of(order: Order) -> dict[str, Authorization]:
    return {entry.id: entry for entry in order.authorizations if not entry.id.startswith(f"{order.id}.")}


@given(whole_orders())
def test_an_order_that_is_stored_is_read(order: Order) -> None:
    assert derive(row_of(order), ahead_of(order)) == order


@given(whole_orders())
def test_what_is_read_is_stored_again_in_the_same_words(order: Order) -> None:
    found = derive(row_of(order), ahead_of(order))
    assert documents.document(found) == documents.document(order)


@given(whole_orders())
def test_an_order_refers_to_what_was_made_ahead_of_it_and_keeps_no_copy(order: Order) -> None:
    row = row_of(order)
    assert [str(made) for made in documents.ahead_of(documents.parse(row))] == [
        entry.id.rpartition(".")[0] for entry in order.authorizations if not entry.id.startswith(f"{order.id}.")
    ]
    without = derive(row)
    assert list(without.authorizations) == [
        entry for entry in order.authorizations if entry.id.startswith(f"{order.id}.")
    ]
    if len(without.authorizations) < len(order.authorizations) and not order.ahead:
        assert of_order(without, 0) is Status.INVALID


def test_a_hundred_names_have_their_proof_once() -> None:
    asked = tuple(Identifier("dns", f"n{number}.local") for number in range(100))
    met = Challenge("", "iid-01", "t", validated_at=5, proof=BY_INSTANCE, names=asked, identity="x" * 1000)
    entries = tuple(Authorization("", "a", name, False, 1, 100, (met,)) for name in asked)
    text = documents.document(Order("", "a", asked, 1, 100, authorizations=entries))
    assert text.count("x" * 1000) == 1
    assert len(text) < 20_000


def test_an_order_and_the_challenge_that_ended_it_have_their_error_once() -> None:
    error = Fault(Problem.UNAUTHORIZED, "x" * 300)
    failed = Challenge("1.AAAAAAAAAAAAAAAA.0.0", "iid-01", "t", failed_at=5, error=error)
    asked = (Identifier("dns", "foo.local"),)
    entries = (Authorization("1.AAAAAAAAAAAAAAAA.0", "a", asked[0], False, 1, 100, (failed,)),)
    order = Order("1.AAAAAAAAAAAAAAAA", "a", asked, 1, 100, ended_at=5, error=error, authorizations=entries)
    assert documents.document(order).count("x" * 300) == 1
    assert derive(row_of(order)) == order


def test_a_fault_that_is_kept_says_what_it_is_and_is_bounded() -> None:
    assert documents.fault_of_list(documents.fault_as_list(None)) is None
    long = Fault(Problem.DNS, "x" * 5000, remedy=Remedy.OPERATOR)
    kept = documents.fault_of_list(documents.fault_as_list(long))
    assert kept == Fault(Problem.DNS, "x" * 700 + "...", remedy=Remedy.OPERATOR)


# What follows from the rows of others.


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    """A store with an account, an enrolment of it with a delegate, and its instance."""
    database = open_store(store_url)
    enrolment = Enrolment("e", "a", INSTANCE, 0, (FOO,), BY_INSTANCE, "{}", 1, 1, 999)
    put(
        database,
        accounts.add(Account("a", "{}", "t", (), 1)),
        accounts.add(Account("delegate", "{}", "d", (), 1, enrolment_id="e")),
        instances.prove(Instance(INSTANCE, "aws", "1", "i", None, None, None, None, None)),
        enrolments.prove(enrolment, again),
    )
    yield database
    database.close()


MET = Challenge("", "iid-01", "token", validated_at=5, proof=BY_INSTANCE)
MET_BY_HOST = Challenge("", "http-01", "token", validated_at=5, proof=BY_HOST)
WAITING = Challenge("", "iid-01", "token")
OTHER = Challenge("", "http-01", "other")


def made(
    database: Database,
    *offered: tuple[Challenge, ...],
    account: str = "a",
    by: str | None = INSTANCE,
    ahead: bool = False,
    issued: bool = False,
) -> Order:
    """An order whose authorizations have these challenges."""
    asked = (FOO, BAR)[: len(offered)]
    entries = tuple(
        Authorization("", account, name, False, 1, 100, several) for name, several in zip(asked, offered, strict=True)
    )
    key = {"a": "t", "delegate": "d"}[account]
    order = add_order(
        database,
        Order("", account, asked, 1, 100, key=key, ahead=ahead, instance_id=by, generation=0, authorizations=entries),
    )
    if issued:
        put(database, orders.finalize(order, 6))
    return read(database, order)


def lose(database: Database) -> None:
    """Take from the instance what it has proven."""
    instance = instances.get(database, INSTANCE)
    assert instance is not None
    put(database, instances.raise_generation(key(INSTANCE), instance.generation, LOST.detail, 7))


def states(order: Order, now: int = 8) -> list[Status]:
    return [of_order(order, now), *(of_authorization(entry, now) for entry in order.authorizations)]


def test_an_instances_proofs_and_order_end_with_its_generation(database: Database) -> None:
    order = made(database, (MET,), (MET_BY_HOST,))
    assert states(order) == [Status.READY, Status.VALID, Status.VALID]
    lose(database)
    order = read(database, order)
    assert states(order) == [Status.INVALID, Status.REVOKED, Status.VALID]
    assert (order.ended_at, order.error, order.authorizations[0].revoked_at) == (7, LOST, 7)


def test_an_order_by_a_later_proof_of_the_instance_has_not_ended(database: Database) -> None:
    lose(database)
    order = made(database, (WAITING,), by=None)
    changed = replace(order, instance_id=INSTANCE, generation=1)
    put(database, orders.change(changed, 8))
    assert states(read(database, order)) == [Status.PENDING, Status.PENDING]


def test_an_order_that_hosts_have_proven_has_not_ended_with_an_instance(database: Database) -> None:
    order = made(database, (MET_BY_HOST,), by=None)
    lose(database)
    assert states(read(database, order)) == [Status.READY, Status.VALID]


def test_an_order_with_its_certificate_keeps_it_and_not_what_was_proven(database: Database) -> None:
    order = made(database, (MET,), issued=True)
    lose(database)
    order = read(database, order)
    assert states(order) == [Status.VALID, Status.REVOKED]
    assert order.error is None


def test_an_authorization_ahead_of_an_order_is_lost_with_the_instance(database: Database) -> None:
    order = made(database, (MET,), ahead=True)
    assert orders.waiting(database, "a", [FOO], 6) != {}
    lose(database)
    assert of_authorization(read(database, order).authorizations[0], 8) is Status.REVOKED
    assert orders.waiting(database, "a", [FOO], 8) == {}


def change_key(database: Database, thumbprint: str = "new", now: int = 7) -> None:
    account = accounts.get(database, "a")
    assert account is not None
    put(database, accounts.set_key(account, "{}", thumbprint, now))


def test_what_waits_for_iid01_alone_fails_with_a_key_change_and_the_order(database: Database) -> None:
    order = made(database, (MET,), (WAITING,))
    change_key(database)
    order = read(database, order)
    assert states(order) == [Status.INVALID, Status.VALID, Status.INVALID]
    assert (order.ended_at, order.error) == (7, documents.KEY_CHANGED)
    failed = order.authorizations[1].challenges[0]
    assert (failed.failed_at, failed.error) == (7, documents.KEY_CHANGED)


def test_a_key_change_takes_iid01_back_if_a_name_has_another_challenge(database: Database) -> None:
    order = made(database, (WAITING, OTHER), by=None)
    change_key(database)
    order = read(database, order)
    assert states(order) == [Status.PENDING, Status.PENDING]
    (left,) = order.authorizations[0].challenges
    assert (left.type, left.id) == ("http-01", f"{order.id}.0.1")
    # What is stored then has the challenge in the same place, and the other is still gone.
    located = orders.of_challenge_id(database, left.id)
    assert located is not None
    put(database, orders.change(orders.changed(located, replace(left, validated_at=8, proof=BY_HOST)), 8))
    assert states(read(database, order)) == [Status.READY, Status.VALID]
    assert orders.of_challenge_id(database, f"{order.id}.0.0") is None


def test_what_is_decided_stays_so_after_a_key_change(database: Database) -> None:
    refused = replace(WAITING, failed_at=5, error=LOST)
    ready, failed, issued = (
        made(database, (MET,)),
        made(database, (refused, OTHER), by=None),
        made(database, (MET,), issued=True),
    )
    change_key(database)
    assert [read(database, order) for order in (ready, failed, issued)] == [ready, failed, issued]


def test_an_order_that_was_made_with_the_new_key_goes_on(database: Database) -> None:
    change_key(database)
    entry = Authorization("", "a", FOO, False, 8, 100, (WAITING,))
    order = add_order(database, Order("", "a", (FOO,), 8, 100, key="new", authorizations=(entry,)))
    assert states(order) == [Status.PENDING, Status.PENDING]


def test_a_key_change_fails_an_authorization_made_ahead_that_awaits_iid01(database: Database) -> None:
    order = made(database, (WAITING,), by=None, ahead=True)
    change_key(database)
    assert of_authorization(read(database, order).authorizations[0], 8) is Status.INVALID


@pytest.mark.parametrize("issued", [False, True])
def test_what_delegates_have_ends_with_the_enrolment(database: Database, issued: bool) -> None:
    order = made(database, (MET,), account="delegate", issued=issued)
    own = made(database, (MET,))
    enrolment = enrolments.get(database, "e")
    assert enrolment is not None
    put(database, enrolments.end(enrolment, "the instance was released", 7))
    order = read(database, order)
    assert states(order) == [Status.VALID if issued else Status.INVALID, Status.REVOKED]
    if not issued:
        assert order.error == Fault(Problem.UNAUTHORIZED, "the enrolment has ended: the instance was released")
    assert read(database, own) == own


def test_a_challenge_that_is_looked_for_shows_its_attempts(database: Database) -> None:
    order = made(database, (WAITING, OTHER), by=None)
    located = orders.locate(order, 0, 1)
    assert located is not None
    put(database, attempts.ask(located, "192.0.2.1", "192.0.2.1", 7))
    _, looked = read(database, order).authorizations[0].challenges
    assert (looked.answered_at, looked.answered_from, looked.due_at, looked.attempts) == (7, "192.0.2.1", 7, 0)
