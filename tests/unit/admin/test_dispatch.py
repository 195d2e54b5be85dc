"""Requests that are no act, or not one of theirs: each is refused by a problem document that says what is expected."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from asking import Api, request
from issued import vm

from acme_iid.admin.dispatch import MAX_BODY_BYTES
from acme_iid.admin.roles import Role
from acme_iid.errors import OutcomeUnknownError, StoreUnavailableError
from acme_iid.store.front import Front
from acme_iid.store.writes import Row

BLOCK = f"/instances/{vm(1)}/block"


@pytest.mark.parametrize(
    "path", ["/", "", "/nothing", "/instances/", "/instances//block", "/instances/a/b/c", "//", "x"]
)
def test_an_unknown_path_is_not_found(api: Api, path: str) -> None:
    reply = api.ask("GET", path)
    assert (reply.status, reply.content["type"]) == (404, "urn:acme-iid:admin:noAct")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/instances", "GET"), ("HEAD", "/instances", "GET"), ("POST", "/instances/x", "GET"),
        ("GET", BLOCK, "POST"), ("FOO17", BLOCK, "POST"), ("get", "/instances", "GET"), ("OPTIONS", BLOCK, "POST"),
    ],
)  # fmt: skip
def test_another_method_is_told_which_one_a_path_takes(api: Api, method: str, path: str, allowed: str) -> None:
    reply = api.send(request(method, path))
    assert (reply.status, reply.headers["Allow"]) == (405, allowed)


def test_unknown_parameters_are_named_with_those_that_there_are(api: Api) -> None:
    reply = api.ask("GET", "/instances", colour="red")
    assert (reply.status, reply.parameter) == (400, "colour")
    assert "owner" in reply.content["expected"]
    reply = api.ask("POST", BLOCK, colour="red")
    assert (reply.status, reply.parameter) == (400, "colour")
    assert api.get("/instances", blocked=True)["items"] == []


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("limit", "1001", "a whole number from 1 to 1000"), ("limit", "0", "from 1"), ("limit", "1.5", "whole"),
        ("limit", "\u0661", "whole"), ("limit", "9" * 40, "whole"), ("limit", "", "whole"),
        ("blocked", "yes", "true or false"), ("blocked", "", "true or false"),
        ("cloud", "nimbus", "one of"), ("owner", "bob", "account"), ("owner", "", "account"),
        ("since", "yesterday", "RFC 3339"), ("before", "12", "next"), ("before", "x.1", "next"),
        ("name", "no name", "name"), ("account", "a\x00b", "printable"), ("account", "x" * 257, "printable"),
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_named_with_what_is_expected(api: Api, name: str, text: str, expected: str) -> None:
    reply = api.ask("GET", "/instances", **{name: text})
    assert (reply.status, reply.parameter) == (400, name)
    assert expected in reply.content["expected"]


@pytest.mark.parametrize("value", ["true", 1, 0, None, [], {}, "no"])
def test_a_flag_in_a_body_is_true_or_false(api: Api, value: object) -> None:
    reply = api.ask("POST", BLOCK, revoke=value)
    assert (reply.status, reply.parameter, reply.content["expected"]) == (400, "revoke", "true or false")


def test_a_parameter_in_a_query_is_given_once(api: Api) -> None:
    reply = api.send(request("GET", "/instances", "limit=5&limit=6"))
    assert (reply.status, reply.parameter) == (400, "limit")


@pytest.mark.parametrize("query", ["limit", "a;b", "&", "limit=5&", "%ff=1", "limit=%ff", "&".join(["x=1"] * 65)])
def test_a_query_that_is_not_readable_is_refused(api: Api, query: str) -> None:
    assert api.send(request("GET", "/instances", query)).status == 400


def test_a_key_in_a_body_is_given_once(api: Api) -> None:
    reply = api.send(request("POST", BLOCK, body=b'{"revoke": false, "revoke": false}'))
    assert reply.status == 400
    assert "twice" in reply.content["detail"]
    assert api.get("/instances", blocked=True)["items"] == []


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b'"x"', b"1", b"{", b"\xff", b"{}{}", b'{"revoke": NaN}', b"\xef\xbb\xbf{}",
     b'{"reason": "\\ud800"}', b'{"a": [[[[[[]]]]]]}'],
)  # fmt: skip
def test_a_body_is_one_json_object(api: Api, body: bytes) -> None:
    reply = api.send(
        request("POST", BLOCK, body=body) if body else request("POST", BLOCK)._replace(content_type="application/json")
    )
    assert reply.status == 400
    assert api.get("/instances", blocked=True)["items"] == []


@pytest.mark.parametrize("media", [None, "text/plain", "application/x-www-form-urlencoded", "application/json5", ""])
def test_a_body_has_to_be_said_to_be_json(api: Api, media: str | None) -> None:
    reply = api.send(request("POST", BLOCK, body=b"{}", media=media))
    assert (reply.status, reply.content["type"]) == (415, "urn:acme-iid:admin:notJSON")
    assert api.send(request("POST", BLOCK, body=b"{}", media="Application/JSON; charset=utf-8")).status == 200


def test_a_body_is_bounded(api: Api) -> None:
    def padded(octets: int) -> bytes:
        return b'{"revoke": false}'.ljust(octets)

    assert api.send(request("POST", BLOCK, body=padded(MAX_BODY_BYTES + 1))).status == 413
    assert api.send(request("POST", BLOCK, body=padded(MAX_BODY_BYTES))).status == 200


def test_a_reading_takes_no_body_and_a_change_no_query(api: Api) -> None:
    assert api.send(request("GET", "/instances", body=b"{}")).status == 400
    reply = api.send(request("POST", BLOCK, "revoke=true", b"{}"))
    assert (reply.status, reply.parameter) == (400, "revoke")
    reply = api.ask("POST", BLOCK, id=vm(2))
    assert (reply.status, reply.parameter) == (400, "id")


class Broken(Front[Any]):
    """A store that fails in some way."""

    def __init__(self, behind: Any, error: Exception) -> None:
        super().__init__(behind)
        self.error = error

    def rows(self, statement: str, **parameters: object) -> list[Row]:
        del statement, parameters
        raise self.error

    def seal(self, *, waits: bool = True) -> None:
        del waits
        raise self.error


def broken(api: Api, error: Exception) -> Api:
    api.dispatcher._database = Broken(api.database, error)
    return api


def test_a_store_that_is_away_is_told_with_when_to_ask_again(api: Api) -> None:
    reply = broken(api, StoreUnavailableError("the disk of /secret is full")).ask("GET", "/instances")
    assert (reply.status, reply.headers["Retry-After"]) == (503, "5")
    assert "secret" not in json.dumps(reply.content)


def test_a_change_that_may_have_been_made_is_told_as_that(api: Api) -> None:
    reply = broken(api, OutcomeUnknownError("gone")).ask("POST", BLOCK)
    assert (reply.status, reply.content["type"]) == (503, "urn:acme-iid:admin:outcomeUnknown")


def test_an_unforeseen_fault_is_logged_and_not_shown(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        reply = broken(api, ZeroDivisionError("of the secret")).ask("GET", "/instances")
    assert reply.status == 500
    assert "secret" not in json.dumps(reply.content)
    assert "Traceback" not in json.dumps(reply.content)
    assert reply.headers["X-Request-Id"] in reply.content["detail"]
    (record,) = caplog.records
    assert reply.headers["X-Request-Id"] in record.getMessage()
    assert "of the secret" in str(record.exc_info)


def test_each_request_has_an_id_of_its_own(api: Api) -> None:
    assert len({api.ask("GET", "/instances").headers["X-Request-Id"] for _ in range(3)}) == 3


def test_nobody_keeps_an_answer(api: Api) -> None:
    assert api.ask("GET", "/instances", Role.VIEWER).headers["Cache-Control"] == "no-store"
