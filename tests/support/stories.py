"""An order, step by step: what the server has acknowledged of it, and what must still be there after a fault."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import requests
from cryptography import x509
from injecting import injected
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
    nonces: list[str] = field(default_factory=list)

    def wire(self) -> Wire:
        return _Recorded(self)

    def account(self) -> Account:
        return Account(self.wire(), self.key, self.facts["account"])

    def new_account(self) -> None:
        self.facts["account"] = Account.new(self.wire(), self.key).url

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

    def replay(self, nonce: str) -> bool:
        """Whether a nonce is taken once more."""
        response = self.account().wire.post(self.facts["account"], None, self.key, self.facts["account"], nonce=nonce)
        if response.status_code == 200:
            return True
        assert response.json()["type"].endswith(":badNonce"), response.text
        return False


class _Recorded(Wire):
    """A client that writes down which nonces it was given."""

    def __init__(self, story: Story) -> None:
        super().__init__(story.ca.directory, story.ca.root)
        self._story = story

    def nonce(self) -> str:
        self._story.nonces.append(super().nonce())
        return self._story.nonces[-1]


STEPS: list[Callable[[Story], None]] = [
    Story.new_account,
    Story.new_order,
    Story.read_authorization,
    Story.answer,
    Story.finalize,
    Story.download,
]


@dataclass
class Killing:
    """Orders whose server is killed at its n-th call of a kind, and what was left of each."""

    ca: CA
    stories: list[Story] = field(default_factory=list)

    def at(self, count: int, call: str, number: int) -> bool:
        """Kill the worker right before its ``number``-th ``call`` in a step; False if the step has not that many.

        :param count: how many steps come before that one.
        """
        story = Story(self.ca)
        for step in STEPS[:count]:
            step(story)
        (worker,) = self.ca.workers()
        with injected([worker], call, f"signal=SIGKILL:when={number}"):
            try:
                STEPS[count](story)
                killed = False
            except (requests.RequestException, KeyError, AssertionError):
                killed = True
        in_doubt = story.nonces[-1:] if killed else []
        # It may have been killed after the answer, at a call of a thread that does something beside.
        killed = killed or not self._answers()
        if killed:
            self.ca.kill()
            self.ca.start()
        story.check_nothing_acknowledged_is_lost()
        story.go_on()
        assert not any(story.replay(nonce) for nonce in story.nonces if nonce not in in_doubt)
        for nonce in in_doubt:
            story.replay(nonce)  # it was spent or it was not
            assert not story.replay(nonce)
        self.stories.append(story)
        return killed

    def _answers(self) -> bool:
        try:
            Wire(self.ca.directory, self.ca.root)
        except requests.RequestException:
            return False
        return True

    def check(self) -> None:
        """The store is whole, and each instance has one account and one certificate."""
        assert self.ca.cli("events", "--check").stdout.startswith("OK: ")
        instances = sorted(story.instance.instance_id for story in self.stories)
        with closing(sqlite3.connect(self.ca.home / "ca.db")) as there:
            assert there.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert there.execute("PRAGMA foreign_key_check").fetchall() == []
            held = there.execute("SELECT instance_id, account_id FROM instances ORDER BY instance_id").fetchall()
            assert [instance for instance, _ in held] == instances
            assert len({account for _, account in held}) == len(held)
            issued = there.execute(
                "SELECT i.instance_id FROM certificates c JOIN instances i ON i.id = c.instance_id ORDER BY 1"
            ).fetchall()
            assert issued == [(instance,) for instance in instances]
        assert "Traceback" not in "".join(self.ca.log)
