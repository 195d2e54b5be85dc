"""Ids that name nothing, or another's: nothing is shown of it, done to it or recorded of it, by any route."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from held_orders import ROUTES, Held, held_at
from running import CA
from wire import problem

ODD = {
    "a zero before": "0{n}.{tag}", "a plus": "+{n}.{tag}", "a minus": "-{n}.{tag}", "a blank before": " {n}.{tag}",
    "a blank behind": "{n} .{tag}", "a low line": "{n}_0.{tag}", "a low line within": "1_{n}.{tag}",
    "full-width digits": "{wide}.{tag}", "Arabic digits": "{arabic}.{tag}", "hexadecimal": "0x{n}.{tag}",
    "an exponent": "{n}e0.{tag}", "a newline": "{n}\n.{tag}", "no number": ".{tag}", "nothing": "", "a dash": "-",
    "zero": "0.{tag}", "2^63": f"{1 << 63}.{{tag}}", "2^63 - 1": f"{(1 << 63) - 1}.{{tag}}",
    "2^64 and the number": "{wrapped}.{tag}", "no tag": "{n}.", "no tag and no dot": "{n}",
    "a short tag": "{n}.{short}", "a long tag": "{n}.{tag}x", "a tag in other letters": "{n}.{swapped}",
    "any tag": "{n}.%", "a tag like any": "{n}._%", "another order's tag": "{n}.{other}",
    "another order's number": "{others}.{tag}", "a quote": "{n}.{tag}'", "a NUL": "{n}.{tag}\0",
}  # fmt: skip


def odd(spelling: str, order_id: str, other_id: str) -> str:
    """An id that is none, made of one that is."""
    number, _, tag = order_id.partition(".")
    others, _, other = other_id.partition(".")
    return spelling.format(
        n=number, tag=tag, other=other, others=others, short=tag[:-1], swapped=tag.swapcase(),
        wide="".join(chr(0xFF10 + int(digit)) for digit in number),
        arabic="".join(chr(0x0660 + int(digit)) for digit in number), wrapped=(1 << 64) + int(number),
    )  # fmt: skip


@pytest.mark.parametrize("spelling", ODD)
@pytest.mark.parametrize("route", ROUTES)
def test_an_id_that_is_none_names_nothing(held: Held, others: Held, route: str, spelling: str) -> None:
    way = ROUTES[route]
    response = way.ask(held, held.account, odd(ODD[spelling], way.id(held), way.id(others)))
    assert response.status_code == 404, response.text
    assert problem(response) == "malformed"


@pytest.mark.parametrize("route", ROUTES)
def test_an_id_of_anothers_shows_and_does_nothing(held: Held, others: Held, route: str) -> None:
    way = ROUTES[route]
    response = way.ask(held, others.account, way.id(held))
    assert (response.status_code, problem(response)) == (403, "unauthorized")
    # Another who knows the number only is not told that there is such an order.
    response = way.ask(held, others.account, f"{way.id(held).partition('.')[0]}.{way.id(others).partition('.')[2]}")
    assert (response.status_code, problem(response)) == (404, "malformed")


@pytest.mark.parametrize("spelling", ODD)
def test_an_enrolment_takes_no_order_that_there_is_not(held: Held, others: Held, spelling: str) -> None:
    url = f"{held.ca.url}/acme/order/{odd(ODD[spelling], held.id(held.ready), held.id(others.ready))}"
    response = held.account.post(held.account.wire.directory["meta"]["iidEnrolment"], {"order": url})
    assert (response.status_code, problem(response)) == (404, "malformed")


def test_an_enrolment_takes_no_order_of_anothers(held: Held, others: Held) -> None:
    enrolment = held.account.wire.directory["meta"]["iidEnrolment"]
    response = others.account.post(enrolment, {"order": held.ready})
    assert (response.status_code, problem(response)) == (403, "unauthorized")


def test_an_account_and_its_orders_are_nobody_elses(held: Held, others: Held) -> None:
    for path in ("", "/orders", "/orders?before=999999999999999999"):
        response = others.account.post(held.account.url + path)
        assert (response.status_code, problem(response)) == (403, "unauthorized")
    response = others.account.post(held.account.url, {"status": "deactivated"})
    assert (response.status_code, problem(response)) == (403, "unauthorized")
    for before in ("", "?before=999999999999999999"):
        listed = others.account.post(f"{others.account.url}/orders{before}").json()["orders"]
        assert sorted(listed) == sorted([others.issued, others.ready, others.waiting])


@pytest.mark.parametrize(
    "before",
    ["", "0", "-1", "+1", "01", "1_0", " 1", "1 ", "１", "1.0", "0x1", f"{1 << 63}", f"{10**18}", "1%00", "%"],  # noqa: RUF001 - it is full-width
)
def test_a_page_of_a_list_begins_at_a_number_only(held: Held, before: str) -> None:
    response = held.account.post(f"{held.account.url}/orders?before={quote(before, safe='')}")
    assert (response.status_code, problem(response)) == (400, "malformed")


# The same ways with the right names


@pytest.fixture(name="right")
def _right(shared_ca: CA) -> Held:
    return held_at(shared_ca)


@pytest.mark.parametrize("route", ROUTES)
def test_what_is_named_rightly_is_shown_and_done(right: Held, route: str) -> None:
    way = ROUTES[route]
    response = way.ask(right, right.account, way.id(right))
    assert response.status_code == 200, response.text
