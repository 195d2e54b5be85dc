"""The validity that an order asks for, and profiles (RFC 8555 section 7.4; draft-ietf-acme-profiles)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
import requests
from conformance.answers import NotOfferedError, object_of
from conformance.checks import left_to, moment, refused, rule, succeeded
from conformance.client import Account, Resource, Server, dns

AREA = "Orders"


def stamp(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def heeded(response: requests.Response, members: Mapping[str, object]) -> requests.Response:
    """The answer, unless the order that it makes has dropped the validity that was asked for."""
    if response.status_code == 201 and not members.keys() & object_of(response).keys():
        left_to("test_the_validity_asked_for_is_honoured_or_refused", "the validity is dropped")
    return response


@rule("RFC 8555 7.4", "`notBefore` and `notAfter` are honoured or refused, never dropped")
@pytest.mark.parametrize("members", [("notAfter",), ("notBefore",), ("notBefore", "notAfter")], ids=" and ".join)
def test_the_validity_asked_for_is_honoured_or_refused(account: Account, members: tuple[str, ...]) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    wanted = {"notBefore": now + timedelta(seconds=60), "notAfter": now + timedelta(hours=2)}
    asked = {name: stamp(wanted[name]) for name in members}
    response = account.try_order(*dns(account.server.name()), **asked)
    if response.status_code != 201:
        refused(response)
        return
    order = Resource.made(response)
    assert {name: moment(order.body.get(name)) for name in members} == {name: wanted[name] for name in members}
    for authorization in account.authorizations(order):
        account.prove(authorization)
    leaf = account.issue(account.wait(order.url, ("pending",))).leaf
    given = {"notBefore": leaf.not_valid_before_utc, "notAfter": leaf.not_valid_after_utc}
    assert {name: given[name] for name in members} == {name: wanted[name] for name in members}


@rule("RFC 8555 7.4", "a validity that is none is refused")
@pytest.mark.parametrize(
    "members",
    [{"notBefore": "tomorrow"}, {"notAfter": "2030-13-01T00:00:00Z"}, {"notAfter": "2030-01-01"}, {"notAfter": 7}],
    ids=str,
)
def test_a_validity_that_is_none_is_refused(account: Account, members: dict[str, object]) -> None:
    refused(heeded(account.try_order(*dns(account.server.name()), **members), members))


@rule("RFC 8555 7.4", "a validity that ends before it begins, or in the past, or far in the future, is refused")
@pytest.mark.parametrize(
    ("not_before", "not_after"), [(2, 1), (None, -1), (None, 24 * 365 * 200)], ids=["backwards", "past", "far"]
)
def test_a_validity_that_cannot_be_is_refused(account: Account, not_before: int | None, not_after: int) -> None:
    if account.try_order(*dns(account.server.name()), notAfter="tomorrow").status_code == 201:
        left_to("test_a_validity_that_is_none_is_refused", "nobody looks at the times")
    now = datetime.now(UTC)
    members = {"notAfter": stamp(now + timedelta(hours=not_after))}
    if not_before is not None:
        members["notBefore"] = stamp(now + timedelta(hours=not_before))
    refused(heeded(account.try_order(*dns(account.server.name()), **members), members))


def profiles(server: Server) -> dict[str, str]:
    found = server.meta.get("profiles")
    if not found:
        raise NotOfferedError("no profiles in the directory")
    assert isinstance(found, dict), f"`profiles` is {found!r}"
    return found


@rule("draft-ietf-acme-profiles 4", "a profile that is not listed is 400 `invalidProfile`")
def test_an_unknown_profile_is_invalid(account: Account) -> None:
    profiles(account.server)
    response = account.try_order(*dns(account.server.name()), profile="conformance-unknown")
    refused(response, "invalidProfile", status=400)


@rule("draft-ietf-acme-profiles 4", "an order for a listed profile has it, and a certificate is issued")
def test_a_listed_profile_is_honoured(account: Account) -> None:
    for name in profiles(account.server):
        response = account.try_order(*dns(account.server.name()), profile=name)
        assert succeeded(response, 201).get("profile") == name
        order = Resource.made(response)
        for authorization in account.authorizations(order):
            account.prove(authorization)
        issued = account.issue(account.wait(order.url, ("pending",)))
        assert issued.order.body.get("profile") == name


@rule("draft-ietf-acme-profiles 3", "each listed profile has a description or a URL, a string")
def test_each_profile_has_a_description(server: Server) -> None:
    assert {name: text for name, text in profiles(server).items() if not isinstance(text, str)} == {}
