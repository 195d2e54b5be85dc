"""An account's list of orders (RFC 8555 section 7.1.2.1)."""

from __future__ import annotations

import time

from conformance.answers import NotOfferedError, error_type, header, links
from conformance.checks import counted_by, left_to, rule, succeeded
from conformance.client import Account, Resource, Server

AREA = "Accounts"


def start(account: Account) -> str:
    """Where an account's list of orders begins."""
    url: str | None = account.read(account.url).body.get("orders")
    if url is None:
        left_to("test_an_account_has_a_list_of_orders", "the account has no list of orders")
    return url


def page(account: Account, url: str) -> tuple[list[str], list[str]]:
    """The orders of one page of a list, and the URLs of pages that follow."""
    found = account.read(url)
    orders = found.body["orders"]
    is_list = isinstance(orders, list) and all(isinstance(entry, str) for entry in orders)
    assert is_list, f"`orders` is no list of URLs in {found.body}"
    return orders, links(found.response, "next")


def pages(account: Account, most: int = 200) -> list[list[str]]:
    """The pages of an account's list of orders."""
    following, found = [start(account)], list[list[str]]()
    with counted_by("test_a_list_of_orders_is_an_object", "the list of orders cannot be read"):
        while following and len(found) < most:
            orders, following = page(account, following[0])
            found.append(orders)
    return found


@rule("RFC 8555 7.1.2.1", "a list of orders is an object with `orders`, a list of URLs")
def test_a_list_of_orders_is_an_object(account: Account) -> None:
    page(account, start(account))


@rule("RFC 8555 7.1.2.1", "the list of orders has the account's pending orders", "SHOULD")
def test_the_list_has_pending_orders(account: Account, pending: Resource) -> None:
    assert pending.url in [url for orders in pages(account) for url in orders]


@rule("RFC 8555 7.1.2.1", "a new account's list of orders is empty, and no other account's")
def test_the_list_of_a_new_account_is_empty(server: Server) -> None:
    assert pages(server.account()) == [[]]


@rule("RFC 8555 7.1.2.1", "the list of orders is newest first", "practice")
def test_the_list_is_newest_first(server: Server) -> None:
    account = server.account()
    made = [account.order().url for _ in range(3)]
    listed = [url for orders in pages(account) for url in orders]
    assert sorted(listed) == sorted(made)
    # Orders of one second have no order among themselves that everybody agrees on.
    time.sleep(1.1)
    newest = account.order().url
    assert [url for orders in pages(account) for url in orders][:1] == [newest]


@rule("RFC 8555 7.1.2.1", 'a long list of orders comes in pages with `rel="next"`, each order once')
def test_a_long_list_comes_in_pages(server: Server) -> None:
    account = server.account()
    made: list[str] = []
    while len(made) < 120:
        response = account.try_order({"type": "dns", "value": server.name()})
        if error_type(response) == "rateLimited":
            break
        succeeded(response, 201)
        made.append(header(response, "Location"))
        if len(made) in (5, 25, 105) and len(pages(account)) > 1:
            break
    found = pages(account)
    listed = [url for orders in found for url in orders]
    assert len(listed) == len(set(listed))
    assert sorted(listed) == sorted(made)
    if len(found) == 1:
        raise NotOfferedError(f"{len(made)} orders are one page")
    assert all(found[:-1]), "a page before the last one is empty"
