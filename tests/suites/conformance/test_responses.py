"""What every answer carries, whatever it answers (RFC 8555 sections 6.5, 6.7, 7.1, 7.2)."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable

import pytest
import requests
from conformance.answers import URN, NotOfferedError, document, header, links, media_type, object_of, said
from conformance.certificates import csr
from conformance.checks import TYPES, is_https_url, left_to, moment, refused, rule, succeeded
from conformance.client import Account, Issued, Resource, Server, dns
from conformance.exchanges import ANSWERS, BAD, GOOD, Good, problem, refusal
from conformance.jose import Key, b64, private_key

AREA = "Every response"

Answers = Callable[[str], requests.Response]
NONCE = re.compile(r"[A-Za-z0-9_-]+\Z")


@pytest.fixture(scope="module")
def exchanges(server: Server) -> Good:
    """Good requests and their answers."""
    return Good(server)


@pytest.fixture(scope="module")
def good(exchanges: Good) -> Callable[[str], requests.Response]:
    """What gives the answer to a good request: a successful one, since whether it is one is other rules' to say."""
    known: dict[str, requests.Response] = {}

    def answer(what: str) -> requests.Response:
        if what not in known:
            try:
                known[what] = ANSWERS[what](exchanges)
            except AssertionError as error:
                raise NotOfferedError(f"there is no answer, as another rule reports: {error}") from error
        if known[what].status_code >= 300:
            raise NotOfferedError(f"the request is refused, as another rule reports: {said(known[what])}")
        return known[what]

    return answer


@pytest.fixture(scope="module")
def bad(server: Server, account: Account, stranger: Account, pending: Resource) -> dict[str, requests.Response]:
    """Answers to bad requests of every kind."""
    new_order, url = server.directory["newOrder"], server.directory["newAccount"]
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
        "bad key": server.send(url, server.body(url, {}, Key.new(), jwk={"kty": "oct", "k": "AAAA"})),
        "no certificate": account.post(server.directory["revokeCert"], {"certificate": b64(b"junk")}),
    }


# --- nonces


def has_a_nonce(response: requests.Response) -> None:
    """Check that an answer brings a nonce."""
    nonce = response.headers.get("Replay-Nonce", "")
    assert NONCE.match(nonce), f"the Replay-Nonce is {nonce!r} of {said(response)}"


@rule("RFC 8555 6.5", "every answer to a good POST has a `Replay-Nonce`")
@pytest.mark.parametrize("what", GOOD)
def test_every_good_answer_has_a_nonce(good: Answers, what: str) -> None:
    has_a_nonce(good(what))


@rule("RFC 8555 6.5", "every refusal of a POST has a `Replay-Nonce`", "SHOULD")
@pytest.mark.parametrize("what", BAD)
def test_every_refusal_has_a_nonce(bad: dict[str, requests.Response], what: str) -> None:
    has_a_nonce(refusal(bad, what))


@rule("RFC 8555 6.5", "every answer's nonce is another one")
def test_every_answers_nonce_is_another(exchanges: Good, bad: dict[str, requests.Response], server: Server) -> None:
    answers = (exchanges.created, exchanges.order.response, exchanges.authorization.response, *bad.values())
    found = [answer.headers.get("Replay-Nonce") for answer in answers]
    nonces = [nonce for nonce in found if nonce is not None]
    nonces += [server.fresh_nonce() for _ in range(20)]
    assert len(nonces) == len(set(nonces))


@rule("RFC 8555 7.2", "newNonce answers HEAD with 200 and a nonce")
def test_new_nonce_answers_head(server: Server) -> None:
    response = server.get(server.directory["newNonce"], "HEAD")
    assert response.status_code == 200
    has_a_nonce(response)


@rule("RFC 8555 7.2", "newNonce answers GET with 204 and a nonce")
def test_new_nonce_answers_get(server: Server) -> None:
    response = server.get(server.directory["newNonce"])
    assert (response.status_code, response.content) == (204, b"")
    has_a_nonce(response)


@rule("RFC 8555 7.2", "newNonce says `Cache-Control: no-store`")
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_new_nonce_is_not_stored(server: Server, method: str) -> None:
    response = server.get(server.directory["newNonce"], method)
    assert "no-store" in response.headers.get("Cache-Control", "")


@rule("RFC 8555 6.5", "a nonce of GET and one of HEAD both work")
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_nonce_of_new_nonce_works(account: Account, method: str) -> None:
    server = account.server
    nonce = header(server.get(server.directory["newNonce"], method), "Replay-Nonce")
    succeeded(server.send(account.url, server.body(account.url, None, account.key, account.url, nonce=nonce)))


# --- links and locations


def to_the_directory(response: requests.Response, server: Server) -> None:
    """Check that there is a link to the directory, and none of its relation to elsewhere."""
    assert set(links(response, "index")) == {server.url}, response.headers.get("Link")


def unless_no_answer_has_it(good: Answers) -> None:
    """End the test if good answers have no link to the directory either."""
    if not links(good("account"), "index"):
        left_to("test_every_good_answer_links_to_the_directory", "no answer has the link")


@rule("RFC 8555 7.1", 'every good answer links to the directory with `rel="index"`')
@pytest.mark.parametrize("what", GOOD)
def test_every_good_answer_links_to_the_directory(good: Answers, what: str, server: Server) -> None:
    to_the_directory(good(what), server)


@rule("RFC 8555 7.1", 'every refusal links to the directory with `rel="index"`', "practice")
@pytest.mark.parametrize("what", BAD)
def test_every_refusal_links_to_the_directory(
    good: Answers, bad: dict[str, requests.Response], what: str, server: Server
) -> None:
    response = refusal(bad, what)
    if not links(response, "index"):
        unless_no_answer_has_it(good)
    to_the_directory(response, server)


@rule("RFC 8555 7.1", 'newNonce links to the directory with `rel="index"`')
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_new_nonce_links_to_the_directory(good: Answers, server: Server, method: str) -> None:
    response = server.get(server.directory["newNonce"], method)
    if not links(response, "index"):
        unless_no_answer_has_it(good)
    to_the_directory(response, server)


@rule("RFC 8555 7.1", 'there is exactly one link of the relation "index", as there is one directory', "practice")
def test_there_is_one_index_link(good: Answers, bad: dict[str, requests.Response], server: Server) -> None:
    answers = [good("account"), good("newOrder"), good("authorization"), *bad.values()]
    found = [links(response, "index") for response in (*answers, server.get(server.directory["newNonce"], "HEAD"))]
    assert [targets for targets in found if len(targets) > 1] == []


@rule("RFC 8555 7.5.1", 'a challenge links to its authorization with `rel="up"`', "SHOULD")
@pytest.mark.parametrize("what", ["challenge", "answer"])
def test_a_challenge_links_up(good: Answers, what: str) -> None:
    assert links(good(what), "up") == [good("authorization").request.url]


@rule("RFC 8555 7.3", "newAccount answers with the account's `Location`")
@pytest.mark.parametrize("what", ["newAccount", "newAccount again"])
def test_new_account_has_a_location(good: Answers, what: str) -> None:
    location = good(what).headers.get("Location")
    assert is_https_url(location), f"the Location is {location}"
    assert location == good("account").request.url


@rule("RFC 8555 7.4", "newOrder answers with the order's `Location`")
def test_new_order_has_a_location(good: Answers) -> None:
    assert good("newOrder").headers.get("Location") == good("order").request.url


@rule("RFC 8555 7.4", "finalize answers with the order's `Location`", "practice")
def test_finalize_has_a_location(good: Answers) -> None:
    assert good("finalize").headers.get("Location") == header(good("newOrder"), "Location")


@rule("RFC 8555 7.4", "an order that is read has its `Location`", "practice")
def test_an_order_that_is_read_has_a_location(good: Answers) -> None:
    location = good("order").headers.get("Location")
    if location is None and good("finalize").headers.get("Location") is None:
        left_to("test_finalize_has_a_location", "newOrder alone has it")
    assert location == header(good("newOrder"), "Location")


# --- objects


@rule("RFC 8555 7.1", "objects are `application/json`")
@pytest.mark.parametrize("what", [what for what in GOOD if what not in ("certificate", "revokeCert")])
def test_objects_are_json(good: Answers, what: str) -> None:
    response = good(what)
    assert media_type(response) == "application/json"
    if what == "orders" and not document(response):
        left_to("test_a_list_of_orders_is_an_object", "the list is no object")
    object_of(response)


@rule("RFC 8555 7.1.1", "the directory is read with GET, without a signature, as `application/json`")
def test_the_directory_is_read_with_get(server: Server) -> None:
    response = server.get(server.url)
    succeeded(response)
    assert media_type(response) == "application/json"


@rule("RFC 8555 7.1.1", "the directory lists what every server has")
def test_the_directory_lists_what_every_server_has(server: Server) -> None:
    missing = {"newNonce", "newAccount", "newOrder", "revokeCert", "keyChange"} - server.directory.keys()
    assert not missing


@rule("RFC 8555 7.1.1", "the members of the directory's `meta` have the types that they should")
def test_the_directorys_meta_has_the_right_types(server: Server) -> None:
    meta = server.directory.get("meta", {})
    assert isinstance(meta, dict), f"`meta` is {meta!r}"
    assert all(isinstance(meta[name], str) for name in ("termsOfService", "website") if name in meta), meta
    assert isinstance(meta.get("externalAccountRequired", False), bool), meta
    caa = meta.get("caaIdentities", [])
    assert isinstance(caa, list), meta
    assert all(isinstance(entry, str) for entry in caa), meta


TIMES = (("newOrder", "expires"), ("authorization", "expires"), ("challenge", "validated"))


@rule("RFC 8555 7.1", "times are RFC 3339 with an offset")
def test_times_are_rfc_3339(good: Answers) -> None:
    times = [object_of(good(what)).get(member) for what, member in TIMES]
    for text in times:
        # That one is missing is the rule of its object.
        assert text is None or moment(text)


# --- problem documents


@rule("RFC 8555 6.7", "every refusal is `application/problem+json`")
@pytest.mark.parametrize("what", BAD)
def test_every_refusal_is_a_problem_document(bad: dict[str, requests.Response], what: str) -> None:
    response = refusal(bad, what)
    assert media_type(response) == "application/problem+json", said(response)
    assert document(response), said(response)


@rule("RFC 8555 6.7", "a problem document's `type` is a registered ACME error")
@pytest.mark.parametrize("what", BAD)
def test_a_problems_type_is_registered(bad: dict[str, requests.Response], what: str) -> None:
    kind = str(problem(bad, what).get("type"))
    assert kind.startswith(URN), kind
    assert kind.removeprefix(URN) in TYPES, kind


@rule("RFC 8555 6.7", "a problem document has a `detail` for people", "SHOULD")
@pytest.mark.parametrize("what", BAD)
def test_a_problem_has_a_detail(bad: dict[str, requests.Response], what: str) -> None:
    assert problem(bad, what).get("detail")


@rule("RFC 7807 3.1", "a problem document's `status`, where it has one, is the answer's")
@pytest.mark.parametrize("what", BAD)
def test_a_problems_status_is_the_answers(bad: dict[str, requests.Response], what: str) -> None:
    status = problem(bad, what).get("status")
    if status is None:
        raise NotOfferedError("the problem document has no `status`, which is optional")
    assert status == bad[what].status_code


@rule("RFC 8555 6.7", "405 and the refusal of an unsigned request are problem documents too")
def test_a_405_is_a_problem_document(server: Server) -> None:
    response = server.get(server.directory["newOrder"])
    if response.status_code != 405:
        left_to("test_get_on_a_resource_of_the_directory_is_405", f"GET is answered with {response.status_code}")
    if not document(response):
        left_to("test_get_on_a_resource_of_the_directory_is_405", "there is no problem document in the 405")
    assert media_type(response) == "application/problem+json", said(response)


@rule("RFC 8555 6.7", "an object that is not there is a 404 problem document", "practice")
@pytest.mark.parametrize("what", ["order", "authorization", "challenge", "certificate"])
def test_an_object_that_is_not_there_is_404(issued: Issued, authorization: Resource, what: str) -> None:
    urls = {
        "order": issued.order.url,
        "authorization": authorization.url,
        "challenge": authorization.challenge["url"],
        "certificate": issued.order.body["certificate"],
    }
    start, _, name = urls[what].rpartition("/")
    response = issued.account.post(f"{start}/{secrets.token_urlsafe(len(name))[: len(name)]}")
    refused(response, status=404)
    assert media_type(response) == "application/problem+json", said(response)


@rule("RFC 8555 6.7.1", "several bad identifiers come as `subproblems`", "practice")
def test_several_faults_come_as_subproblems(account: Account) -> None:
    first, second = ({"type": "conformance", "value": value} for value in ("one", "two"))
    found = refused(account.try_order(first, *dns(account.server.name()), second))
    subproblems = found.get("subproblems")
    assert isinstance(subproblems, list), f"expected `subproblems`, got {found}"
    assert len(subproblems) == 2


@rule("RFC 8555 6.7.1", "each subproblem has a type and names its identifier; the top has none")
def test_subproblems_name_their_identifiers(account: Account) -> None:
    wanted = [{"type": "conformance", "value": value} for value in ("one", "two")]
    found = refused(account.try_order(*wanted, *dns(account.server.name())))
    if "subproblems" not in found:
        raise NotOfferedError("no subproblems")
    assert "identifier" not in found
    assert [entry for entry in found["subproblems"] if not entry["type"].startswith(URN)] == []
    assert [entry["identifier"] for entry in found["subproblems"]] == wanted
