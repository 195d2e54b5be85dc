"""Proof that the suite can fail a server: one fault at a time is put before Pebble, and its rule's test sees it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from conformance_runs.faulty import Exchange, Fault, faulty, nothing
from conformance_runs.pebble import Pebble, pebble
from conformance_runs.suite import run


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    with pebble(tmp_path_factory.mktemp("pebble")) as server:
        yield server


def no_nonce_on_success(exchange: Exchange) -> None:
    if exchange.method == "POST" and exchange.status < 300:
        exchange.headers.pop("Replay-Nonce", None)


def no_nonce_on_errors(exchange: Exchange) -> None:
    if exchange.status >= 400:
        exchange.headers.pop("Replay-Nonce", None)


@dataclass
class OneNonce:
    """A cache before the server keeps one answer's nonce for all."""

    first: list[str] = field(default_factory=list)

    def __call__(self, exchange: Exchange) -> None:
        nonce = exchange.headers.get("Replay-Nonce")
        if nonce and exchange.method == "HEAD":
            self.first = self.first or [nonce]
            exchange.headers["Replay-Nonce"] = self.first[0]


def new_nonce_with_get_is_200(exchange: Exchange) -> None:
    if exchange.is_for("/nonce-plz") and exchange.method == "GET":
        exchange.status = 200


def new_account_is_200(exchange: Exchange) -> None:
    if exchange.is_for("/sign-me-up") and exchange.status == 201:
        exchange.status = 200


def finalize_has_another_location(exchange: Exchange) -> None:
    if exchange.is_for("/finalize-order") and exchange.status == 200:
        exchange.headers["Location"] += "?from=proxy"


def errors_are_plain_json(exchange: Exchange) -> None:
    if exchange.status >= 400 and exchange.method == "POST":
        exchange.headers["Content-Type"] = "application/json"


def another_status_in_the_problem(exchange: Exchange) -> None:
    if exchange.problem:
        exchange.change(status=500)


def errors_without_a_detail(exchange: Exchange) -> None:
    if exchange.problem:
        exchange.change(detail=None)


def no_index(exchange: Exchange) -> None:
    if "Link" in exchange.headers:
        exchange.headers["Link"] = exchange.headers["Link"].replace('rel="index"', 'rel="other"')


def no_up(exchange: Exchange) -> None:
    if "Link" in exchange.headers:
        exchange.headers["Link"] = exchange.headers["Link"].replace('rel="up"', 'rel="other"')


def any_content_type(exchange: Exchange) -> None:
    if exchange.method == "POST":
        exchange.content_type = "application/jose+json"


def get_is_404(exchange: Exchange) -> None:
    if exchange.status == 405:
        exchange.status = 404


def drops_the_unprotected_header(exchange: Exchange) -> None:
    if b'"header"' in exchange.body:
        body = json.loads(exchange.body)
        body.pop("header", None)
        exchange.body = json.dumps(body).encode()


def drops_signatures(exchange: Exchange) -> None:
    if b'"signatures"' in exchange.body and b'"signature"' in exchange.body:
        body = json.loads(exchange.body)
        body.pop("signatures", None)
        if "signature" in body:
            exchange.body = json.dumps(body).encode()


def takes_padding(exchange: Exchange) -> None:
    exchange.body = re.sub(rb'("signature": "[^"=]*)=+"', rb'\1"', exchange.body)


def takes_junk(exchange: Exchange) -> None:
    exchange.body = re.sub(rb'("signature": "[^"!]*)!', rb"\1", exchange.body)


def not_ready_is_400(exchange: Exchange) -> None:
    if exchange.problem == "orderNotReady":
        exchange.status = 400


def orders_do_not_expire(exchange: Exchange) -> None:
    if exchange.is_for("/order-plz", "/my-order") and exchange.status < 300:
        exchange.change(expires=None)


def tokens_are_short(exchange: Exchange) -> None:
    if exchange.is_for("/authZ") and exchange.status == 200:
        challenges = exchange.json()["challenges"]
        assert isinstance(challenges, list)
        exchange.change(challenges=[entry | {"token": entry["token"][:8]} for entry in challenges])


def wildcards_are_not_said(exchange: Exchange) -> None:
    if exchange.is_for("/authZ") and exchange.status == 200:
        exchange.change(wildcard=None)


def chains_have_a_text(exchange: Exchange) -> None:
    if exchange.answer.startswith(b"-----BEGIN CERTIFICATE"):
        exchange.answer = b"Your certificate:\n" + exchange.answer


def chains_are_upside_down(exchange: Exchange) -> None:
    if exchange.answer.startswith(b"-----BEGIN CERTIFICATE"):
        blocks = re.findall(rb"-----BEGIN.*?END CERTIFICATE-----\n", exchange.answer, re.DOTALL)
        exchange.answer = b"".join(reversed(blocks))


def chains_are_text(exchange: Exchange) -> None:
    if exchange.answer.startswith(b"-----BEGIN CERTIFICATE"):
        exchange.headers["Content-Type"] = "application/x-pem-file"


def bad_csrs_are_bad_requests(exchange: Exchange) -> None:
    if exchange.problem == "orderNotReady":
        exchange.change(type="about:blank")


@dataclass
class Cache:
    """A cache before the server gives everybody what the first one read: it knows URLs, not who asks."""

    orders: dict[str, Exchange] = field(default_factory=dict)

    def before(self, exchange: Exchange) -> None:
        known = self.orders.get(exchange.path)
        if known is not None and exchange.method == "POST":
            exchange.status, exchange.headers, exchange.answer = known.status, dict(known.headers), known.answer

    def after(self, exchange: Exchange) -> None:
        if exchange.is_for("/my-order", "/authZ") and exchange.status == 200 and b'"pending"' in exchange.answer:
            self.orders.setdefault(exchange.path, exchange)


def failures_are_500(exchange: Exchange) -> None:
    if exchange.problem == "malformed":
        exchange.status = 500
        exchange.answer = b"Traceback (most recent call last)"


def accounts_without_orders(exchange: Exchange) -> None:
    if exchange.is_for("/my-account", "/sign-me-up") and exchange.status < 300:
        exchange.change(orders=None)


def redirects_to_plain_http(exchange: Exchange) -> None:
    if exchange.is_for("/dir"):
        exchange.answer = exchange.answer.replace(b'"revokeCert": "https:', b'"revokeCert": "http:')


def revoked_twice_is_fine(exchange: Exchange) -> None:
    if exchange.problem == "alreadyRevoked":
        exchange.status, exchange.answer = 200, b""


FAULTS: dict[str, tuple[Fault, Fault, str]] = {
    "no nonce on success": (nothing, no_nonce_on_success, "test_every_good_answer_has_a_nonce"),
    "no nonce on errors": (nothing, no_nonce_on_errors, "test_every_refusal_has_a_nonce"),
    "newNonce with GET is 200": (nothing, new_nonce_with_get_is_200, "test_new_nonce_answers_get"),
    "newAccount is 200": (nothing, new_account_is_200, "test_a_new_account_is_201"),
    "another Location": (nothing, finalize_has_another_location, "test_finalize_has_a_location"),
    "errors are application/json": (nothing, errors_are_plain_json, "test_every_refusal_is_a_problem_document"),
    "another status in the problem": (nothing, another_status_in_the_problem, "test_a_problems_status_is_the_answers"),
    "errors without a detail": (nothing, errors_without_a_detail, "test_a_problem_has_a_detail"),
    "errors without a type": (nothing, bad_csrs_are_bad_requests, "test_a_problems_type_is_registered"),
    "no link to the directory": (nothing, no_index, "test_every_good_answer_links_to_the_directory"),
    "any content type": (any_content_type, nothing, "test_another_content_type_is_415"),
    "GET is 404": (nothing, get_is_404, "test_get_on_a_resource_of_the_directory_is_405"),
    "an unprotected header is dropped": (
        drops_the_unprotected_header,
        nothing,
        "test_an_unprotected_header_is_malformed",
    ),
    "signatures beside a signature": (drops_signatures, nothing, "test_both_forms_at_once_are_malformed"),
    "padding is taken": (takes_padding, nothing, "test_base64_padding_is_malformed"),
    "junk is taken": (takes_junk, nothing, "test_junk_in_base64url_is_malformed"),
    "orderNotReady is 400": (nothing, not_ready_is_400, "test_a_pending_order_is_not_finalized"),
    "orders do not expire": (nothing, orders_do_not_expire, "test_a_pending_order_expires"),
    "tokens are short": (nothing, tokens_are_short, "test_a_token_is_long"),
    "wildcards are not said": (nothing, wildcards_are_not_said, "test_a_wildcards_authorization_has_the_base_name"),
    "chains have a text": (nothing, chains_have_a_text, "test_a_chain_is_strict_pem"),
    "chains are upside down": (nothing, chains_are_upside_down, "test_the_leaf_comes_first"),
    "chains are another type": (nothing, chains_are_text, "test_a_certificate_is_a_pem_chain"),
    "failures are 500": (nothing, failures_are_500, "test_no_identifier_makes_the_server_fail"),
    "accounts without orders": (nothing, accounts_without_orders, "test_an_account_has_a_list_of_orders"),
    "plain http in the directory": (nothing, redirects_to_plain_http, "test_every_url_of_the_directory_is_https"),
    "revoked twice": (nothing, revoked_twice_is_fine, "test_a_revoked_certificate_is_already_revoked"),
}
STATEFUL = {
    "one nonce for all": "test_every_answers_nonce_is_another",
    "a cache that knows nobody": "test_another_accounts_object_is_not_shown",
}
SEEN = sorted({test for _, _, test in FAULTS.values()} | set(STATEFUL.values()))


def found(tmp_path: Path, good: Pebble, directory: str, *tests: str) -> dict[str, str]:
    """The outcomes of some of the suite's tests."""
    names = ("--acme-challtestsrv", good.challenges.management)
    return run(tmp_path / "found.json", directory, good.tls.root, *names, tests=tests, seconds=120).outcomes


def test_without_a_fault_the_tests_pass(tmp_path: Path, good: Pebble) -> None:
    with faulty(good) as directory:
        outcomes = found(tmp_path, good, directory, *SEEN)
    assert sorted(outcomes) == SEEN
    assert set(outcomes.values()) == {"pass"}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_fault_fails_its_rule(tmp_path: Path, good: Pebble, fault: str) -> None:
    before, after, test = FAULTS[fault]
    with faulty(good, before, after) as directory:
        assert found(tmp_path, good, directory, test) == {test: "fail"}


def test_one_nonce_for_all_is_seen(tmp_path: Path, good: Pebble) -> None:
    test = STATEFUL["one nonce for all"]
    with faulty(good, nothing, OneNonce()) as directory:
        assert found(tmp_path, good, directory, test) == {test: "fail"}


def test_a_cache_that_knows_nobody_is_seen(tmp_path: Path, good: Pebble) -> None:
    cache, test = Cache(), STATEFUL["a cache that knows nobody"]
    # Of an account Pebble itself shows strangers something, so that only orders are looked at.
    options = ("-k", "order and not orders", "--acme-challtestsrv", good.challenges.management)
    with faulty(good) as directory:
        assert run(tmp_path / "good.json", directory, good.tls.root, *options, tests=[test]).outcomes == {test: "pass"}
    with faulty(good, cache.before, cache.after) as directory:
        assert run(tmp_path / "bad.json", directory, good.tls.root, *options, tests=[test]).outcomes == {test: "fail"}
