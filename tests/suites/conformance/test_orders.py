"""Orders and their identifiers (RFC 8555 sections 7.1.3, 7.1.4 and 7.4; RFC 8738)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
import requests
from conformance.answers import NotOfferedError, error_type, exactly, object_of
from conformance.certificates import extension
from conformance.checks import is_https_url, is_refused, left_to, moment, refused, rule, succeeded
from conformance.client import Account, Resource, dns
from cryptography import x509

AREA = "Orders"

REFUSED_NAME = ("rejectedIdentifier", "malformed", "unsupportedIdentifier")


def optional(response: requests.Response, what: str) -> Resource:
    """The order, if the server makes such orders.

    :raises NotOfferedError: if it refuses them in the way it should.
    """
    if error_type(response) in ("rejectedIdentifier", "unsupportedIdentifier"):
        refused(response)
        raise NotOfferedError(what)
    succeeded(response, 201)
    return Resource.made(response)


def ordered(account: Account, *names: str, **members: object) -> Resource:
    """An order for names that a server may refuse by its policy."""
    return optional(account.try_order(*dns(*names), **members), f"orders for {names} are refused")


# --- newOrder


@rule("RFC 8555 7.4", "newOrder is 201 with a pending order")
def test_a_new_order_is_201_and_pending(account: Account) -> None:
    assert succeeded(account.try_order(*dns(account.server.name())), 201)["status"] == "pending"


@rule("RFC 8555 7.1.3", "an order has its identifiers, authorizations and finalize URL")
def test_an_order_has_its_members(account: Account) -> None:
    names = [account.server.name(), account.server.name()]
    order = account.order(*names)
    assert sorted(entry["value"] for entry in order.body["identifiers"]) == sorted(names)
    assert {entry["type"] for entry in order.body["identifiers"]} == {"dns"}
    assert len(set(order.body["authorizations"])) == 2
    urls = (*order.body["authorizations"], order.body["finalize"])
    assert [url for url in urls if not is_https_url(url)] == []


@rule("RFC 8555 7.1.3", "a pending order has `expires`, in the future")
def test_a_pending_order_expires(pending: Resource) -> None:
    assert moment(pending.body.get("expires")) > datetime.now(UTC)


@rule("RFC 8555 7.1.3", "an order that is not valid has no `certificate`")
def test_a_pending_order_has_no_certificate(pending: Resource) -> None:
    assert "certificate" not in pending.body


@rule("RFC 8555 7.4", "an order that is read is the one that was made")
def test_an_order_is_read(account: Account, pending: Resource) -> None:
    body = account.read(pending.url).body
    assert {name: body[name] for name in ("status", "identifiers", "authorizations", "finalize")} == {
        name: pending.body[name] for name in ("status", "identifiers", "authorizations", "finalize")
    }


@rule("RFC 8555 7.4", "a newOrder without identifiers, or with what is none, is `malformed`")
@pytest.mark.parametrize(
    "identifiers",
    [
        None,
        [],
        {},
        "a.test",
        [None],
        ["a.test"],
        [{}],
        [{"type": "dns"}],
        [{"value": "a.test"}],
        [{"type": "dns", "value": 7}],
        [{"type": 7, "value": "a.test"}],
        [{"type": "dns", "value": None}],
    ],
    ids=str,
)
def test_an_order_without_identifiers_is_malformed(account: Account, identifiers: object) -> None:
    payload = {} if identifiers is None else {"identifiers": identifiers}
    response = account.post(account.server.directory["newOrder"], payload)
    refused(response, "malformed", "unsupportedIdentifier", "rejectedIdentifier", status=400)


@rule("RFC 8555 6.7", "an identifier type that the server does not know is 400 `unsupportedIdentifier`", "SHOULD")
def test_an_unknown_identifier_type_is_unsupported(account: Account) -> None:
    refused(account.try_order({"type": "conformance", "value": "x"}), "unsupportedIdentifier", status=400)


@rule("RFC 8555 7.4", "one bad identifier among good ones refuses the order")
def test_one_bad_identifier_refuses_the_order(account: Account) -> None:
    bad = {"type": "conformance", "value": "x"}
    refused(account.try_order(*dns(account.server.name()), bad))


@rule("RFC 8555 6.7", "the refusal of a name is `rejectedIdentifier`, `malformed` or `unsupportedIdentifier`", "SHOULD")
@pytest.mark.parametrize(
    ("value", "test"),
    [
        ("a..{}", "test_names_that_are_no_host_names_are_refused"),
        ("a b.{}", "test_names_that_are_no_host_names_are_refused"),
        ("a.*.{}", "test_a_wildcard_is_the_whole_leftmost_label"),
        ("192.0.2.1", "test_an_address_is_no_dns_name"),
    ],
)
def test_the_refusal_of_a_name_has_its_type(account: Account, value: str, test: str) -> None:
    response = account.try_order(*dns(value.format(account.server.name())))
    if not is_refused(response):
        left_to(test, "the name is taken")
    refused(response, *REFUSED_NAME)


# --- dns identifiers


@rule(
    "RFC 4343 2",
    "names are taken without regard to case: the order has them in lower case, or they are refused",
    "practice",
)
def test_names_are_case_folded(account: Account) -> None:
    name = account.server.name()
    response = account.try_order(*dns(name.upper()))
    if response.status_code == 201:
        assert object_of(response)["identifiers"] == dns(name)
    else:
        refused(response)


@rule("RFC 4343 2", "two spellings of a name in one order are one identifier, or refused", "practice")
def test_two_spellings_of_a_name_are_one(account: Account) -> None:
    name = account.server.name()
    for names in ((name, name), (name, name, name.upper())):
        response = account.try_order(*dns(*names))
        if response.status_code != 201:
            refused(response)
            continue
        identifiers = object_of(response)["identifiers"]
        if sorted(entry["value"] for entry in identifiers) == sorted({*names}) and len({*names}) > 1:
            left_to("test_names_are_case_folded", "names are told apart by their case")
        assert identifiers == dns(name)
        assert len(object_of(response)["authorizations"]) == 1


@rule("RFC 8555 7.1.4", "internationalized names are taken as A-labels")
def test_a_labels_are_taken(account: Account) -> None:
    name = account.server.name("xn--bcher-kva.")
    assert ordered(account, name).body["identifiers"] == dns(name)


def looked_at(account: Account, response: requests.Response) -> requests.Response:
    """The answer to a name that is spoilt, unless the server takes whatever it is given for a name."""
    if response.status_code == 201 and account.try_order(*dns(f"a b.{account.server.name()}")).status_code == 201:
        left_to("test_names_that_are_no_host_names_are_refused", "nobody looks at names")
    return response


@rule("RFC 8555 7.1.4", "names that are not A-labels are refused")
@pytest.mark.parametrize("label", ["b\u00fccher", "\u0441afe", "a\u200db"], ids=ascii)
def test_names_that_are_no_a_labels_are_refused(account: Account, label: str) -> None:
    refused(looked_at(account, account.try_order(*dns(f"{label}.{account.server.name()}"))))


@rule(
    "RFC 5891 4.2.3.1", "labels with two hyphens in the third and fourth place, and without xn, are refused", "practice"
)
def test_labels_with_a_reserved_prefix_are_refused(account: Account) -> None:
    refused(looked_at(account, account.try_order(*dns(f"ab--c.{account.server.name()}"))))


@rule("RFC 8555 7.1.4", "labels that begin with `xn--` and are no valid A-labels are refused")
@pytest.mark.parametrize("label", ["xn--", "xn--a", "xn--0000000000"])
def test_invalid_a_labels_are_refused(account: Account, label: str) -> None:
    refused(looked_at(account, account.try_order(*dns(f"{label}.{account.server.name()}"))))


@rule("RFC 8555 7.1.4", "names that are no host names are refused")
@pytest.mark.parametrize(
    "change",
    [
        lambda name: name + ".",
        lambda name: "." + name,
        lambda name: "a.." + name,
        lambda name: "-a." + name,
        lambda name: "a-." + name,
        lambda name: "a_b." + name,
        lambda name: "a b." + name,
        lambda name: "a/" + name,
        lambda name: name + ":80",
        lambda name: "a\0b." + name,
        lambda name: "x" * 64 + "." + name,
        lambda name: "a." * 120 + name,
        lambda _: "",
        lambda _: ".",
        lambda name: "https://" + name,
        lambda name: name + "\n",
    ],
    ids=[
        "trailing dot",
        "leading dot",
        "empty label",
        "leading hyphen",
        "trailing hyphen",
        "underscore",
        "space",
        "slash",
        "port",
        "NUL",
        "long label",
        "long name",
        "empty",
        "dot",
        "URL",
        "newline",
    ],
)
def test_names_that_are_no_host_names_are_refused(account: Account, change: Callable[[str], str]) -> None:
    refused(account.try_order(*dns(change(account.server.name()))))


@rule("RFC 8738 3", "an address, or a name that ends in a number, is refused as a dns identifier")
@pytest.mark.parametrize("value", ["192.0.2.1", "2001:db8::1", "[2001:db8::1]", "1.2.3.4.5"])
def test_an_address_is_no_dns_name(account: Account, value: str) -> None:
    refused(looked_at(account, account.try_order(*dns(value))))


@rule("RFC 8555 7.1.3", "a wildcard is taken in the leftmost label only")
@pytest.mark.parametrize("pattern", ["a.*.{}", "*a.{}", "a*.{}", "*.*.{}", "**.{}", "*", "*."])
def test_a_wildcard_is_the_whole_leftmost_label(account: Account, pattern: str) -> None:
    refused(looked_at(account, account.try_order(*dns(pattern.format(account.server.name())))))


@rule("RFC 8555 7.1.4", "a wildcard's authorization has the base name and `wildcard` true")
def test_a_wildcards_authorization_has_the_base_name(account: Account) -> None:
    name = account.server.name()
    order = ordered(account, f"*.{name}")
    assert order.body["identifiers"] == dns(f"*.{name}")
    (authorization,) = exactly(1, "authorization", account.authorizations(order))
    assert authorization.body["identifier"] == {"type": "dns", "value": name}
    assert authorization.body.get("wildcard") is True


@rule("RFC 8555 7.1.4", "an authorization that is no wildcard's has no `wildcard`")
def test_another_authorization_has_no_wildcard(authorization: Resource) -> None:
    assert "wildcard" not in authorization.body


@rule("RFC 8555 7.1.4", "a wildcard and its base name in one order have an authorization each")
def test_a_wildcard_and_its_base_name_are_two(account: Account) -> None:
    name = account.server.name()
    authorizations = account.authorizations(ordered(account, name, f"*.{name}"))
    assert [bool(entry.body.get("wildcard")) for entry in authorizations].count(True) == 1
    assert len(authorizations) == 2


# --- ip identifiers


def ip_order(account: Account, value: str) -> Resource:
    return optional(account.try_order({"type": "ip", "value": value}), "no ip identifiers")


@rule("RFC 8738 3", "an ip identifier is ordered, or refused as unsupported")
def test_an_ip_identifier_is_ordered(account: Account) -> None:
    address = account.server.settings.address
    order = ip_order(account, address)
    assert order.body["identifiers"] == [{"type": "ip", "value": address}]
    (authorization,) = exactly(1, "authorization", account.authorizations(order))
    assert authorization.body["identifier"] == {"type": "ip", "value": address}


@rule("RFC 8738 3", "what is no address is refused as an ip identifier")
@pytest.mark.parametrize(
    "value", ["127.0.0.1/32", "127.1", "0127.0.0.1", "::1%lo", "[::1]", "x.test", "", "127.0.0.1 ", "*"]
)
def test_what_is_no_address_is_refused(account: Account, value: str) -> None:
    refused(account.try_order({"type": "ip", "value": value}))


@rule("RFC 8738 7", "an ip identifier is offered no dns-01")
def test_an_ip_identifier_is_offered_no_dns_01(account: Account) -> None:
    order = ip_order(account, account.server.settings.address)
    (authorization,) = exactly(1, "authorization", account.authorizations(order))
    assert "dns-01" not in [challenge["type"] for challenge in authorization.body["challenges"]]


@rule("RFC 8738 3", "a certificate for an ip identifier has it as an iPAddress")
def test_a_certificate_for_an_address(account: Account) -> None:
    address = account.server.settings.address
    order = ip_order(account, address)
    for authorization in account.authorizations(order):
        account.prove(authorization)
    leaf = account.issue(account.wait(order.url, ("pending",))).leaf
    names = extension(leaf, x509.SubjectAlternativeName).value
    assert [str(entry) for entry in names.get_values_for_type(x509.IPAddress)] == [address]
    assert names.get_values_for_type(x509.DNSName) == []
