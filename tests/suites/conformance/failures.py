"""Proofs that are bad, all of them begun at once: a server may try a bad one for a minute before it gives it up."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from conformance.answers import Body, NotOfferedError, exactly
from conformance.checks import left_to, refused, succeeded
from conformance.client import WORK_STATES, Account, Resource, Server
from conformance.solvers import Challtestsrv, key_authorization, record

PATIENCE = 3
"""How many times as long as for a good proof a bad one is waited for, from its answer; for all together, once."""


@dataclass
class Case:
    """What a bad proof is put up with."""

    names: Challtestsrv
    account: Account
    stranger: Account
    name: str
    challenge: Body

    def page(self, content: str) -> None:
        """Serve http-01 with this content."""
        self.names.tell("add-http01", token=self.challenge["token"], content=content)

    def text(self, value: str) -> None:
        """Serve dns-01 with this record."""
        self.names.tell("set-txt", host=f"_acme-challenge.{self.name}.", value=value)

    def own(self) -> str:
        """The right key authorization."""
        return key_authorization(self.challenge, self.account.key)


WRONG = ("incorrectResponse", "unauthorized")
NO_RECORD = ("incorrectResponse", "dns", "unauthorized")
NO_TLS = ("incorrectResponse", "unauthorized", "tls", "connection")

BAD_PROOFS: dict[str, tuple[str, tuple[str, ...], Callable[[Case], object]]] = {
    "http-01 nonsense": ("http-01", WRONG, lambda case: case.page("nonsense")),
    "http-01 another account's": (
        "http-01",
        WRONG,
        lambda case: case.page(key_authorization(case.challenge, case.stranger.key)),
    ),
    "http-01 token only": ("http-01", WRONG, lambda case: case.page(case.challenge["token"])),
    "http-01 longer": ("http-01", WRONG, lambda case: case.page(case.own() + "x")),
    "http-01 nothing": ("http-01", WRONG, lambda _: None),
    "http-01 no address": (
        "http-01",
        ("dns", "connection"),
        lambda case: case.names.tell("set-servfail", host=f"{case.name}."),
    ),
    "http-01 no connection": (
        "http-01",
        ("connection",),
        lambda case: case.names.tell("add-a", host=f"{case.name}.", addresses=["127.0.0.99"]),
    ),
    "dns-01 nonsense": ("dns-01", NO_RECORD, lambda case: case.text("nonsense")),
    "dns-01 another account's": (
        "dns-01",
        NO_RECORD,
        lambda case: case.text(record(case.challenge, case.stranger.key)),
    ),
    "dns-01 not hashed": ("dns-01", NO_RECORD, lambda case: case.text(case.own())),
    "dns-01 padded": ("dns-01", NO_RECORD, lambda case: case.text(record(case.challenge, case.account.key) + "=")),
    "dns-01 nothing": ("dns-01", NO_RECORD, lambda _: None),
    "dns-01 no answer": (
        "dns-01",
        NO_RECORD,
        lambda case: case.names.tell("set-servfail", host=f"_acme-challenge.{case.name}."),
    ),
    "tls-alpn-01 another account's": (
        "tls-alpn-01",
        NO_TLS,
        lambda case: case.names.tell(
            "add-tlsalpn01", host=case.name, content=key_authorization(case.challenge, case.stranger.key)
        ),
    ),
    "tls-alpn-01 nothing": ("tls-alpn-01", NO_TLS, lambda _: None),
}
"""By name: the challenge's type, the error types that are right, and what puts the bad proof up."""


@dataclass
class Failing:
    """A bad proof that was answered with.

    :ivar test: the rule's test that fails if it is believed.
    :ivar types: the error types that are right.
    """

    case: Case
    order: Resource
    authorization: Resource
    test: str
    types: tuple[str, ...]
    begun: float

    def shown(self) -> Body:
        """The challenge as its authorization shows it."""
        challenges: list[Body] = self.case.account.read(self.authorization.url).body["challenges"]
        own = [entry for entry in challenges if entry["url"] == self.case.challenge["url"]]
        return exactly(1, "challenge with the URL of the one that was answered", own)[0]

    def judged(self) -> Body:
        """The challenge once it is judged, or the patience is over."""
        deadline, pause = self.begun + PATIENCE * self.case.account.server.settings.patience, 0.02
        while True:
            challenge = self.shown()
            if challenge["status"] not in WORK_STATES or time.monotonic() > deadline:
                return challenge
            time.sleep(pause)
            pause = min(pause * 1.5, 0.5)

    def disbelieved(self) -> Body:
        """The invalid challenge. Ends the test if the server goes on trying, since another rule is for that."""
        challenge = self.judged()
        if challenge["status"] in WORK_STATES:
            left_to("test_a_bad_proof_makes_its_challenge_invalid", f"the challenge is still {challenge['status']}")
        assert challenge["status"] == "invalid", f"expected an invalid challenge, got {challenge}"
        return challenge

    def invalid(self) -> Body:
        """The invalid challenge. Ends the test if it is another, since other rules are for that."""
        challenge = self.judged()
        if challenge["status"] not in WORK_STATES and challenge["status"] != "invalid":
            left_to(self.test, f"the challenge is {challenge['status']}")
        return self.disbelieved()

    def error(self) -> Body:
        """The invalid challenge's error. Ends the test if there is none, since another rule is for that."""
        challenge = self.invalid()
        if "error" not in challenge:
            left_to("test_a_failed_challenge_shows_its_error", "the challenge shows no error")
        error: Body = challenge["error"]
        return error


REPORTED_BY = {
    "http-01": "test_http_01_with_another_key_authorization_fails",
    "http-01 no": "test_http_01_without_a_connection_fails",
    "dns-01": "test_dns_01_with_another_record_fails",
    "dns-01 no": "test_dns_01_whose_servers_fail_fails",
    "tls-alpn-01": "test_tls_alpn_01_with_another_digest_fails",
}


def reported_by(what: str) -> str:
    """The test of the rule that a bad proof is not believed."""
    kind, detail, *_ = what.split()
    return REPORTED_BY[f"{kind} no" if detail == "no" else kind]


def begin(server: Server, what: str, account: Account, stranger: Account) -> Failing:
    """Order a name, put the bad proof up and answer.

    :raises NotOfferedError: if there is nothing that answers for the names, or no challenge of that type.
    """
    names = server.settings.solver
    if not isinstance(names, Challtestsrv):
        raise NotOfferedError("this run has no pebble-challtestsrv")
    kind, types, put_up = BAD_PROOFS[what]
    order = account.order()
    (authorization,) = exactly(1, "authorization of an order for one name", account.authorizations(order))
    found = [entry for entry in authorization.body["challenges"] if entry["type"] == kind]
    if not found:
        raise NotOfferedError(f"no {kind} challenge")
    case = Case(names, account, stranger, authorization.body["identifier"]["value"], found[0])
    put_up(case)
    response = account.post(found[0]["url"], {})
    if response.status_code >= 400:
        refused(response)
    else:
        succeeded(response)
    return Failing(case, order, authorization, reported_by(what), types, time.monotonic())
