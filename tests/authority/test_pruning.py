"""Pruning: whatever happened before, each answer that a client may still ask for is the same afterwards."""

from __future__ import annotations

import sqlite3
import tempfile
import threading
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from acme_iid.authority import pruning
from acme_iid.config import Config, parse
from acme_iid.errors import Fault, Problem
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.renewal import CertificateId
from acme_iid.protocol.resources import (
    Account,
    Authorization,
    Certificate,
    Challenge,
    Enrolment,
    ExternalKey,
    Order,
    Proof,
)
from acme_iid.protocol.status import Status, of_order
from acme_iid.store import (
    accounts,
    certificates,
    challenges,
    enrolments,
    events,
    external_keys,
    order_counts,
    orders,
    revocation_lists,
    waiting,
)
from acme_iid.store.database import Database, open_store
from acme_iid.store.listing import Filter

HOUR, DAY = 3600, 86400
START = 1_800_000_000
NAME = Identifier("dns", "foo.local")
PROOF = Proof("aws:aws:1:us-west-2:i-0", "aws", "p", "c")
HOST = Proof(None, "acme", "h", "")
FAULT = Fault(Problem.UNAUTHORIZED, "ended")
CONFIG = b"""
[ca]
name = "x"
crl = true
[server]
url = "https://ca.local"
[retention]
orders = "1h"
certificates = "2d"
"""
STEPS = ("order", "prove", "finalize", "fail", "replace", "revoke", "list", "ahead", "key", "enrol", "end", "delegate")


class History:
    """What happened at a CA with one account, by the store's own statements."""

    def __init__(self, database: Database) -> None:
        self.database, self.now, self.number = database, START, 0
        self.orders: list[str] = []
        self.certificates: list[Certificate] = []
        self.ahead: list[str] = []
        self.enrolled: list[str] = []
        self.keys: list[str] = []
        with database.transaction() as transaction:
            accounts.add(transaction, Account("a", "{}", "t", (), START))

    def new(self) -> str:
        self.number += 1
        return f"{self.number:06}"

    def step(self, kind: str, choice: int, life: int) -> None:
        with self.database.transaction() as transaction:
            getattr(self, f"_{kind}")(transaction, choice, life)

    def _order(self, transaction: Any, choice: int, life: int, replaces: str | None = None) -> None:
        del choice, life
        made = self.new()
        if replaces is not None and orders.replaced(transaction, replaces, self.now):
            return
        orders.add(transaction, Order(made, "a", (NAME,), self.now, self.now + HOUR, replaces=replaces))
        self._authorize(transaction, made)
        self.orders.append(made)

    def _authorize(self, transaction: Any, order: str | None) -> str:
        made = self.new()
        challenge = Challenge(f"c{made}", "iid-01", "t")
        until = self.now + (2 * HOUR if self.number % 3 == 0 else HOUR)
        orders.add_authorization(
            transaction, Authorization(made, "a", order, NAME, False, self.now, until, (challenge,))
        )
        return made

    def _prove(self, transaction: Any, choice: int, life: int) -> None:
        del life
        if self.orders and (order := orders.get(transaction, self.orders[choice % len(self.orders)])):
            for authorization in order.authorizations:
                proof = HOST if choice % 2 else PROOF
                challenges.set_valid(transaction, authorization.challenges[0], proof, self.now, (NAME,), "{}")

    def _finalize(self, transaction: Any, choice: int, life: int) -> None:
        if not self.orders:
            return
        order, made = self.orders[choice % len(self.orders)], self.new()
        if orders.set_finalized(transaction, order, made, self.now):
            certificate = Certificate(
                made, f"{int(made):x}", order, "a", (NAME,), self.now, self.now + life, self.now, "", "k",
                instance=PROOF.instance,
            )  # fmt: skip
            certificates.add(transaction, certificate)
            self.certificates.append(certificate)

    def _fail(self, transaction: Any, choice: int, life: int) -> None:
        del life
        if self.orders:
            orders.end(transaction, self.orders[choice % len(self.orders)], FAULT, self.now)

    def _replace(self, transaction: Any, choice: int, life: int) -> None:
        if self.certificates:
            old = self.certificates[choice % len(self.certificates)]
            if certificates.get(transaction, old.id):
                self._order(transaction, choice, life, replaces=named(old))

    def _revoke(self, transaction: Any, choice: int, life: int) -> None:
        del life
        if self.certificates:
            certificates.revoke(transaction, self.certificates[choice % len(self.certificates)].id, 1, "x", self.now)

    def _list(self, transaction: Any, choice: int, life: int) -> None:
        del choice, life
        known = revocation_lists.latest(transaction, "k")
        since = self.now if known is None else known.signed_at
        number = 1 if known is None else known.number + 1
        count = revocation_lists.count(transaction, since)
        signed = revocation_lists.SignedList("k", number, since, count, self.now, self.now + DAY, b"")
        revocation_lists.put(transaction, signed, None if known is None else known.number)

    def _ahead(self, transaction: Any, choice: int, life: int) -> None:
        del choice, life
        self.ahead.append(self._authorize(transaction, None))

    def _key(self, transaction: Any, choice: int, life: int) -> None:
        del choice
        made = self.new()
        external_keys.add(transaction, ExternalKey(made, "s", None, False, self.now, self.now + life))
        self.keys.append(made)

    def _enrol(self, transaction: Any, choice: int, life: int) -> None:
        del choice
        made = self.new()
        enrolment = Enrolment(made, "a", "i", (NAME,), PROOF, "{}", self.now, self.now, self.now + life)
        if (found := enrolments.prove(transaction, enrolment)) is not None and found.id == made:
            self.enrolled.append(made)
            external_keys.add(
                transaction, ExternalKey(f"k{made}", "s", None, False, self.now, self.now + 600, enrolment_id=made)
            )

    def _end(self, transaction: Any, choice: int, life: int) -> None:
        del choice, life
        enrolments.end_of_account(transaction, "a", "ended", self.now)

    def _delegate(self, transaction: Any, choice: int, life: int) -> None:
        del life
        if self.enrolled:
            made, enrolment = self.new(), self.enrolled[choice % len(self.enrolled)]
            if enrolments.get(transaction, enrolment):
                accounts.add(transaction, Account(f"d{made}", "{}", f"t{made}", (), self.now, enrolment_id=enrolment))

    def answers(self, at: int) -> dict[str, object]:
        """All that may still be asked for at a moment."""
        read = self.database
        told: dict[str, object] = {}
        for order_id in self.orders:
            order = orders.get(read, order_id)
            if order is not None and of_order(order, at) in (Status.PENDING, Status.READY):
                told[f"order {order_id}"] = order
        for waits in waiting.for_names(read, "a", (NAME,), ("p",), at).values():
            told[f"authorization {waits}"] = orders.get_authorization(read, waits)
        told["authorizations that wait"] = waiting.count(read, "a", at, 1000)
        for certificate in self.certificates:
            known = certificates.get(read, certificate.id)
            if certificate.not_after > at - 2 * DAY:
                told[f"certificate {certificate.id}"] = known
                told[f"its order {certificate.id}"] = orders.get(read, certificate.order_id)
                told[f"replaced {certificate.id}"] = orders.replaced(read, named(certificate), at)
            if any(order.replaces == named(certificate) for order in told.values() if isinstance(order, Order)):
                told[f"to be replaced {certificate.id}"] = known
        listed = revocation_lists.latest(read, "k")
        told["list"] = listed
        if listed is not None:
            told["listed"] = revocation_lists.revoked(read, listed.since)
            told["next list"] = revocation_lists.revoked(read, listed.signed_at)
        told["names"] = orders.controlled_names(read, "a", at)
        told["open"] = order_counts.count_open(read, "a", at, 1000)
        told["keys"] = [
            found for key in self.keys if (found := external_keys.get(read, key)) and (found.expires_at or 0) > at
        ]
        for row in read.rows("SELECT id, enrolment_id FROM accounts ORDER BY id"):
            told[f"account {row['id']}"] = row["enrolment_id"] and enrolments.get(read, row["enrolment_id"])
        told["enrolled"] = [found for found in enrolments.of_instance(read, "i") if found.ended_at is None]
        return told


def named(certificate: Certificate) -> str:
    """The identifier that an order names a certificate with (RFC 9773)."""
    return str(CertificateId(b"ca", int(certificate.serial, 16)))


def config(folder: Path) -> Config:
    return parse(CONFIG, folder)


MOMENTS = st.sampled_from([0, 60, HOUR, 3 * HOUR, DAY, 3 * DAY])
LIVES = st.sampled_from([600, HOUR, DAY, 5 * DAY])
STORY = st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 7), LIVES, MOMENTS), min_size=5, max_size=60)


ISSUED = [("order", 0, 600, 0), ("prove", 0, 600, 0)]

SUCCEEDED = [("replace", 0, 600, 0), ("prove", 1, 600, 0), ("finalize", 1, 600, 3 * DAY)]


@example([*ISSUED, ("finalize", 0, 600, 3 * DAY), ("replace", 0, 600, 0)])
@example(
    [*ISSUED, ("finalize", 0, 5 * DAY, 0), ("replace", 0, 600, 0), ("prove", 1, 600, 0), ("finalize", 1, 600, 3 * DAY)]
)
@example([*ISSUED, ("finalize", 0, 600, 0), ("list", 0, 600, 0), ("revoke", 0, 600, 3 * DAY)])
@settings(max_examples=25)
@given(STORY)
def test_after_pruning_every_answer_that_may_be_asked_for_is_the_same(story: list[tuple[str, int, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = open_store(f"sqlite:{folder}/ca.db")
        try:
            history = History(database)
            for kind, choice, life, pause in story:
                history.step(kind, choice, life)
                history.now += pause
            moments = (history.now, history.now + HOUR, history.now + 2 * DAY)
            before = [history.answers(moment) for moment in moments]
            counted = pruning.count(config(Path(folder)), database, history.now)
            assert pruning.prune(config(Path(folder)), database, "operator", history.now) == counted
            assert [history.answers(moment) for moment in moments] == before
            assert not any(pruning.count(config(Path(folder)), database, history.now).counts.values())
            assert database.rows("PRAGMA foreign_key_check") == []
        finally:
            database.close()


def test_what_refers_to_something_keeps_it(tmp_path: Path) -> None:
    database = open_store(f"sqlite:{tmp_path / 'ca.db'}")
    history, later = History(database), START + 10 * DAY
    with database.transaction() as transaction:
        for made in ("000001", "000002"):
            orders.add(transaction, Order(made, "a", (NAME,), START, START + HOUR))
            until = later + DAY if made == "000001" else START + HOUR
            challenge = Challenge(f"c{made}", "iid-01", "t")
            orders.add_authorization(
                transaction, Authorization(made, "a", made, NAME, False, START, until, (challenge,))
            )
        for name, made in (("foo.local", "000003"), ("bar.local", "000004")):
            names = (Identifier("dns", name),)
            enrolments.prove(transaction, Enrolment(made, "a", "i", names, PROOF, "{}", START, START, START + HOUR))
        accounts.add(transaction, Account("d", "{}", "td", (), START, enrolment_id="000003"))
    history.step("end", 0, 0)
    pruning.prune(config(tmp_path), database, "operator", later)
    # The authorization of the first says which names its account may revoke; the delegate's account names the third.
    assert [made for made in ("000001", "000002") if orders.get(database, made)] == ["000001"]
    assert [made for made in ("000003", "000004") if enrolments.get(database, made)] == ["000003"]
    database.close()


def test_a_clock_that_was_set_by_hours_is_noticed() -> None:
    now = pruning.ahead()
    assert [pruning.clock_was_set(now + step) for step in (0, 600, -600)] == [False] * 3
    assert [pruning.clock_was_set(now + step) for step in (2 * HOUR, -400 * DAY)] == [True] * 2


def test_a_clock_that_is_weeks_ahead_of_the_last_turn_is_believed_after_a_day(tmp_path: Path) -> None:
    database = open_store(f"sqlite:{tmp_path / 'ca.db'}")
    assert not pruning.in_doubt(database, START, 0)  # a store that is new
    assert pruning.turn(config(tmp_path), database, START) == pruning.Pruned()
    assert [pruning.in_doubt(database, START + ago, 0) for ago in (0, 6 * DAY, 8 * DAY, 4000 * DAY)] == [
        False,
        False,
        True,
        True,
    ]
    assert not pruning.in_doubt(database, START + 8 * DAY, DAY)
    assert not pruning.in_doubt(database, START - 4000 * DAY, 0)  # behind, nothing has ended
    database.close()


def full(folder: Path, orders_: int) -> Database:
    """A store with as many orders that came to nothing long ago, and certificates that ended."""
    database = open_store(f"sqlite:{folder / 'ca.db'}")
    history = History(database)
    history.now = START
    with database.transaction() as transaction:
        for number in range(orders_):
            history._order(transaction, 0, 0)
            if number % 2:
                history._prove(transaction, -1, 0)
                history._finalize(transaction, -1, 600)
    return database


def test_a_dry_run_changes_nothing_and_says_what_pruning_then_does(tmp_path: Path) -> None:
    database, later = full(tmp_path, 1200), START + 10 * DAY
    before = list(database_dump(tmp_path))
    counted = pruning.count(config(tmp_path), database, later)
    assert list(database_dump(tmp_path)) == before
    assert (counted.certificates, counted.orders) == (600, 600)
    assert pruning.prune(config(tmp_path), database, "operator", later) == counted
    assert database.rows("SELECT id FROM orders UNION ALL SELECT id FROM challenges") == []
    kinds = [(event.kind, event.detail["removed"]) for event in events.page(database, Filter())]
    assert [kind for kind, _ in kinds] == ["store.pruned"] * (1200 // pruning.BATCH)
    assert list(events.check(database))
    database.close()


def database_dump(folder: Path) -> list[str]:
    connection = sqlite3.connect(folder / "ca.db")
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


def test_of_many_that_look_at_once_one_prunes_in_an_hour(tmp_path: Path) -> None:
    full(tmp_path, 20).close()
    later, found = START + 10 * DAY, []
    start = threading.Barrier(6)

    def look() -> None:
        database = open_store(f"sqlite:{tmp_path / 'ca.db'}")
        start.wait()
        found.append(pruning.turn(config(tmp_path), database, later))
        database.close()

    threads = [threading.Thread(target=look) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [removed.orders for removed in found if removed is not None] == [10]
    database = open_store(f"sqlite:{tmp_path / 'ca.db'}")
    assert pruning.turn(config(tmp_path), database, later + 3599) is None
    assert pruning.turn(config(tmp_path), database, later + 3600) == pruning.Pruned()
    # A moment that a wrong clock has set keeps nobody waiting.
    assert pruning.turn(config(tmp_path), database, START) is not None
    database.close()
