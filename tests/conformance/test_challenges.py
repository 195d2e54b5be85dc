"""Standard challenges as far as they show from outside (RFC 8555 section 8, RFC 8737, RFC 8738).

What needs the names' side needs a pebble-challtestsrv (--acme-challtestsrv).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from conformance.checks import refused, rule, succeeded
from conformance.client import URN, Account, Body, NotOfferedError, Resource, b64, dns
from conformance.solvers import Challtestsrv, account_label, key_authorization, record

AREA = "Standard challenges"


@pytest.fixture
def names(account: Account) -> Iterator[Challtestsrv | None]:
    solver = account.server.settings.solver
    yield solver if isinstance(solver, Challtestsrv) else None


def challenge_of(authorization: Resource, kind: str) -> Body:
    for challenge in authorization.body["challenges"]:
        if challenge["type"] == kind:
            found: Body = challenge
            return found
    raise NotOfferedError(f"no {kind} challenge")


def prepared(account: Account, names: Challtestsrv | None, kind: str, name: str | None = None) -> tuple[Resource, Body, Challtestsrv]:  # fmt: skip # noqa: E501
    """A pending authorization, its challenge of a kind, and what answers for the names."""
    if names is None:
        raise NotOfferedError("this run has no pebble-challtestsrv")
    name = name or account.server.name()
    response = account.try_order(*dns(name))
    if response.status_code != 201:
        refused(response, "rejectedIdentifier", "unsupportedIdentifier")
        raise NotOfferedError(f"orders for {name} are refused")
    authorization = account.read(response.json()["authorizations"][0])
    return authorization, challenge_of(authorization, kind), names


def answered(account: Account, authorization: Resource, challenge: Body) -> Body:
    """The authorization once the challenge was answered and judged."""
    succeeded(account.post(challenge["url"], {}))
    return account.wait(authorization.url).body


def failed(authorization: Body, challenge: Body, *types: str) -> Body:
    """The challenge's error, once it is sure that it failed with one of these types."""
    assert authorization["status"] == "invalid", authorization
    (judged,) = [entry for entry in authorization["challenges"] if entry["url"] == challenge["url"]]
    assert judged["status"] == "invalid", judged
    error: Body = judged["error"]
    assert error["type"].removeprefix(URN) in types, error
    assert error["detail"]
    return error


# --- good proofs


@rule("RFC 8555 8", "each type that is offered is proven and makes the authorization valid")
@pytest.mark.parametrize("kind", ["http-01", "dns-01", "tls-alpn-01"])
def test_a_good_proof_makes_the_authorization_valid(account: Account, kind: str) -> None:
    authorization = account.authorizations(account.order())[0]
    valid = account.prove(authorization, kind).body
    assert [entry["type"] for entry in valid["challenges"] if entry["status"] == "valid"] == [kind]


@rule("RFC 8555 8.4", "a wildcard is offered dns-01, and no http-01 or tls-alpn-01")
def test_a_wildcard_is_offered_no_http_01(account: Account) -> None:
    response = account.try_order(*dns(f"*.{account.server.name()}"))
    if response.status_code != 201:
        refused(response, "rejectedIdentifier", "unsupportedIdentifier")
        raise NotOfferedError("wildcards are refused")
    kinds = {entry["type"] for entry in account.read(response.json()["authorizations"][0]).body["challenges"]}
    assert not kinds & {"http-01", "tls-alpn-01"}


@rule("RFC 8555 8.4", "a wildcard is proven with dns-01 at its base name, and a certificate is issued")
def test_a_wildcard_is_proven_with_dns_01(account: Account, names: Challtestsrv | None) -> None:
    name = account.server.name()
    authorization, challenge, _ = prepared(account, names, "dns-01", f"*.{name}")
    account.server.settings.solver.prepare(authorization.body, challenge, account.key)
    assert answered(account, authorization, challenge)["status"] == "valid"


@rule("RFC 8738 4", "an ip identifier is proven with http-01 and tls-alpn-01")
@pytest.mark.parametrize("kind", ["http-01", "tls-alpn-01"])
def test_an_address_is_proven(account: Account, kind: str) -> None:
    response = account.try_order({"type": "ip", "value": account.server.settings.address})
    if response.status_code != 201:
        refused(response, "rejectedIdentifier", "unsupportedIdentifier")
        raise NotOfferedError("no ip identifiers")
    authorization = account.read(response.json()["authorizations"][0])
    assert account.prove(authorization, kind).body["status"] == "valid"


@rule("RFC 8555 8.3", "http-01 fetches the token below /.well-known/acme-challenge/ at the name")
def test_http_01_fetches_the_token_at_the_name(account: Account, names: Challtestsrv | None) -> None:
    authorization, challenge, served = prepared(account, names, "http-01")
    name = authorization.body["identifier"]["value"]
    served.tell("add-http01", token=challenge["token"], content=key_authorization(challenge, account.key))
    assert answered(account, authorization, challenge)["status"] == "valid"
    history = served.tell("http-request-history", host=name)
    assert {entry["URL"] for entry in history} == {f"/.well-known/acme-challenge/{challenge['token']}"}
    assert not any(entry["HTTPS"] for entry in history)


@rule("RFC 8555 8.3", "http-01 ignores white space at the end of the key authorization", "SHOULD")
def test_http_01_ignores_white_space_at_the_end(account: Account, names: Challtestsrv | None) -> None:
    authorization, challenge, served = prepared(account, names, "http-01")
    served.tell("add-http01", token=challenge["token"], content=key_authorization(challenge, account.key) + " \r\n")
    assert answered(account, authorization, challenge)["status"] == "valid"


@rule("RFC 8555 8.3", "http-01 follows redirects", "SHOULD")
def test_http_01_follows_redirects(account: Account, names: Challtestsrv | None) -> None:
    authorization, challenge, served = prepared(account, names, "http-01")
    path = f"/.well-known/acme-challenge/{challenge['token']}"
    other, other_challenge, _ = prepared(account, names, "http-01")
    # Where it is sent to is the same port at another name, which this server's port 80 stands for.
    target = f"http://{other.body['identifier']['value']}/.well-known/acme-challenge/{other_challenge['token']}"
    served.tell("add-redirect", path=path, targetURL=target)
    served.tell("add-http01", token=other_challenge["token"], content=key_authorization(challenge, account.key))
    body = answered(account, authorization, challenge)
    history = served.tell("http-request-history", host=authorization.body["identifier"]["value"])
    assert history, "the token was not fetched"
    served.tell("del-redirect", path=path)
    if body["status"] == "invalid":
        error = next(entry["error"] for entry in body["challenges"] if "error" in entry)
        # The test's names answer at another port than 80: what shows that the redirect was followed is the target.
        assert other.body["identifier"]["value"] in error["detail"] or "onnection" in error["detail"], error


@rule("RFC 8555 8.4", "dns-01 takes one right record among several")
def test_dns_01_takes_one_of_several_records(account: Account, names: Challtestsrv | None) -> None:
    authorization, challenge, served = prepared(account, names, "dns-01")
    host = f"_acme-challenge.{authorization.body['identifier']['value']}."
    for value in ("something else", record(challenge, account.key), "v=spf1 -all"):
        served.tell("set-txt", host=host, value=value)
    assert answered(account, authorization, challenge)["status"] == "valid"


@rule("RFC 8555 8.4", "dns-01 follows a CNAME", "practice")
def test_dns_01_follows_a_cname(account: Account, names: Challtestsrv | None) -> None:
    authorization, challenge, served = prepared(account, names, "dns-01")
    target = f"{b64(b'delegated').lower()}.{account.server.name()}."
    served.tell("set-cname", host=f"_acme-challenge.{authorization.body['identifier']['value']}.", target=target)
    served.tell("set-txt", host=target, value=record(challenge, account.key))
    assert answered(account, authorization, challenge)["status"] == "valid"


@rule("draft-ietf-acme-dns-account-label 3", "dns-account-01, where it is offered, is proven at the account's label")
def test_dns_account_01_is_proven(account: Account, names: Challtestsrv | None) -> None:
    authorization, challenge, served = prepared(account, names, "dns-account-01")
    name = authorization.body["identifier"]["value"]
    host = f"{account_label(account.url)}._acme-challenge.{name}."
    served.tell("set-txt", host=host, value=record(challenge, account.key))
    assert answered(account, authorization, challenge)["status"] == "valid"


# --- bad proofs


@rule("RFC 8555 8.3", "http-01 with another key authorization fails with `incorrectResponse` or `unauthorized`")
@pytest.mark.parametrize("content", ["nonsense", "another account's", "token only"])
def test_http_01_with_another_key_authorization_fails(
    account: Account, stranger: Account, names: Challtestsrv | None, content: str
) -> None:
    authorization, challenge, served = prepared(account, names, "http-01")
    text = {
        "nonsense": "nonsense",
        "another account's": key_authorization(challenge, stranger.key),
        "token only": challenge["token"],
    }[content]
    served.tell("add-http01", token=challenge["token"], content=text)
    failed(answered(account, authorization, challenge), challenge, "incorrectResponse", "unauthorized")


@rule("RFC 8555 8.3", "http-01 with nothing at the URL fails with `incorrectResponse` or `unauthorized`")
def test_http_01_with_nothing_there_fails(account: Account, names: Challtestsrv | None) -> None:
    authorization, challenge, _ = prepared(account, names, "http-01")
    failed(answered(account, authorization, challenge), challenge, "incorrectResponse", "unauthorized")


@rule("RFC 8555 8.3", "http-01 at a name without an address fails with `dns` or `connection`")
def test_http_01_without_an_address_fails(account: Account, names: Challtestsrv | None) -> None:
    name = account.server.name()
    authorization, challenge, served = prepared(account, names, "http-01", name)
    served.tell("set-servfail", host=f"{name}.")
    failed(answered(account, authorization, challenge), challenge, "dns", "connection")


@rule("RFC 8555 8.3", "http-01 at a host that takes no connection fails with `connection`")
def test_http_01_without_a_connection_fails(account: Account, names: Challtestsrv | None) -> None:
    name = account.server.name()
    authorization, challenge, served = prepared(account, names, "http-01", name)
    served.tell("add-a", host=f"{name}.", addresses=["127.0.0.99"])
    failed(answered(account, authorization, challenge), challenge, "connection")


@rule("RFC 8555 8.4", "dns-01 with another record fails with `incorrectResponse`, `dns` or `unauthorized`")
@pytest.mark.parametrize("value", ["nonsense", "another account's", "key authorization", "padded"])
def test_dns_01_with_another_record_fails(
    account: Account, stranger: Account, names: Challtestsrv | None, value: str
) -> None:
    authorization, challenge, served = prepared(account, names, "dns-01")
    text = {
        "nonsense": "nonsense",
        "another account's": record(challenge, stranger.key),
        "key authorization": key_authorization(challenge, account.key),
        "padded": record(challenge, account.key) + "=",
    }[value]
    served.tell("set-txt", host=f"_acme-challenge.{authorization.body['identifier']['value']}.", value=text)
    failed(answered(account, authorization, challenge), challenge, "incorrectResponse", "dns", "unauthorized")


@rule("RFC 8555 8.4", "dns-01 without a record fails with `dns`, `incorrectResponse` or `unauthorized`")
def test_dns_01_without_a_record_fails(account: Account, names: Challtestsrv | None) -> None:
    authorization, challenge, _ = prepared(account, names, "dns-01")
    failed(answered(account, authorization, challenge), challenge, "incorrectResponse", "dns", "unauthorized")


@rule("RFC 8555 8.4", "dns-01 whose name servers fail fails with `dns`", "practice")
def test_dns_01_whose_servers_fail_fails(account: Account, names: Challtestsrv | None) -> None:
    authorization, challenge, served = prepared(account, names, "dns-01")
    served.tell("set-servfail", host=f"_acme-challenge.{authorization.body['identifier']['value']}.")
    failed(answered(account, authorization, challenge), challenge, "dns")


@rule("RFC 8737 3", "tls-alpn-01 with another digest, or none, fails with `incorrectResponse`, `unauthorized`, `tls` or `connection`")  # fmt: skip # noqa: E501
@pytest.mark.parametrize("content", ["another account's", "none"])
def test_tls_alpn_01_with_another_digest_fails(
    account: Account, stranger: Account, names: Challtestsrv | None, content: str
) -> None:
    authorization, challenge, served = prepared(account, names, "tls-alpn-01")
    if content != "none":
        host = authorization.body["identifier"]["value"]
        served.tell("add-tlsalpn01", host=host, content=key_authorization(challenge, stranger.key))
    types = ("incorrectResponse", "unauthorized", "tls", "connection")
    failed(answered(account, authorization, challenge), challenge, *types)


@rule("RFC 8555 7.1.6", "a failed challenge makes its order invalid; finalize is `orderNotReady`")
def test_a_failed_challenge_makes_its_order_invalid(account: Account, names: Challtestsrv | None) -> None:
    if names is None:
        raise NotOfferedError("this run has no pebble-challtestsrv")
    order = account.order()
    (authorization,) = account.authorizations(order)
    challenge = challenge_of(authorization, "http-01")
    names.tell("add-http01", token=challenge["token"], content="nonsense")
    assert answered(account, authorization, challenge)["status"] == "invalid"
    assert account.wait(order.url, ("pending",)).body["status"] == "invalid"
    refused(account.post(order.body["finalize"], {"csr": b64(b"x")}), "orderNotReady", "badCSR", "malformed")


@rule("RFC 8555 7.1.6", "a challenge that failed is not answered again")
def test_a_failed_challenge_is_final(account: Account, names: Challtestsrv | None) -> None:
    authorization, challenge, served = prepared(account, names, "http-01")
    served.tell("add-http01", token=challenge["token"], content="nonsense")
    assert answered(account, authorization, challenge)["status"] == "invalid"
    served.tell("add-http01", token=challenge["token"], content=key_authorization(challenge, account.key))
    account.post(challenge["url"], {})
    assert account.wait(authorization.url).body["status"] == "invalid"


@rule("RFC 8555 8", "the error of a failed challenge is shown by the challenge too")
def test_a_failed_challenge_shows_its_error(account: Account, names: Challtestsrv | None) -> None:
    authorization, challenge, served = prepared(account, names, "http-01")
    served.tell("add-http01", token=challenge["token"], content="nonsense")
    answered(account, authorization, challenge)
    body = account.read(challenge["url"]).body
    assert body["status"] == "invalid"
    assert body["error"]["type"].startswith(URN)


@rule("RFC 8555 8", "a failed challenge has no `validated`", "practice")
def test_a_failed_challenge_has_no_time_of_validation(account: Account, names: Challtestsrv | None) -> None:
    authorization, challenge, served = prepared(account, names, "http-01")
    served.tell("add-http01", token=challenge["token"], content="nonsense")
    answered(account, authorization, challenge)
    assert "validated" not in account.read(challenge["url"]).body


