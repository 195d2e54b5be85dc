"""An account's list of orders (RFC 8555 section 7.1.2.1)."""

from __future__ import annotations

import time

import requests
from conformance.checks import left_to, rule, succeeded
from conformance.client import (
    Account,
    NotOfferedError,
    Resource,
    Server,
    error_type,
    links,
)

AREA = "Accounts"


def pages(account: Account, most: int = 200) -> list[tuple[list[str], requests.Response]]:
    """The pages of an account's list of orders, each with its answer."""
    url = account.read(account.url).body.get("orders")
    if url is None:
        left_to("test_an_account_has_a_list_of_orders", "the account has no list of orders")
    found: list[tuple[list[str], requests.Response]] = []
    following = [url]
    while following and len(found) < most:
        page = account.read(following[0])
        found.append((page.body["orders"], page.response))
        following = links(page.response, "next")
    return found


@rule("RFC 8555 7.1.2.1", "the list of orders has the account's pending orders", "SHOULD")
def test_the_list_has_pending_orders(account: Account, pending: Resource) -> None:
    assert pending.url in [url for page, _ in pages(account) for url in page]


@rule("RFC 8555 7.1.2.1", "a new account's list of orders is empty, and no other account's")
def test_the_list_of_a_new_account_is_empty(server: Server) -> None:
    assert [page for page, _ in pages(server.account())] == [[]]


@rule("RFC 8555 7.1.2.1", "the list of orders is newest first", "practice")
def test_the_list_is_newest_first(server: Server) -> None:
    account = server.account()
    made = [account.order().url for _ in range(3)]
    listed = [url for page, _ in pages(account) for url in page]
    assert sorted(listed) == sorted(made)
    # Orders of one second have no order among themselves that everybody agrees on.
    time.sleep(1.1)
    newest = account.order().url
    assert next(url for page, _ in pages(account) for url in page) == newest


@rule("RFC 8555 7.1.2.1", 'a long list of orders comes in pages with `rel="next"`, each order once')
def test_a_long_list_comes_in_pages(server: Server) -> None:
    account = server.account()
    made: list[str] = []
    while len(made) < 120:
        response = account.try_order({"type": "dns", "value": server.name()})
        if error_type(response) == "rateLimited":
            break
        succeeded(response, 201)
        made.append(response.headers["Location"])
        if len(made) in (5, 25, 105) and len(pages(account)) > 1:
            break
    found = pages(account)
    listed = [url for page, _ in found for url in page]
    assert len(listed) == len(set(listed))
    assert sorted(listed) == sorted(made)
    if len(found) == 1:
        raise NotOfferedError(f"{len(made)} orders are one page")
    assert all(page for page, _ in found[:-1])
