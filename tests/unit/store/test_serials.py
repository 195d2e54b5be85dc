"""The number of an order names it together with its tag, and in one spelling only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from writing import add_order, put

from acme_iid.issuance import leaf
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Account, Authorization, Certificate, Challenge, Order
from acme_iid.store import accounts, certificates, orders, serials
from acme_iid.store.database import Database, open_store
from acme_iid.store.serials import MAX_NUMBER, OrderId
from acme_iid.store.writes import Statement

NAME = Identifier("dns", "foo.local")


@dataclass(frozen=True)
class Stored:
    """A store with two orders, of which the second has a certificate."""

    database: Database
    first: Order
    second: Order

    def names_nothing(self, text: str) -> bool:
        """Whether nothing is found by an id, of whatever kind it is taken for."""
        return not any(
            (
                orders.get(self.database, text),
                orders.of_authorization_id(self.database, f"{text}.0"),
                orders.of_challenge_id(self.database, f"{text}.0.0"),
                certificates.get(self.database, text),
            )
        )


def new(database: Database) -> Order:
    entry = Authorization("", "a", NAME, False, 1, 100, (Challenge("", "iid-01", "token"),))
    return add_order(database, Order("", "a", (NAME,), 1, 100, key="t", authorizations=(entry,)))


@pytest.fixture
def stored(store_url: str) -> Iterator[Stored]:
    database = open_store(store_url)
    put(database, accounts.add(Account("a", "{}", "t", (), 1)))
    first, second = new(database), new(database)
    serial = f"{0xABC << 64 | orders.number(second):x}"
    certificate = Certificate(second.id, serial, "a", (NAME,), 1, 100, 1, b"leaf", "issuer", "key")
    put(database, orders.finalize(second, 50), certificates.add(certificate, None))
    yield Stored(database, first, second)
    database.close()


def test_an_order_and_what_is_its_own_have_ids_that_name_them(stored: Stored) -> None:
    order = orders.get(stored.database, stored.second.id)
    assert order is not None
    entry = order.authorizations[0]
    assert orders.of_authorization_id(stored.database, entry.id) == (order, entry)
    place = orders.of_challenge_id(stored.database, entry.challenges[0].id)
    assert place == (order, entry, entry.challenges[0], 0, 0)
    assert certificates.get(stored.database, order.id) is not None


@pytest.mark.parametrize(
    "spelling",
    ["0{n}", "+{n}", "-{n}", " {n}", "{n} ", "{n}_0", "1_{n}", "{wide}", "{n}.0", "{n}e0", "0x{n}", "{n}\n", ""],
)
def test_odd_digits_name_nothing(stored: Stored, spelling: str) -> None:
    number, _, tag = stored.second.id.partition(".")
    wide = number.translate({ord("0") + digit: 0xFF10 + digit for digit in range(10)})
    assert stored.names_nothing(f"{spelling.format(n=number, wide=wide)}.{tag}")


@pytest.mark.parametrize("number", [0, MAX_NUMBER, MAX_NUMBER + 1, (1 << 63) - 1, 1 << 63, 1 << 64, 10**40])
def test_a_number_that_no_order_has_names_nothing(stored: Stored, number: int) -> None:
    assert stored.names_nothing(f"{number}.{stored.second.id.partition('.')[2]}")


@pytest.mark.parametrize("change", ["{tag}x", "x{tag}", "", "{short}", "{lower}", "{tag}\n", "{tag}.", "%", "{other}"])
def test_a_wrong_tag_or_anothers_names_nothing(stored: Stored, change: str) -> None:
    number, _, tag = stored.second.id.partition(".")
    other = stored.first.id.partition(".")[2]
    text = change.format(tag=tag, short=tag[:-1], lower=tag.swapcase(), other=other)
    assert stored.names_nothing(f"{number}.{text}")


@pytest.mark.parametrize("places", ["1", "00", "-0", "1000", "", "0.1", "0.00", "0.10", "0.", "0.0.0", "０"])  # noqa: RUF001 - it is full-width
def test_a_place_that_there_is_not_names_nothing(stored: Stored, places: str) -> None:
    text = f"{stored.second.id}.{places}"
    assert orders.of_challenge_id(stored.database, text) is None
    assert orders.of_authorization_id(stored.database, text) is None


def test_a_number_that_is_used_again_is_another_orders(stored: Stored) -> None:
    database, former = stored.database, stored.second
    number = {"n": orders.number(former)}
    put(
        database,
        Statement("DELETE FROM certificates WHERE n = :n", number),
        Statement("DELETE FROM orders WHERE n = :n", number),
    )
    latest = new(database)
    assert stored.names_nothing(former.id)
    assert not stored.names_nothing(latest.id)


def test_a_certificate_is_found_by_its_whole_serial_number_only(stored: Stored) -> None:
    n = orders.number(stored.second)
    found = certificates.by_serial(stored.database, f"{0xABC << 64 | n:x}")
    assert found is not None
    assert found.id == stored.second.id
    for serial in (0xABD << 64 | n, n, 0xABC << 64, 0xABC << 64 | n + 1, 0xABC << 128 | n, 0xABC << 64 | 1 << 63 | n):
        assert certificates.by_serial(stored.database, f"{serial:x}") is None
    for text in (f"{0xABC << 64 | n:X}", f"0{0xABC << 64 | n:x}", f" {0xABC << 64 | n:x}", "", "g" * 20, "0x1"):
        assert certificates.by_serial(stored.database, text) is None


@given(st.integers(1, MAX_NUMBER), st.integers(1, (1 << 95) - 1))
def test_the_number_in_a_serial_number_is_what_the_leafs_writer_put_there(number: int, noise: int) -> None:
    serial = noise << 64 | number
    assert serials.number_of(f"{serial:x}") == leaf.number_of(serial) == number


@given(st.integers(1, (1 << 159) - 1))
def test_a_serial_number_holds_the_same_number_for_both(serial: int) -> None:
    # One without noise is none of ours: the chance is one in 2^95.
    assert serials.number_of(f"{serial:x}") == (leaf.number_of(serial) if serial >> 64 else None)


@given(
    st.integers(1, MAX_NUMBER),
    st.from_regex(r"[A-Za-z0-9_-]{16}", fullmatch=True),
    st.integers(0, 999),
    st.integers(0, 9),
)
def test_an_id_that_is_written_is_read(number: int, tag: str, i: int, k: int) -> None:
    order = OrderId(number, tag)
    assert OrderId.read(str(order)) == order
    assert serials.of_authorization(f"{order}.{i}") == (order, i)
    assert serials.of_challenge(f"{order}.{i}.{k}") == (order, i, k)


@given(st.one_of(st.text(max_size=60), st.from_regex(r"[\d_+]{1,20}\.[\w-]{14,18}(\.\d{1,4}){0,3}", fullmatch=True)))
def test_an_id_has_one_spelling(text: str) -> None:
    order, entry, challenge = OrderId.read(text), serials.of_authorization(text), serials.of_challenge(text)
    written = [".".join(map(str, found)) for found in (entry, challenge) if found is not None]
    written += [] if order is None else [str(order)]
    assert written in ([], [text])
