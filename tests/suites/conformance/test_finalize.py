"""An order's states, finalize and CSRs (RFC 8555 sections 7.1.6 and 7.4)."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator

import pytest
import requests
from conformance.answers import NotOfferedError, document, exactly, said
from conformance.certificates import chain_of, csr, extension, found_extension
from conformance.checks import is_https_url, is_refused, left_to, refused, rule, succeeded
from conformance.client import Account, Issued, Resource
from conformance.jose import PrivateKey, b64, private_key, rsa_key
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

AREA = "Orders"


# --- states


@rule("RFC 8555 7.1.6", "an order becomes ready when all its authorizations are valid, and not before")
def test_an_order_becomes_ready_when_all_are_valid(account: Account) -> None:
    order = account.order(account.server.name(), account.server.name())
    first, second = exactly(2, "authorizations", account.authorizations(order))
    account.prove(first)
    assert account.read(order.url).body["status"] == "pending"
    account.prove(second)
    assert account.wait(order.url, ("pending",)).body["status"] == "ready"


@rule("RFC 8555 7.4", "finalize of a pending order is 403 `orderNotReady`, and the order stays pending")
def test_a_pending_order_is_not_finalized(account: Account, pending: Resource) -> None:
    request = csr(private_key("ES256"), identifiers=pending.body["identifiers"])
    refused(account.finalize(pending, request), "orderNotReady", status=403)
    assert account.read(pending.url).body["status"] == "pending"


@rule("RFC 8555 7.4", "finalize of an order with one name proven of two is refused")
def test_a_half_proven_order_is_not_finalized(account: Account) -> None:
    order = account.order(account.server.name(), account.server.name())
    proven = account.prove(account.authorization(order))
    for identifiers in (order.body["identifiers"], [proven.body["identifier"]]):
        refused(account.finalize(order, csr(private_key("ES256"), identifiers=identifiers)))


@rule("RFC 8555 7.1.3", "an order that is invalid lists no authorization that was not completed", "practice")
@pytest.mark.usefixtures("_deactivations")
def test_an_invalid_order_lists_completed_authorizations(account: Account) -> None:
    order = account.order(account.server.name(), account.server.name(), account.server.name())
    first, second, _ = exactly(3, "authorizations", account.authorizations(order))
    account.prove(first)
    succeeded(account.deactivate(second))
    body = account.read(order.url).body
    if body["status"] != "invalid":
        left_to("test_the_order_of_a_deactivated_authorization_is_invalid", f"the order is {body['status']}")
    assert sorted(body["authorizations"]) == sorted([first.url, second.url])


@rule("RFC 8555 7.1.3", "an order that is valid lists its valid authorizations and its certificate")
def test_a_valid_order_lists_its_certificate(issued: Issued) -> None:
    body = issued.order.body
    assert is_https_url(body["certificate"]), body
    assert [issued.account.read(url).body["status"] for url in body["authorizations"]] == ["valid"]


# --- the CSR


@pytest.fixture(scope="module")
def open_orders() -> Iterator[list[Resource]]:
    """The ready order that bad CSRs are tried on: it must stay ready, so one is enough for all."""
    orders: list[Resource] = []
    yield orders
    orders.clear()


def ready_order(account: Account, orders: list[Resource]) -> Resource:
    if orders and account.read(orders[-1].url).body["status"] == "ready":
        return orders[-1]
    orders.append(account.ready(account.server.name(), account.server.name()))
    return orders[-1]


def broken_signature(key: PrivateKey, names: list[str]) -> bytes:
    whole = bytearray(csr(key, *names))
    whole[-1] ^= 1
    return bytes(whole)


BAD_CSRS: dict[str, Callable[[Account, list[str]], bytes]] = {
    "empty": lambda *_: b"",
    "junk": lambda *_: b"junk",
    "PEM": lambda _, names: x509.load_der_x509_csr(csr(private_key("ES256"), *names)).public_bytes(Encoding.PEM),
    "cut": lambda _, names: csr(private_key("ES256"), *names)[:-10],
    "trailing octets": lambda _, names: csr(private_key("ES256"), *names) + b"\0",
    "signature": lambda _, names: broken_signature(private_key("ES256"), names),
    "no names": lambda *_: csr(private_key("ES256")),
    "a name too few": lambda _, names: csr(private_key("ES256"), *names[:1]),
    "a name too many": lambda account, names: csr(private_key("ES256"), *names, account.server.name()),
    "another name": lambda account, names: csr(private_key("ES256"), names[0], account.server.name()),
    "a wildcard": lambda _, names: csr(private_key("ES256"), *names, f"*.{names[0]}"),
    "another common name": lambda account, names: csr(private_key("ES256"), *names, common_name=account.server.name()),
    "an address": lambda _, names: csr(
        private_key("ES256"), *names, identifiers=[{"type": "ip", "value": "192.0.2.1"}]
    ),
    "an e-mail address": lambda _, names: csr(private_key("ES256"), *names, further=[x509.RFC822Name("a@example.org")]),
    "a URI": lambda _, names: csr(
        private_key("ES256"), *names, further=[x509.UniformResourceIdentifier("spiffe://x/y")]
    ),
    "RSA 1024": lambda _, names: csr(rsa_key(1024), *names),
    "the account's key": lambda account, names: csr(account.key.private, *names),
}


@rule("RFC 8555 7.4", "a CSR that is none, or not for the order's names exactly, or with a weak key, is refused")
@pytest.mark.parametrize("fault", list(BAD_CSRS))
def test_a_bad_csr_is_refused(account: Account, open_orders: list[Resource], fault: str) -> None:
    order = ready_order(account, open_orders)
    names = [entry["value"] for entry in order.body["identifiers"]]
    refused(account.finalize(order, BAD_CSRS[fault](account, names)))


@rule("RFC 8555 7.4", "the refusal of a CSR is 400 `badCSR`", "SHOULD")
@pytest.mark.parametrize("fault", list(BAD_CSRS))
def test_a_bad_csr_is_bad_csr(account: Account, open_orders: list[Resource], fault: str) -> None:
    order = ready_order(account, open_orders)
    names = [entry["value"] for entry in order.body["identifiers"]]
    kinds = ("badCSR", "malformed") if fault in ("empty", "junk", "PEM", "cut", "trailing octets") else ("badCSR",)
    if fault == "the account's key":
        kinds = ("badCSR", "badPublicKey")
    response = account.finalize(order, BAD_CSRS[fault](account, names))
    if not is_refused(response):
        left_to("test_a_bad_csr_is_refused", "the CSR is not refused")
    refused(response, *kinds, status=400)


@rule("RFC 8555 7.4", "after a bad CSR the order is still ready, and a good one is issued")
@pytest.mark.parametrize("fault", ["junk", "signature", "a name too many", "a name too few", "RSA 1024"])
def test_the_order_stays_ready_after_a_bad_csr(account: Account, open_orders: list[Resource], fault: str) -> None:
    order = ready_order(account, open_orders)
    names = [entry["value"] for entry in order.body["identifiers"]]
    if account.finalize(order, BAD_CSRS[fault](account, names)).status_code < 300:
        left_to("test_a_bad_csr_is_refused", "the CSR is taken")
    assert account.read(order.url).body["status"] == "ready"


@rule("RFC 8555 7.4", "an order that stayed ready is finalized")
def test_an_order_that_stayed_ready_is_finalized(account: Account) -> None:
    order = account.ready()
    refused(account.finalize(order, b"junk"))
    assert account.issue(order).leaf


@rule("RFC 8555 11.1", "a CSR with another account's key is refused", "practice")
def test_a_csr_with_another_accounts_key_is_refused(
    account: Account, stranger: Account, open_orders: list[Resource]
) -> None:
    order = ready_order(account, open_orders)
    response = account.finalize(order, csr(stranger.key.private, identifiers=order.body["identifiers"]))
    if response.status_code < 300:
        other = account.ready()
        own = csr(account.key.private, identifiers=other.body["identifiers"])
        if account.finalize(other, own).status_code < 300:
            left_to("test_a_bad_csr_is_refused", "the account's own key is taken too")
    refused(response, "badCSR", "badPublicKey")


@rule("RFC 8555 7.4", "a CSR that asks to be a CA is refused, or the certificate is none", "practice")
def test_a_csr_that_asks_to_be_a_ca_gets_no_ca(account: Account) -> None:
    order = account.ready()
    wish = x509.BasicConstraints(ca=True, path_length=None)
    key = private_key("ES256")
    response = account.finalize(order, csr(key, identifiers=order.body["identifiers"], extension=wish))
    if response.status_code != 200:
        refused(response, "badCSR")
        return
    constraints = found_extension(account.collect(order, key).leaf, x509.BasicConstraints)
    assert constraints is None or not constraints.value.ca


@rule("RFC 8555 7.4", "a finalize without `csr`, or with one that is no base64url, is refused")
@pytest.mark.parametrize("payload", [{}, {"csr": None}, {"csr": 7}, {"csr": "!"}, {"csr": ""}], ids=str)
def test_a_finalize_without_a_csr_is_refused(account: Account, open_orders: list[Resource], payload: object) -> None:
    order = ready_order(account, open_orders)
    refused(account.post(order.body["finalize"], payload), "malformed", "badCSR", status=400)


@rule("RFC 8555 7.4", "a CSR in base64url with padding is refused", "practice")
def test_a_csr_with_padding_is_refused(account: Account, open_orders: list[Resource]) -> None:
    order = ready_order(account, open_orders)
    for _ in range(50):
        text = base64.urlsafe_b64encode(csr(private_key("ES256"), identifiers=order.body["identifiers"])).decode()
        if text.endswith("="):
            break
    assert text.endswith("=")
    refused(account.post(order.body["finalize"], {"csr": text}), "malformed", "badCSR")


@rule("RFC 8555 7.4", "a CSR whose name stands in its common name only is accepted")
def test_a_csr_with_a_common_name_only_is_accepted(account: Account) -> None:
    name = account.server.name()
    order = account.ready(name)
    key = private_key("ES256")
    succeeded(account.finalize(order, csr(key, common_name=name)))
    names = extension(account.collect(order, key).leaf, x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [name]


@rule("RFC 8555 7.4", "a CSR with one of the names as its common name too is accepted")
def test_a_csr_with_a_common_name_too_is_accepted(account: Account) -> None:
    order = account.ready()
    (identifier,) = exactly(1, "identifier", order.body["identifiers"])
    request = csr(private_key("ES256"), identifiers=[identifier], common_name=identifier["value"])
    succeeded(account.finalize(order, request))


@rule("RFC 4343 2", "names in a CSR are compared without regard to case", "practice")
def test_names_in_a_csr_are_compared_without_case(account: Account) -> None:
    name = account.server.name()
    succeeded(account.finalize(account.ready(name), csr(private_key("ES256"), name.upper())))


@rule("RFC 8555 7.4", "a good CSR is 200 with the order, processing or valid")
def test_a_good_csr_is_200_with_the_order(account: Account) -> None:
    order = account.ready()
    response = account.finalize(order, csr(private_key("ES256"), identifiers=order.body["identifiers"]))
    body = succeeded(response)
    assert body["status"] in ("processing", "valid")
    assert body["identifiers"] == order.body["identifiers"]


@rule("RFC 8555 7.4", "`Retry-After` is sent while an order is processing", "SHOULD")
def test_retry_after_is_sent_while_an_order_is_processing(account: Account) -> None:
    order = account.ready()
    waited: list[requests.Response] = []
    response = account.finalize(order, csr(private_key("ES256"), identifiers=order.body["identifiers"]))
    finalized = Resource(order.url, succeeded(response), response)

    def see(resource: Resource) -> None:
        if resource.body["status"] == "processing":
            waited.append(resource.response)

    see(finalized)
    account.wait(order.url, ("ready", "processing"), see)
    if not waited:
        raise NotOfferedError("no order was seen processing")
    assert [said(entry) for entry in waited if not entry.headers.get("Retry-After")] == []


@rule("RFC 8555 7.4", "finalize of a valid order issues nothing more")
def test_a_valid_order_is_not_finalized_again(account: Account) -> None:
    order = account.ready()
    request = csr(private_key("ES256"), identifiers=order.body["identifiers"])
    succeeded(account.finalize(order, request))
    before = account.wait(order.url, ("ready", "processing")).body["certificate"]
    chain = account.post(before).content
    for again in (request, csr(private_key("ES256"), identifiers=order.body["identifiers"])):
        response = account.finalize(order, again)
        if response.status_code != 200:
            refused(response)
    after = account.read(order.url).body
    assert (after["status"], after["certificate"]) == ("valid", before)
    assert account.post(before).content == chain


@rule("RFC 8555 7.4", "finalize of an order raced by several requests issues one certificate")
def test_a_raced_finalize_issues_one_certificate(account: Account) -> None:
    order = account.ready()
    server = account.server
    url = order.body["finalize"]
    keys = [private_key("ES256") for _ in range(6)]
    bodies = [
        server.body(
            url,
            {"csr": b64(csr(key, identifiers=order.body["identifiers"]))},
            account.key,
            account.url,
            nonce=server.fresh_nonce(),
        )
        for key in keys
    ]
    responses = server.at_once(url, bodies)
    assert [said(response) for response in responses if response.status_code not in (200, 400, 403, 409)] == []
    done = account.wait(order.url, ("ready", "processing")).body
    assert done["status"] == "valid", done
    shown = [document(response).get("certificate") for response in responses if response.status_code == 200]
    assert [url for url in shown if url not in (None, done["certificate"])] == []
    leaf = chain_of(account.post(done["certificate"]))[0]
    assert leaf.public_key() in [key.public_key() for key in keys]
