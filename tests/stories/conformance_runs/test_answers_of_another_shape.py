"""A server whose answers have another shape fails rules: no test of the suite ends in an error of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conformance_runs.faulty import Exchange, Fault, faulty, nothing
from conformance_runs.pebble import Pebble, pebble
from conformance_runs.suite import run


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    with pebble(tmp_path_factory.mktemp("pebble"), PEBBLE_ALTERNATE_ROOTS="1") as server:
        yield server


def objects(change: Callable[[dict[str, object]], object], *paths: str) -> Fault:
    """A fault of the objects at some of Pebble's paths."""

    def after(exchange: Exchange) -> None:
        if exchange.is_for(*paths) and exchange.status < 300 and exchange.answer.startswith(b"{"):
            exchange.answer = json.dumps(change(exchange.json())).encode()

    return after


def of_other_types(members: dict[str, object]) -> object:
    """Numbers for strings, texts for lists, lists for objects."""
    return {
        name: 7 if isinstance(value, str) else "text" if isinstance(value, list) else [value]
        for name, value in members.items()
    }


def problems_are_lists(exchange: Exchange) -> None:
    if exchange.problem:
        exchange.answer = b"[" + exchange.answer + b"]"


def no_headers(exchange: Exchange) -> None:
    if exchange.method == "POST" and not exchange.is_for("/sign-me-up", "/order-plz"):
        exchange.headers.clear()


def chains_are_text(exchange: Exchange) -> None:
    exchange.answer = exchange.answer.replace(b"-----BEGIN CERTIFICATE-----", b"Your certificate:")


def chains_are_one_certificate(exchange: Exchange) -> None:
    if exchange.answer.startswith(b"-----BEGIN"):
        exchange.answer = exchange.answer.partition(b"-----END")[0] + b"-----END CERTIFICATE-----\n"


FAULTS: dict[str, tuple[Fault, str]] = {
    "accounts of other types": (objects(of_other_types, "/my-account", "/sign-me-up"), "test_accounts.py"),
    "lists of orders of other types": (objects(of_other_types, "/list-orderz"), "test_lists_of_orders.py"),
    "orders of other types": (objects(of_other_types, "/my-order", "/finalize-order"), "test_finalize.py"),
    "empty orders": (objects(lambda _: {}, "/my-order", "/order-plz"), "test_orders.py"),
    "authorizations of other types": (objects(of_other_types, "/authZ"), "test_authorizations.py"),
    "authorizations with nothing in their lists": (
        objects(lambda body: body | {"challenges": []}, "/authZ"),
        "test_whose_it_is.py",
    ),
    "challenges in lists": (objects(lambda body: [body], "/chalZ"), "test_authorizations.py"),
    "problems in lists": (problems_are_lists, "test_algorithms.py"),
    "no headers": (no_headers, "test_responses.py"),
    "text for chains": (chains_are_text, "test_certificates.py"),
    "chains of one certificate": (chains_are_one_certificate, "test_certificates.py"),
}
"""What is wrong with a server's answers, and the file of the suite's that reads them most."""


@pytest.mark.parametrize("fault", list(FAULTS))
def test_an_answer_of_another_shape_fails_a_rule_with_a_sentence(tmp_path: Path, good: Pebble, fault: str) -> None:
    after, file = FAULTS[fault]
    options = (*good.options, "--acme-patience", "3", "-m", "not late and not last")
    with faulty(good, nothing, after) as directory:
        found = run(tmp_path / "found.json", directory, good.tls.root, *options, file=file, seconds=240)
    failed = {test: found.reasons[test] for test in found.failed}
    assert failed
    assert {test: why for test, why in failed.items() if not why.startswith("AssertionError: ")} == {}
