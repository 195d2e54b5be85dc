"""Standard challenges as far as they show from outside (RFC 8555 section 8, RFC 8737, RFC 8738).

What needs the names' side needs a pebble-challtestsrv (--acme-challtestsrv).
"""

from __future__ import annotations

import pytest
from conformance.answers import URN, Body, NotOfferedError
from conformance.certificates import csr
from conformance.checks import left_to, refused, rule, succeeded
from conformance.client import WORK_STATES, Account, Resource, dns
from conformance.failures import BAD_PROOFS, Failing, reported_by
from conformance.jose import b64, private_key
from conformance.solvers import Challtestsrv, account_label, key_authorization, record

AREA = "Standard challenges"


@pytest.fixture
def names(account: Account) -> Challtestsrv | None:
    solver = account.server.settings.solver
    return solver if isinstance(solver, Challtestsrv) else None


def challenge_of(authorization: Resource, kind: str) -> Body:
    for challenge in authorization.body["challenges"]:
        if challenge["type"] == kind:
            found: Body = challenge
            return found
    raise NotOfferedError(f"no {kind} challenge")


def prepared(
    account: Account, names: Challtestsrv | None, kind: str, name: str | None = None
) -> tuple[Resource, Body, Challtestsrv]:
    """A pending authorization, its challenge of a kind, and what answers for the names."""
    if names is None:
        raise NotOfferedError("this run has no pebble-challtestsrv")
    name = name or account.server.name()
    response = account.try_order(*dns(name))
    if response.status_code != 201:
        refused(response, "rejectedIdentifier", "unsupportedIdentifier")
        raise NotOfferedError(f"orders for {name} are refused")
    authorization = account.authorization(Resource.made(response))
    return authorization, challenge_of(authorization, kind), names


def answered(account: Account, authorization: Resource, challenge: Body) -> Body:
    """The authorization once the challenge was answered and judged."""
    succeeded(account.post(challenge["url"], {}))
    return account.wait(authorization.url).body


# --- good proofs


@rule("RFC 8555 7.5.1", "a good proof makes the authorization valid")
@pytest.mark.early
def test_a_good_answer_makes_the_authorization_valid(account: Account) -> None:
    try:
        account.prove(account.authorization())
    except AssertionError as error:
        account.server.unproven = str(error)
        raise


@rule("RFC 8555 8", "each type that is offered is proven and makes the authorization valid")
@pytest.mark.parametrize("kind", ["http-01", "dns-01", "tls-alpn-01"])
def test_a_good_proof_makes_the_authorization_valid(account: Account, kind: str) -> None:
    authorization = account.authorization()
    valid = account.prove(authorization, kind).body
    assert [entry["type"] for entry in valid["challenges"] if entry["status"] == "valid"] == [kind]


@rule("RFC 8555 8.4", "a wildcard is offered dns-01, and no http-01 or tls-alpn-01")
def test_a_wildcard_is_offered_no_http_01(account: Account) -> None:
    response = account.try_order(*dns(f"*.{account.server.name()}"))
    if response.status_code != 201:
        refused(response, "rejectedIdentifier", "unsupportedIdentifier")
        raise NotOfferedError("wildcards are refused")
    kinds = {entry["type"] for entry in account.authorization(Resource.made(response)).body["challenges"]}
    assert not kinds & {"http-01", "tls-alpn-01"}


@rule("RFC 8555 8.4", "a wildcard is proven with dns-01 at its base name, and a certificate is issued")
def test_a_wildcard_is_proven_with_dns_01(account: Account, names: Challtestsrv | None) -> None:
    name = account.server.name()
    authorization, challenge, _ = prepared(account, names, "dns-01", f"*.{name}")
    account.server.settings.solver.prepare(authorization.body, challenge, account.key)
    assert answered(account, authorization, challenge)["status"] == "valid"


@rule("RFC 8738 4", "an ip identifier is proven with http-01")
def test_an_address_is_proven(account: Account) -> None:
    response = account.try_order({"type": "ip", "value": account.server.settings.address})
    if response.status_code != 201:
        refused(response, "rejectedIdentifier", "unsupportedIdentifier")
        raise NotOfferedError("no ip identifiers")
    authorization = account.authorization(Resource.made(response))
    assert account.prove(authorization, "http-01").body["status"] == "valid"


@rule("RFC 8555 8.3", "http-01 fetches the token below /.well-known/acme-challenge/ at the name")
def test_http_01_fetches_the_token_at_the_name(account: Account, names: Challtestsrv | None) -> None:
    authorization, challenge, served = prepared(account, names, "http-01")
    name = authorization.body["identifier"]["value"]
    served.tell("add-http01", token=challenge["token"], content=key_authorization(challenge, account.key))
    assert answered(account, authorization, challenge)["status"] == "valid"
    history = served.tell("http-request-history", host=name)
    assert {entry["URL"] for entry in history} == {f"/.well-known/acme-challenge/{challenge['token']}"}
    assert [entry for entry in history if entry["HTTPS"]] == []


@rule("RFC 8555 8.3", "http-01 ignores white space at the end of the key authorization", "SHOULD")
def test_http_01_ignores_white_space_at_the_end(account: Account, names: Challtestsrv | None) -> None:
    authorization, challenge, served = prepared(account, names, "http-01")
    served.tell("add-http01", token=challenge["token"], content=key_authorization(challenge, account.key) + " \r\n")
    assert answered(account, authorization, challenge)["status"] == "valid"


@rule("RFC 8555 8.3", "http-01 follows a redirect", "SHOULD")
def test_http_01_follows_a_redirect(account: Account, names: Challtestsrv | None) -> None:
    authorization, challenge, served = prepared(account, names, "http-01")
    name = authorization.body["identifier"]["value"]
    path = f"/.well-known/acme-challenge/{challenge['token']}"
    served.tell("add-http01", token="elsewhere", content=key_authorization(challenge, account.key))
    port = account.server.settings.http_port
    target = f"http://{name}:{port}/.well-known/acme-challenge/elsewhere"
    served.tell("add-redirect", path=path, targetURL=target)
    body = answered(account, authorization, challenge)
    assert body["status"] == "valid", body


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


def begun(failing: dict[str, Failing | Exception], what: str) -> Failing:
    found = failing[what]
    if isinstance(found, AssertionError):
        left_to("test_an_answer_with_a_bad_proof_is_taken", f"the answer was not taken: {found}")
    if isinstance(found, Exception):
        raise found
    return found


@rule("RFC 8555 7.5.1", "an answer whose proof turns out to be bad is taken, or refused at once")
@pytest.mark.early
@pytest.mark.parametrize("what", list(BAD_PROOFS))
def test_an_answer_with_a_bad_proof_is_taken(failing: dict[str, Failing | Exception], what: str) -> None:
    found = failing[what]
    if isinstance(found, Exception):
        raise found


def reported_as(test: str) -> pytest.MarkDecorator:
    """The bad proofs that a rule's test is for."""
    return pytest.mark.parametrize("what", [what for what in BAD_PROOFS if reported_by(what) == test])


@rule("RFC 8555 8.2", "a bad proof makes its challenge invalid, unless the server is `processing` it and tries again")
@pytest.mark.late
@pytest.mark.parametrize("what", list(BAD_PROOFS))
def test_a_bad_proof_makes_its_challenge_invalid(failing: dict[str, Failing | Exception], what: str) -> None:
    challenge = begun(failing, what).judged()
    if challenge["status"] == "processing":
        raise NotOfferedError("the server is still trying")
    if challenge["status"] not in WORK_STATES:
        # Whether it may be valid is the rule of its proof.
        return
    raise AssertionError(f"{what}: the challenge is not given up, it is {challenge}")


@rule("RFC 8555 8.3", "http-01 with another key authorization, or nothing there, fails")
@pytest.mark.late
@reported_as("test_http_01_with_another_key_authorization_fails")
def test_http_01_with_another_key_authorization_fails(failing: dict[str, Failing | Exception], what: str) -> None:
    begun(failing, what).disbelieved()


@rule("RFC 8555 8.3", "http-01 fails if the name has no address, or nothing listens there")
@pytest.mark.late
@reported_as("test_http_01_without_a_connection_fails")
def test_http_01_without_a_connection_fails(failing: dict[str, Failing | Exception], what: str) -> None:
    begun(failing, what).disbelieved()


@rule("RFC 8555 8.4", "dns-01 with another record, or none, fails")
@pytest.mark.late
@reported_as("test_dns_01_with_another_record_fails")
def test_dns_01_with_another_record_fails(failing: dict[str, Failing | Exception], what: str) -> None:
    begun(failing, what).disbelieved()


@rule("RFC 8555 8.4", "dns-01 fails with `dns` if the name servers fail", "practice")
@pytest.mark.late
@reported_as("test_dns_01_whose_servers_fail_fails")
def test_dns_01_whose_servers_fail_fails(failing: dict[str, Failing | Exception], what: str) -> None:
    begun(failing, what).disbelieved()
    assert begun(failing, what).error()["type"] == URN + "dns"


@rule("RFC 8737 3", "tls-alpn-01 with another digest, or none, fails")
@pytest.mark.late
@reported_as("test_tls_alpn_01_with_another_digest_fails")
def test_tls_alpn_01_with_another_digest_fails(failing: dict[str, Failing | Exception], what: str) -> None:
    begun(failing, what).disbelieved()


@rule("RFC 8555 6.7", "the error of a failed challenge has a type that says what went wrong, and a `detail`", "SHOULD")
@pytest.mark.late
@pytest.mark.parametrize("what", list(BAD_PROOFS))
def test_the_error_of_a_failed_challenge_has_its_type(failing: dict[str, Failing | Exception], what: str) -> None:
    failed = begun(failing, what)
    error = failed.error()
    kind = error["type"].removeprefix(URN)
    assert kind in failed.types, f"{what}: expected {' or '.join(failed.types)}, got {error}"
    assert error["detail"], f"{what}: there is nothing in `detail` of {error}"


def failed_authorization(failed: Failing) -> Body:
    """The authorization of a failed challenge, if it failed too."""
    failed.invalid()
    body = failed.case.account.read(failed.authorization.url).body
    if body["status"] != "invalid":
        left_to("test_a_failed_challenge_makes_its_authorization_invalid", f"the authorization is {body['status']}")
    return body


@rule("RFC 8555 7.1.6", "a failed challenge makes its authorization invalid")
@pytest.mark.late
@pytest.mark.parametrize("what", list(BAD_PROOFS))
def test_a_failed_challenge_makes_its_authorization_invalid(failing: dict[str, Failing | Exception], what: str) -> None:
    failed = begun(failing, what)
    failed.invalid()
    body = failed.case.account.read(failed.authorization.url).body
    assert body["status"] == "invalid", f"{what}: the challenge is invalid, its authorization is {body}"


@rule("RFC 8555 7.1.6", "a failed challenge makes its order invalid")
@pytest.mark.late
def test_a_failed_challenge_makes_its_order_invalid(failing: dict[str, Failing | Exception]) -> None:
    failed = begun(failing, "http-01 nonsense")
    failed_authorization(failed)
    assert failed.case.account.wait(failed.order.url, ("pending",)).body["status"] == "invalid"


@rule("RFC 8555 7.4", "finalize of an invalid order is refused")
@pytest.mark.late
def test_an_invalid_order_is_not_finalized(failing: dict[str, Failing | Exception]) -> None:
    failed = begun(failing, "http-01 token only")
    failed_authorization(failed)
    status = failed.case.account.read(failed.order.url).body["status"]
    if status != "invalid":
        left_to("test_a_failed_challenge_makes_its_order_invalid", f"the order is {status}")
    request = csr(private_key("ES256"), identifiers=failed.order.body["identifiers"])
    refused(failed.case.account.finalize(failed.order, request))


@rule("RFC 8555 7.1.6", "a challenge that failed stays invalid, though the right proof is there later")
@pytest.mark.late
def test_a_failed_challenge_is_final(failing: dict[str, Failing | Exception]) -> None:
    failed = begun(failing, "http-01 nothing")
    failed.invalid()
    failed.case.page(failed.case.own())
    failed.case.account.post(failed.case.challenge["url"], {})
    assert failed.judged()["status"] == "invalid"


@rule("RFC 8555 8", "the error of a failed challenge is shown in its authorization, and by the challenge too")
@pytest.mark.late
def test_a_failed_challenge_shows_its_error(failing: dict[str, Failing | Exception]) -> None:
    failed = begun(failing, "http-01 nonsense")
    listed = failed.invalid()
    body = failed.case.account.read(failed.case.challenge["url"]).body
    assert body["status"] == "invalid"
    assert [shown for shown in (listed, body) if not shown["error"]["type"].startswith(URN)] == []


@rule("RFC 8555 8", "a failed challenge has no `validated`", "practice")
@pytest.mark.late
def test_a_failed_challenge_has_no_time_of_validation(failing: dict[str, Failing | Exception]) -> None:
    failed = begun(failing, "http-01 nonsense")
    failed.invalid()
    assert "validated" not in failed.case.account.read(failed.case.challenge["url"]).body
