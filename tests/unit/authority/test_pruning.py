"""Pruning: whatever happened before, each answer that a client may still ask for is the same afterwards."""

from __future__ import annotations

import sqlite3
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st
from writing import happens, put

from acme_iid.authority import enrolments as ending
from acme_iid.authority import renewal
from acme_iid.config.ca_toml import parse
from acme_iid.config.settings import Config
from acme_iid.errors import AcmeError, Fault, Problem
from acme_iid.operations import pruning
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
from acme_iid.protocol.status import Status, of_challenge, of_order
from acme_iid.store import (
    accounts,
    certificates,
    enrolments,
    events,
    external_keys,
    order_counts,
    orders,
    proven,
    revocation_lists,
)
from acme_iid.store.database import Database, open_store
from acme_iid.store.listing import Filter
from acme_iid.store.orders import LocatedChallenge
from acme_iid.store.writes import Statement, again

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
        put(database, accounts.add(Account("a", "{}", "t", (), START)))

    def new(self) -> str:
        self.number += 1
        return f"{self.number:06}"

    def step(self, kind: str, choice: int, life: int) -> None:
        getattr(self, f"_{kind}")(choice, life)

    def _add(self, order: Order, *before: Statement) -> str:
        tag = orders.new_id()
        rows = put(self.database, *before, orders.add(order, tag, again if order.replaces else None))
        return f"{rows[0]['n']}.{tag}"

    def made(self, replaces: str | None = None, *, ahead: bool = False) -> Order:
        """An order that is to be added."""
        until = self.now + (HOUR // 2 if self.number % 3 == 0 else HOUR)
        challenge = Challenge("", "iid-01", self.new())
        entry = Authorization("", "a", NAME, False, self.now, until, (challenge,))
        order = Order("", "a", (NAME,), self.now, self.now + HOUR, "t", replaces=replaces, authorizations=(entry,))
        return replace(order, ahead=ahead)

    def _order(self, choice: int, life: int, replaces: str | None = None) -> None:
        del life
        before: list[Statement] = []
        order = self.made(replaces)
        if replaces is not None:
            try:
                before += renewal.replaces(self.database, replaces, self.now)
            except AcmeError:
                return
        waiting = orders.waiting(self.database, "a", (NAME,), self.now).get(NAME)
        if waiting is not None and choice % 2:
            before.append(orders.take(waiting, self.now))
            order = replace(order, authorizations=waiting.authorizations)
        self.orders.append(self._add(order, *before))

    def _locate(self, among: list[str], choice: int) -> LocatedChallenge | None:
        """A challenge that can be answered, if there is one."""
        order = orders.get(self.database, among[choice % len(among)]) if among else None
        located = None if order is None else orders.locate(order, 0, 0)
        return located if located is not None and of_challenge(located.challenge) is Status.PENDING else None

    def _prove(self, choice: int, life: int) -> None:
        del life
        if (located := self._locate(self.orders + self.ahead, choice)) is not None:
            proof = HOST if choice % 2 else PROOF
            met = replace(located.challenge, validated_at=self.now, proof=proof, names=(NAME,), identity="{}")
            order = orders.changed(located, met)
            if proof.instance is not None:
                order = replace(order, instance_id=proof.instance, generation=0)
            happens(self.database, orders.change(order, self.now))

    def _finalize(self, choice: int, life: int) -> None:
        order = orders.get(self.database, self.orders[choice % len(self.orders)]) if self.orders else None
        if order is not None:
            certificate = certified(order, self.now, life)
            if happens(self.database, orders.finalize(order, self.now), certificates.add(certificate, None)):
                self.certificates.append(certificate)

    def _fail(self, choice: int, life: int) -> None:
        del life
        if (located := self._locate(self.orders, choice)) is not None:
            happens(self.database, orders.change(orders.failed(located, FAULT, self.now)[0], self.now))

    def _replace(self, choice: int, life: int) -> None:
        if self.certificates:
            old = self.certificates[choice % len(self.certificates)]
            if certificates.get(self.database, old.id):
                self._order(choice, life, replaces=named(old))

    def _revoke(self, choice: int, life: int) -> None:
        del life
        if self.certificates:
            certificate = self.certificates[choice % len(self.certificates)]
            happens(self.database, certificates.revoke(certificate, 1, "x", self.now))

    def _list(self, choice: int, life: int) -> None:
        del choice, life
        known = revocation_lists.latest(self.database, "k")
        since = self.now if known is None else known.signed_at
        number = 1 if known is None else known.number + 1
        count = revocation_lists.count(self.database, "k", since)
        signed = revocation_lists.SignedList("k", number, since, count, self.now, self.now + DAY, b"")
        put(self.database, revocation_lists.put(signed, None if known is None else known.number, again))

    def _ahead(self, choice: int, life: int) -> None:
        del choice, life
        self.ahead.append(self._add(self.made(ahead=True)))

    def _key(self, choice: int, life: int) -> None:
        del choice
        made = self.new()
        put(self.database, external_keys.add(ExternalKey(made, "s", None, False, self.now, self.now + life)))
        self.keys.append(made)

    def _enrol(self, choice: int, life: int) -> None:
        del choice
        made = self.new()
        enrolment = Enrolment(made, "a", "gcp:1:1", 0, (NAME,), PROOF, "{}", self.now, self.now, self.now + life)
        put(self.database, enrolments.prove(enrolment, again))
        if enrolments.get(self.database, made) is not None:
            self.enrolled.append(made)
            key = ExternalKey(f"k{made}", "s", None, False, self.now, self.now + 600, enrolment_id=made)
            put(self.database, external_keys.add(key))

    def _end(self, choice: int, life: int) -> None:
        del choice, life
        put(self.database, *ending.end_of_account(self.database, "a", "ended", self.now).statements)

    def _delegate(self, choice: int, life: int) -> None:
        del life
        if self.enrolled:
            made, enrolment = self.new(), self.enrolled[choice % len(self.enrolled)]
            if enrolments.get(self.database, enrolment):
                delegate = Account(f"d{made}", "{}", f"t{made}", (), self.now, enrolment_id=enrolment)
                put(self.database, accounts.add(delegate))

    def answers(self, at: int) -> dict[str, object]:
        """All that may still be asked for at a moment."""
        read = self.database
        told: dict[str, object] = {}
        for order_id in self.orders:
            order = orders.get(read, order_id)
            if order is not None and of_order(order, at) in (Status.PENDING, Status.READY):
                told[f"order {order_id}"] = order
        for waits in orders.waiting(read, "a", (NAME,), at).values():
            told[f"authorization {waits.id}"] = waits
        told["authorizations that wait"] = order_counts.count_waiting(read, "a", at, 1000)
        for certificate in self.certificates:
            known = certificates.get(read, certificate.id)
            if certificate.not_after > at - 2 * DAY:
                told[f"certificate {certificate.id}"] = known
                told[f"its order {certificate.id}"] = orders.get(read, certificate.id)
                holder = orders.replacing(read, named(certificate))
                replaced = holder is not None and of_order(holder, at) is not Status.INVALID
                told[f"replaced {certificate.id}"] = replaced
            if any(order.replaces == named(certificate) for order in told.values() if isinstance(order, Order)):
                told[f"to be replaced {certificate.id}"] = known
        listed = revocation_lists.latest(read, "k")
        told["list"] = listed
        if listed is not None:
            told["listed"] = revocation_lists.revoked(read, "k", listed.since)
            told["next list"] = revocation_lists.revoked(read, "k", listed.signed_at)
        told["names"] = proven.controlled_names(read, "a", at)
        told["open"] = order_counts.count_open(read, "a", at, 1000)
        told["keys"] = [
            found for key in self.keys if (found := external_keys.get(read, key)) and (found.expires_at or 0) > at
        ]
        for row in read.rows("SELECT id, enrolment_id FROM accounts ORDER BY id"):
            told[f"account {row['id']}"] = row["enrolment_id"] and enrolments.get(read, row["enrolment_id"])
        told["enrolled"] = [found for found in enrolments.of_instance(read, "gcp:1:1") if found.ended_at is None]
        return told


def certified(order: Order, at: int, life: int) -> Certificate:
    """An order's certificate."""
    serial = f"1f{orders.number(order):016x}"
    return Certificate(order.id, serial, "a", (NAME,), at, at + life, at, b"", "k", "k", instance=PROOF.instance)


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
    history.step("ahead", 0, 0)
    history.step("prove", 0, 0)
    history.step("order", 1, 0)
    history.step("finalize", 0, 9 * DAY)
    history.step("ahead", 0, 0)
    for name, made in (("foo.local", "000003"), ("bar.local", "000004")):
        names = (Identifier("dns", name),)
        enrolment = Enrolment(made, "a", "gcp:1:1", 0, names, PROOF, "{}", START, START, START + HOUR)
        put(database, enrolments.prove(enrolment, again))
    put(database, accounts.add(Account("d", "{}", "td", (), START, enrolment_id="000003")))
    history.step("end", 0, 0)
    taken, waited = history.ahead
    pruning.prune(config(tmp_path), database, "operator", later)
    # The order of the certificate names the authorization that it took; the delegate's account names the third.
    assert [made for made in (taken, waited) if orders.get(database, made)] == [taken]
    order = orders.get(database, history.orders[0])
    assert order is not None
    assert [entry.id for entry in order.authorizations] == [f"{taken}.0"]
    assert [made for made in ("000003", "000004") if enrolments.get(database, made)] == ["000003"]
    # It goes with that order.
    pruning.prune(config(tmp_path), database, "operator", later + 2 * DAY)
    assert database.rows("SELECT n FROM orders") == []
    database.close()


def test_a_clock_that_was_set_by_hours_is_noticed() -> None:
    now = pruning.ahead()
    assert [pruning.clock_was_set(now + step) for step in (0, 600, -600)] == [False] * 3
    assert [pruning.clock_was_set(now + step) for step in (2 * HOUR, -400 * DAY)] == [True] * 2


def test_a_clock_weeks_ahead_of_the_last_pruning_is_believed_after_a_day(tmp_path: Path) -> None:
    database = open_store(f"sqlite:{tmp_path / 'ca.db'}")
    assert not pruning.in_doubt(database, START, 0)  # a store that is new
    assert pruning.prune_if_due(config(tmp_path), database, START) == pruning.Pruned()
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
    # All in one transaction, since a commit each would be most of the test.
    with database.transaction() as transaction:
        for number in range(orders_):
            made, tag = history.made(), orders.new_id()
            added = orders.add(made, tag)
            order = orders.numbered(made, transaction.rows(added.text, **added.values)[0]["n"], tag)
            if number % 2:
                for statement in (orders.finalize(order, START), certificates.add(certified(order, START, 600), None)):
                    assert transaction.run(statement.text, **statement.values) == 1
    return database


def test_a_dry_run_changes_nothing_and_says_what_pruning_then_does(tmp_path: Path) -> None:
    database, later = full(tmp_path, 1200), START + 10 * DAY
    before = list(database_dump(tmp_path))
    counted = pruning.count(config(tmp_path), database, later)
    assert list(database_dump(tmp_path)) == before
    assert (counted.certificates, counted.orders) == (600, 600)
    assert pruning.prune(config(tmp_path), database, "operator", later) == counted
    assert database.rows("SELECT n FROM orders UNION ALL SELECT n FROM certificates") == []
    kinds = [(event.kind, event.detail["removed"]) for _, event in events.page(database, Filter())]
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
        found.append(pruning.prune_if_due(config(tmp_path), database, later))
        database.close()

    threads = [threading.Thread(target=look) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [removed.orders for removed in found if removed is not None] == [10]
    database = open_store(f"sqlite:{tmp_path / 'ca.db'}")
    assert pruning.prune_if_due(config(tmp_path), database, later + 3599) is None
    assert pruning.prune_if_due(config(tmp_path), database, later + 3600) == pruning.Pruned()
    # A moment that a wrong clock has set keeps nobody waiting.
    assert pruning.prune_if_due(config(tmp_path), database, START) is not None
    database.close()
