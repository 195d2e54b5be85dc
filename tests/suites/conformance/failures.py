"""Proofs that are bad, all of them begun at once: a server may try a bad one for a minute before it gives it up."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from conformance.checks import refused, succeeded
from conformance.client import URN, Account, Body, NotOfferedError, Resource, Server
from conformance.solvers import Challtestsrv, key_authorization, record

PATIENCE = 100
"""Seconds from the answer in which a bad proof is to be refused."""


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
    """A bad proof that was answered with, or what kept it from being."""

    case: Case
    order: Resource
    authorization: Resource
    types: tuple[str, ...]
    begun: float

    def judged(self) -> Body:
        """The authorization once it is no longer pending."""
        patience = max(self.begun + PATIENCE - time.monotonic(), 1)
        return self.case.account.wait(self.authorization.url, patience=patience).body

    def error(self) -> Body:
        """The challenge's error, once it is sure that it was refused for the right reason."""
        authorization = self.judged()
        assert authorization["status"] == "invalid", authorization
        (challenge,) = [entry for entry in authorization["challenges"] if entry["url"] == self.case.challenge["url"]]
        assert challenge["status"] == "invalid", challenge
        error: Body = challenge["error"]
        assert error["type"].removeprefix(URN) in self.types, error
        assert error["detail"]
        return error


def begin(server: Server, what: str, account: Account, stranger: Account) -> Failing:
    """Order a name, put the bad proof up and answer.

    :raises NotOfferedError: if there is nothing that answers for the names, or no challenge of that type.
    """
    names = server.settings.solver
    if not isinstance(names, Challtestsrv):
        raise NotOfferedError("this run has no pebble-challtestsrv")
    kind, types, put_up = BAD_PROOFS[what]
    order = account.order()
    (authorization,) = account.authorizations(order)
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
    return Failing(case, order, authorization, types, time.monotonic())
