"""SIGKILL at every step of an order, then a new server: what was acknowledged is there, and the client can go on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests
from cryptography import x509
from running import ACCOUNT, CA, answer
from wire import Account, Key, Wire, b64, csr

from acme_iid.simulator import aws


@dataclass
class Story:
    """An order as far as it has come: what the server has acknowledged, and what was asked of it."""

    ca: CA
    key: Key = field(default_factory=Key)
    instance: aws.Instance = field(default_factory=lambda: aws.Instance(account=ACCOUNT))
    facts: dict[str, Any] = field(default_factory=dict)

    def account(self) -> Account:
        return Account(Wire(self.ca.directory, self.ca.root), self.key, self.facts["account"])

    def new_account(self) -> None:
        self.facts["account"] = Account.new(Wire(self.ca.directory, self.ca.root), self.key).url

    def new_order(self) -> None:
        response = self.account().order("foo.local")
        self.facts["order"], self.facts["ordered"] = response.headers["Location"], response.json()

    def read_authorization(self) -> None:
        self.facts["challenge"] = self.account().challenge(self.facts["ordered"])["url"]

    def answer(self) -> None:
        response = self.account().post(self.facts["challenge"], answer(self.instance))
        self.facts["challenge status"] = response.json()["status"]

    def finalize(self) -> None:
        response = self.account().post(self.facts["ordered"]["finalize"], {"csr": b64(csr("foo.local")[1])})
        self.facts["certificate"] = response.json()["certificate"]

    def download(self) -> None:
        self.facts["chain"] = self.account().post(self.facts["certificate"]).text

    def check_nothing_acknowledged_is_lost(self) -> None:
        account = self.account() if "account" in self.facts else None
        if account is None:
            return
        assert account.post(account.url).json()["status"] == "valid"
        if "order" in self.facts:
            order = account.post(self.facts["order"]).json()
            assert order["identifiers"] == self.facts["ordered"]["identifiers"]
            if "certificate" in self.facts:
                assert order["status"] == "valid"
                assert order["certificate"] == self.facts["certificate"]
            elif "challenge status" in self.facts:
                assert order["status"] in ("ready", "valid")
        if "challenge status" in self.facts:
            assert account.post(self.facts["challenge"]).json()["status"] == "valid"
        if "chain" in self.facts:
            assert account.post(self.facts["certificate"]).text == self.facts["chain"]

    def go_on(self) -> None:
        """Finish the order wherever it stands, as a client that was told nothing would."""
        self.new_account()
        account = self.account()
        if "order" not in self.facts:
            self.new_order()
        order = account.post(self.facts["order"]).json()
        if order["status"] == "pending":
            response = account.post(account.challenge(order)["url"], answer(self.instance))
            assert response.json()["status"] == "valid", response.text
        if order["status"] != "valid":
            done = account.post(order["finalize"], {"csr": b64(csr("foo.local")[1])})
            assert done.status_code == 200, done.text
        order = account.post(self.facts["order"]).json()
        chain = account.post(order["certificate"]).text
        assert len(x509.load_pem_x509_certificates(chain.encode())) == 2


STEPS: list[Callable[[Story], None]] = [
    Story.new_account,
    Story.new_order,
    Story.read_authorization,
    Story.answer,
    Story.finalize,
    Story.download,
]


@pytest.mark.parametrize("count", range(1, len(STEPS) + 1))
def test_what_was_acknowledged_survives_a_kill_right_after(own_ca: CA, count: int) -> None:
    own_ca.start()
    story = Story(own_ca)
    for step in STEPS[:count]:
        step(story)
    own_ca.kill()
    own_ca.start()
    story.check_nothing_acknowledged_is_lost()
    story.go_on()


@pytest.mark.parametrize("milliseconds", [0, 8])
@pytest.mark.parametrize("count", range(len(STEPS)))
def test_a_kill_during_a_request_leaves_an_order_that_can_be_finished(
    own_ca: CA, count: int, milliseconds: int
) -> None:
    own_ca.start()
    story = Story(own_ca)
    for step in STEPS[:count]:
        step(story)

    def interrupted() -> None:
        try:
            STEPS[count](story)
        except (requests.RequestException, KeyError, AssertionError):
            return  # the server went away while it was asked

    request = threading.Thread(target=interrupted)
    request.start()
    # The exact moment does not matter, and a loaded machine moves it: every one must be survived.
    time.sleep(milliseconds / 1000)
    own_ca.kill()
    request.join(timeout=60)
    assert not request.is_alive()
    own_ca.start()
    story.check_nothing_acknowledged_is_lost()
    story.go_on()
