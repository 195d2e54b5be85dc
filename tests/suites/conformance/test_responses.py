"""What every answer carries, whatever it answers (RFC 8555 sections 6.5, 6.7, 7.1, 7.2)."""

from __future__ import annotations

import re
import secrets
from typing import Any

import pytest
import requests
from conformance.checks import TYPES, is_https_url, moment, refused, rule, said, succeeded
from conformance.client import (
    URN,
    Account,
    Body,
    Issued,
    Key,
    NotOfferedError,
    Resource,
    Server,
    b64,
    csr,
    dns,
    links,
    private_key,
)
from cryptography.hazmat.primitives.serialization import Encoding

AREA = "Every response"

NONCE = re.compile(r"[A-Za-z0-9_-]+\Z")
WEIRD: list[Any] = [None, 7, -1, 1e300, True, "", "\0", "\ud83d\ude00", [], [None], {}, {"a": {"b": []}}, "x" * 10_000]


@pytest.fixture(scope="module")
def good(server: Server) -> dict[str, requests.Response]:
    """Answers to good requests of every kind."""
    key = Key.new()
    created = server.register(key)
    own = Account(server, key, created.headers["Location"])
    ordered = own.try_order(*dns(server.name()))
    order = Resource(ordered.headers["Location"], ordered.json(), ordered)
    authorization = own.authorizations(order)[0]
    challenge, answered = own.answer(authorization)
    own.wait(authorization.url)
    own.wait(order.url, ("pending",))
    finalized = own.finalize(order, csr(private_key("ES256"), identifiers=order.body["identifiers"]))
    done = own.wait(order.url, ("ready", "processing"))
    chain = own.post(done.body["certificate"])
    revoked = own.revoke(Issued(own, done, chain, private_key("ES256")).chain[0].public_bytes(Encoding.DER))
    return {
        "newAccount": created,
        "newAccount again": server.register(key),
        "account": own.post(own.url),
        "account update": own.post(own.url, {"contact": []}),
        "orders": own.post(own.read(own.url).body.get("orders", own.url)),
        "newOrder": ordered,
        "order": done.response,
        "authorization": authorization.response,
        "challenge": own.post(challenge["url"]),
        "answer": answered,
        "finalize": finalized,
        "certificate": chain,
        "revokeCert": revoked,
    }


@pytest.fixture(scope="module")
def bad(server: Server, account: Account, stranger: Account, pending: Resource) -> dict[str, requests.Response]:
    """Answers to bad requests of every kind."""
    new_order = server.directory["newOrder"]
    body = server.body(new_order, {}, account.key, account.url)
    return {
        "no JSON": server.send(new_order, b"junk"),
        "content type": server.send(new_order, body, "application/json"),
        "bad signature": server.send(new_order, server.body(new_order, {}, Key.new(), account.url)),
        "bad nonce": server.send(new_order, server.body(new_order, {}, account.key, account.url, nonce="AAAA")),
        "bad algorithm": server.send(new_order, server.body(new_order, {}, account.key, account.url, alg="RS1")),
        "no identifiers": account.post(new_order, {"identifiers": []}),
        "unknown type": account.try_order({"type": "conformance", "value": "x"}),
        "not ready": account.finalize(pending, csr(private_key("ES256"), identifiers=pending.body["identifiers"])),
        "another's order": stranger.post(pending.url),
        "unknown account": server.post(server.directory["newAccount"], {"onlyReturnExisting": True}, Key.new()),
        "bad contact": server.register(Key.new(), contact=["tel:+1"]),
        "no certificate": account.post(server.directory["revokeCert"], {"certificate": b64(b"junk")}),
    }


GOOD = [
    "newAccount",
    "newAccount again",
    "account",
    "account update",
    "orders",
    "newOrder",
    "order",
    "authorization",
    "challenge",
    "answer",
    "finalize",
    "certificate",
    "revokeCert",
]
BAD = [
    "no JSON",
    "content type",
    "bad signature",
    "bad nonce",
    "bad algorithm",
    "no identifiers",
    "unknown type",
    "not ready",
    "another's order",
    "unknown account",
    "bad contact",
    "no certificate",
]

# --- nonces


@rule("RFC 8555 6.5", "every answer to a good POST has a `Replay-Nonce`")
@pytest.mark.parametrize("what", GOOD)
def test_every_good_answer_has_a_nonce(good: dict[str, requests.Response], what: str) -> None:
    assert good[what].status_code < 300, said(good[what])
    assert NONCE.match(good[what].headers.get("Replay-Nonce", ""))


@rule("RFC 8555 6.5", "every refusal of a POST has a `Replay-Nonce`", "SHOULD")
@pytest.mark.parametrize("what", BAD)
def test_every_refusal_has_a_nonce(bad: dict[str, requests.Response], what: str) -> None:
    refused(bad[what])
    assert NONCE.match(bad[what].headers.get("Replay-Nonce", ""))


@rule("RFC 8555 6.5", "every answer's nonce is another one")
def test_every_answers_nonce_is_another(
    good: dict[str, requests.Response], bad: dict[str, requests.Response], server: Server
) -> None:
    answers = (*good.values(), *bad.values())
    nonces = [answer.headers["Replay-Nonce"] for answer in answers if "Replay-Nonce" in answer.headers]
    nonces += [server.fresh_nonce() for _ in range(20)]
    assert len(nonces) == len(set(nonces))


@rule("RFC 8555 7.2", "newNonce answers HEAD with 200 and a nonce")
def test_new_nonce_answers_head(server: Server) -> None:
    response = server.get(server.directory["newNonce"], "HEAD")
    assert response.status_code == 200
    assert NONCE.match(response.headers.get("Replay-Nonce", ""))


@rule("RFC 8555 7.2", "newNonce answers GET with 204 and a nonce")
def test_new_nonce_answers_get(server: Server) -> None:
    response = server.get(server.directory["newNonce"])
    assert (response.status_code, response.content) == (204, b"")
    assert NONCE.match(response.headers.get("Replay-Nonce", ""))


@rule("RFC 8555 7.2", "newNonce says `Cache-Control: no-store`")
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_new_nonce_is_not_stored(server: Server, method: str) -> None:
    response = server.get(server.directory["newNonce"], method)
    assert "no-store" in response.headers.get("Cache-Control", "")


@rule("RFC 8555 6.5", "a nonce of GET and one of HEAD both work")
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_nonce_of_new_nonce_works(account: Account, method: str) -> None:
    server = account.server
    nonce = server.get(server.directory["newNonce"], method).headers["Replay-Nonce"]
    succeeded(server.send(account.url, server.body(account.url, None, account.key, account.url, nonce=nonce)))


# --- links and locations


@rule("RFC 8555 7.1", 'every good answer links to the directory with `rel="index"`')
@pytest.mark.parametrize("what", GOOD)
def test_every_good_answer_links_to_the_directory(
    good: dict[str, requests.Response], what: str, server: Server
) -> None:
    assert links(good[what], "index") == [server.url]


@rule("RFC 8555 7.1", 'every refusal links to the directory with `rel="index"`', "practice")
@pytest.mark.parametrize("what", BAD)
def test_every_refusal_links_to_the_directory(bad: dict[str, requests.Response], what: str, server: Server) -> None:
    assert links(bad[what], "index") == [server.url]


@rule("RFC 8555 7.1", 'newNonce links to the directory with `rel="index"`')
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_new_nonce_links_to_the_directory(server: Server, method: str) -> None:
    assert links(server.get(server.directory["newNonce"], method), "index") == [server.url]


@rule("RFC 8555 7.5.1", 'a challenge links to its authorization with `rel="up"`', "SHOULD")
@pytest.mark.parametrize("what", ["challenge", "answer"])
def test_a_challenge_links_up(good: dict[str, requests.Response], what: str) -> None:
    assert links(good[what], "up") == [good["authorization"].request.url]


@rule("RFC 8555 7.3", "newAccount answers with the account's `Location`")
@pytest.mark.parametrize("what", ["newAccount", "newAccount again"])
def test_new_account_has_a_location(good: dict[str, requests.Response], what: str) -> None:
    location = good[what].headers.get("Location")
    assert is_https_url(location)
    assert location == good["account"].request.url


@rule("RFC 8555 7.4", "newOrder answers with the order's `Location`")
def test_new_order_has_a_location(good: dict[str, requests.Response]) -> None:
    assert good["newOrder"].headers.get("Location") == good["order"].request.url


@rule("RFC 8555 7.4", "finalize answers with the order's `Location`", "practice")
def test_finalize_has_a_location(good: dict[str, requests.Response]) -> None:
    assert good["finalize"].headers.get("Location") == good["newOrder"].headers["Location"]


@rule("RFC 8555 7.4", "an order that is read has its `Location`", "practice")
def test_an_order_that_is_read_has_a_location(good: dict[str, requests.Response]) -> None:
    assert good["order"].headers.get("Location") == good["newOrder"].headers["Location"]


# --- objects


@rule("RFC 8555 7.1", "objects are `application/json`")
@pytest.mark.parametrize("what", [what for what in GOOD if what not in ("certificate", "revokeCert")])
def test_objects_are_json(good: dict[str, requests.Response], what: str) -> None:
    assert good[what].headers["Content-Type"].split(";")[0] == "application/json"
    assert isinstance(good[what].json(), dict)


@rule("RFC 8555 7.1.1", "the directory is read with GET, without a signature, as `application/json`")
def test_the_directory_is_read_with_get(server: Server) -> None:
    response = server.get(server.url)
    succeeded(response)
    assert response.headers["Content-Type"].split(";")[0] == "application/json"


@rule("RFC 8555 7.1.1", "the directory lists what every server has")
def test_the_directory_lists_what_every_server_has(server: Server) -> None:
    missing = {"newNonce", "newAccount", "newOrder", "revokeCert", "keyChange"} - server.directory.keys()
    assert not missing


@rule("RFC 8555 7.1.1", "the members of the directory's `meta` have the types that they should")
def test_the_directorys_meta_has_the_right_types(server: Server) -> None:
    meta = server.directory.get("meta", {})
    assert isinstance(meta, dict)
    assert all(isinstance(meta[name], str) for name in ("termsOfService", "website") if name in meta), meta
    assert isinstance(meta.get("externalAccountRequired", False), bool), meta
    caa = meta.get("caaIdentities", [])
    assert isinstance(caa, list), meta
    assert all(isinstance(entry, str) for entry in caa), meta


@rule("RFC 8555 7.1", "times are RFC 3339 with an offset")
def test_times_are_rfc_3339(good: dict[str, requests.Response]) -> None:
    for what, member in (("newOrder", "expires"), ("authorization", "expires"), ("challenge", "validated")):
        moment(good[what].json()[member])


# --- problem documents


@rule("RFC 8555 6.7", "every refusal is `application/problem+json`")
@pytest.mark.parametrize("what", BAD)
def test_every_refusal_is_a_problem_document(bad: dict[str, requests.Response], what: str) -> None:
    refused(bad[what])
    assert bad[what].headers["Content-Type"].split(";")[0] == "application/problem+json"


@rule("RFC 8555 6.7", "a problem document's `type` is a registered ACME error")
@pytest.mark.parametrize("what", BAD)
def test_a_problems_type_is_registered(bad: dict[str, requests.Response], what: str) -> None:
    kind = refused(bad[what])["type"]
    assert kind.startswith(URN), kind
    assert kind.removeprefix(URN) in TYPES, kind


@rule("RFC 8555 6.7", "a problem document has a `detail` for people", "SHOULD")
@pytest.mark.parametrize("what", BAD)
def test_a_problem_has_a_detail(bad: dict[str, requests.Response], what: str) -> None:
    assert refused(bad[what])["detail"]


@rule("RFC 7807 3.1", "a problem document's `status` is the answer's", "practice")
@pytest.mark.parametrize("what", BAD)
def test_a_problems_status_is_the_answers(bad: dict[str, requests.Response], what: str) -> None:
    assert refused(bad[what])["status"] == bad[what].status_code


@rule("RFC 8555 6.7", "405 and the refusal of an unsigned request are problem documents too")
def test_a_405_is_a_problem_document(server: Server) -> None:
    response = server.get(server.directory["newOrder"])
    refused(response, status=405)
    assert response.headers["Content-Type"].split(";")[0] == "application/problem+json"


@rule("RFC 8555 6.7", "an object that is not there is a 404 problem document", "practice")
@pytest.mark.parametrize("what", ["order", "authorization", "challenge", "certificate"])
def test_an_object_that_is_not_there_is_404(issued: Issued, authorization: Resource, what: str) -> None:
    urls = {
        "order": issued.order.url,
        "authorization": authorization.url,
        "challenge": authorization.body["challenges"][0]["url"],
        "certificate": issued.order.body["certificate"],
    }
    start, _, name = urls[what].rpartition("/")
    response = issued.account.post(f"{start}/{secrets.token_urlsafe(len(name))[: len(name)]}")
    refused(response, status=404)
    assert response.headers["Content-Type"].split(";")[0] == "application/problem+json"


@rule("RFC 8555 6.7.1", "several bad identifiers come as `subproblems`", "practice")
def test_several_faults_come_as_subproblems(account: Account) -> None:
    first, second = ({"type": "conformance", "value": value} for value in ("one", "two"))
    problem = refused(account.try_order(first, *dns(account.server.name()), second))
    subproblems = problem.get("subproblems")
    assert isinstance(subproblems, list), problem
    assert len(subproblems) == 2


@rule("RFC 8555 6.7.1", "each subproblem has a type and names its identifier; the top has none")
def test_subproblems_name_their_identifiers(account: Account) -> None:
    wanted = [{"type": "conformance", "value": value} for value in ("one", "two")]
    problem = refused(account.try_order(*wanted, *dns(account.server.name())))
    if "subproblems" not in problem:
        raise NotOfferedError("no subproblems")
    assert "identifier" not in problem
    assert all(entry["type"].startswith(URN) for entry in problem["subproblems"])
    assert [entry["identifier"] for entry in problem["subproblems"]] == wanted


# --- what is ignored, and what never fails


def unknown() -> Body:
    return {"x-conformance": {"a": [1, None]}, "émoji": "\U0001f600"}


@rule("RFC 8555 7.3", "unknown members of newAccount are ignored")
def test_unknown_members_of_new_account_are_ignored(server: Server) -> None:
    succeeded(server.register(Key.new(), **unknown()), 201)


@rule("RFC 8555 7.4", "unknown members of newOrder are ignored")
def test_unknown_members_of_new_order_are_ignored(account: Account) -> None:
    body = succeeded(account.try_order(*dns(account.server.name()), **unknown()), 201)
    assert not unknown().keys() & body.keys()


@rule("RFC 8555 7.1.4", "unknown members of an identifier are ignored", "practice")
def test_unknown_members_of_an_identifier_are_ignored(account: Account) -> None:
    name = account.server.name()
    body = succeeded(account.try_order({"type": "dns", "value": name} | unknown()), 201)
    assert body["identifiers"] == dns(name)


@rule("RFC 8555 7.3.2", "unknown members of an account update are ignored")
def test_unknown_members_of_an_account_update_are_ignored(account: Account) -> None:
    succeeded(account.post(account.url, unknown()))


@rule("RFC 8555 7.4", "unknown members of finalize are ignored")
def test_unknown_members_of_finalize_are_ignored(account: Account) -> None:
    order = account.ready()
    request = csr(private_key("ES256"), identifiers=order.body["identifiers"])
    succeeded(account.post(order.body["finalize"], {"csr": b64(request)} | unknown()))


@rule("RFC 8555 7.5.1", "unknown members of an answer to a challenge are ignored")
def test_unknown_members_of_an_answer_are_ignored(account: Account) -> None:
    authorization = account.authorizations(account.order())[0]
    solver = account.server.settings.solver
    challenge = solver.choose(authorization.body)
    assert challenge is not None
    payload = solver.prepare(authorization.body, challenge, account.key)
    assert isinstance(payload, dict)
    succeeded(account.post(challenge["url"], payload | unknown() | {"keyAuthorization": "old clients send it"}))
    assert account.wait(authorization.url).body["status"] == "valid"


def never_fails(response: requests.Response, what: object) -> None:
    assert response.status_code < 500, f"{what!r:.80} fails: {said(response)}"


@rule("RFC 8555 6.7", "no payload of newAccount makes the server fail", "practice")
@pytest.mark.parametrize("member", ["contact", "onlyReturnExisting", "termsOfServiceAgreed", "externalAccountBinding"])
def test_no_payload_of_new_account_makes_the_server_fail(server: Server, member: str) -> None:
    for value in WEIRD:
        never_fails(server.register(Key.new(), **{member: value}), value)
    if member == "contact":
        for value in WEIRD:
            never_fails(server.register(Key.new(), contact=[value]), [value])


@rule("RFC 8555 6.7", "no payload of an account update makes the server fail", "practice")
@pytest.mark.parametrize("member", ["contact", "status", "orders"])
def test_no_payload_of_an_update_makes_the_server_fail(server: Server, member: str) -> None:
    account = server.account()
    for value in WEIRD:
        never_fails(account.post(account.url, {member: value}), value)


@rule("RFC 8555 6.7", "no payload of newOrder makes the server fail", "practice")
@pytest.mark.parametrize("member", ["identifiers", "notBefore", "notAfter", "profile", "replaces"])
def test_no_payload_of_new_order_makes_the_server_fail(account: Account, member: str) -> None:
    url = account.server.directory["newOrder"]
    for value in WEIRD:
        payload: Body = {"identifiers": dns(account.server.name()), member: value}
        never_fails(account.post(url, payload), value)


@rule("RFC 8555 6.7", "no identifier makes the server fail", "practice")
@pytest.mark.parametrize("kind", ["dns", "ip", "conformance", "weird"])
def test_no_identifier_makes_the_server_fail(account: Account, kind: str) -> None:
    url = account.server.directory["newOrder"]
    for value in [*WEIRD, ".", "..", "*", "*.", "-", "a..b", "xn--", "1.2.3", "::", "%", "ß.test"]:
        entry = value if kind == "weird" else {"type": kind, "value": value}
        never_fails(account.post(url, {"identifiers": [entry]}), entry)
        never_fails(account.post(url, {"identifiers": [{"type": value, "value": "x.test"}]}), value)


@rule("RFC 8555 6.7", "no payload of finalize makes the server fail", "practice")
def test_no_payload_of_finalize_makes_the_server_fail(account: Account) -> None:
    order = account.ready()
    for value in WEIRD:
        never_fails(account.post(order.body["finalize"], {"csr": value}), value)
        if isinstance(value, str):
            never_fails(account.post(order.body["finalize"], {"csr": b64(value.encode("utf-8", "replace"))}), value)


@rule("RFC 8555 6.7", "no payload of revokeCert makes the server fail", "practice")
@pytest.mark.parametrize("member", ["certificate", "reason"])
def test_no_payload_of_revoke_cert_makes_the_server_fail(account: Account, issued: Issued, member: str) -> None:
    url = account.server.directory["revokeCert"]
    _, *issuers = issued.chain
    assert issuers, "the chain has no issuer to try to revoke with strange reasons"
    # An intermediate is no certificate of the account's, so that nothing is revoked whatever the reason is taken for.
    certificate = issuers[0].public_bytes(Encoding.DER)
    for value in WEIRD:
        never_fails(account.post(url, {"certificate": b64(certificate), member: value}), value)


@rule("RFC 8555 6.7", "no payload of keyChange makes the server fail", "practice")
def test_no_payload_of_key_change_makes_the_server_fail(account: Account) -> None:
    url = account.server.directory["keyChange"]
    for value in WEIRD:
        never_fails(account.post(url, value if value is not None else {}), value)
        never_fails(account.post(url, {"protected": value, "payload": value, "signature": value}), value)


@rule("RFC 8555 6.7", "no answer to a challenge and no payload of an authorization makes the server fail", "practice")
@pytest.mark.parametrize("what", ["challenge", "authorization"])
def test_no_payload_of_a_challenge_makes_the_server_fail(account: Account, what: str) -> None:
    for value in WEIRD:
        authorization = account.authorizations(account.order())[0]
        url = authorization.url if what == "authorization" else authorization.body["challenges"][0]["url"]
        payload: Any = value if value is not None else b"null"
        never_fails(account.post(url, payload), value)
        if what == "authorization":
            never_fails(account.post(url, {"status": value}), value)
