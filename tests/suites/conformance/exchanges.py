"""Good and bad requests of every kind, for the rules on what every answer carries."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import requests
from conformance.answers import Body, Object, document, header, said
from conformance.certificates import chain_of, csr
from conformance.checks import left_to
from conformance.client import Account, Resource, Server, dns
from conformance.jose import Key, private_key
from cryptography.hazmat.primitives.serialization import Encoding


class Good:
    """Answers to good requests of every kind, each made when it is first asked for: some servers refuse some."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._key = Key.new()

    @cached_property
    def created(self) -> requests.Response:
        return self._server.register(self._key)

    @cached_property
    def own(self) -> Account:
        return Account(self._server, self._key, header(self.created, "Location"))

    @cached_property
    def orders(self) -> requests.Response:
        url = self.own.read(self.own.url).body.get("orders")
        if url is None:
            left_to("test_an_account_has_a_list_of_orders", "the account has no list of orders")
        return self.own.post(url)

    @cached_property
    def order(self) -> Resource:
        response = self.own.try_order(*dns(self._server.name()))
        assert response.status_code == 201, said(response)
        return Resource.made(response)

    @cached_property
    def authorization(self) -> Resource:
        return self.own.authorization(self.order)

    @cached_property
    def answered(self) -> tuple[Body, requests.Response]:
        return self.own.answer(self.authorization)

    @cached_property
    def challenge(self) -> requests.Response:
        found, _ = self.answered
        self.own.wait(self.authorization.url)
        return self.own.post(found["url"])

    @cached_property
    def finalized(self) -> requests.Response:
        assert self.challenge
        self.own.wait(self.order.url, ("pending",))
        request = csr(private_key("ES256"), identifiers=self.order.body["identifiers"])
        return self.own.finalize(self.order, request)

    @cached_property
    def done(self) -> Resource:
        assert self.finalized
        return self.own.wait(self.order.url, ("ready", "processing"))

    @cached_property
    def certificate(self) -> requests.Response:
        return self.own.post(self.done.body["certificate"])

    @cached_property
    def revoked(self) -> requests.Response:
        leaf = chain_of(self.certificate)[0]
        return self.own.revoke(leaf.public_bytes(Encoding.DER))


ANSWERS: dict[str, Callable[[Good], requests.Response]] = {
    "newAccount": lambda good: good.created,
    "newAccount again": lambda good: good.own.server.register(good.own.key),
    "account": lambda good: good.own.post(good.own.url),
    "account update": lambda good: good.own.post(good.own.url, {"contact": []}),
    "orders": lambda good: good.orders,
    "newOrder": lambda good: good.order.response,
    "order": lambda good: good.done.response,
    "authorization": lambda good: good.authorization.response,
    "challenge": lambda good: good.challenge,
    "answer": lambda good: good.answered[1],
    "finalize": lambda good: good.finalized,
    "certificate": lambda good: good.certificate,
    "revokeCert": lambda good: good.revoked,
}
GOOD = list(ANSWERS)

REPORTED_BY = {
    "no JSON": "test_a_body_that_is_no_json_object_is_malformed",
    "content type": "test_another_content_type_is_415",
    "bad signature": "test_a_signature_by_another_key_is_refused",
    "bad nonce": "test_an_unknown_nonce_is_a_bad_nonce",
    "bad algorithm": "test_an_unknown_algorithm_is_refused",
    "no identifiers": "test_an_order_without_identifiers_is_malformed",
    "unknown type": "test_an_unknown_identifier_type_is_unsupported",
    "not ready": "test_a_pending_order_is_not_finalized",
    "another's order": "test_another_accounts_object_is_unauthorized",
    "unknown account": "test_only_return_existing_for_an_unknown_key",
    "bad key": "test_a_jwk_that_is_no_good_key_is_refused",
    "no certificate": "test_a_certificate_that_is_none_is_refused",
}
"""Bad requests, and the test that fails if one is not refused."""
BAD = list(REPORTED_BY)


def refusal(bad: dict[str, requests.Response], what: str) -> requests.Response:
    """The answer to a bad request, if it refuses it."""
    if bad[what].status_code < 400:
        left_to(REPORTED_BY[what], "the request is not refused")
    return bad[what]


def problem(bad: dict[str, requests.Response], what: str) -> Object:
    """The problem document of a refusal, if there is one."""
    body = document(refusal(bad, what))
    if not body:
        left_to("test_every_refusal_is_a_problem_document", "the refusal has no JSON object")
    return body
