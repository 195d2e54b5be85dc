"""What the client notices about a CA that is not the one it should be, or does not do what it should."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from scripted_ca import CUT, LOST, Issuer, Reply, ScriptedCA, issue, known, new_issuer, problem, serve

from acme_iid.simulator import aws, server
from acme_iid_client import clouds
from acme_iid_client.acme import order
from acme_iid_client.acme.connection import CaError
from acme_iid_client.deadline import Deadline
from acme_iid_client.errors import ClientError
from acme_iid_client.storage.account_options import AccountOptions
from acme_iid_client.x509 import keys

EVIDENCE = "ZXZpZGVuY2U="


@pytest.fixture
def ca(tmp_path: Path) -> Iterator[ScriptedCA]:
    with serve(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def metadata() -> Iterator[str]:
    # Nobody checks the signature here, so none is made.
    recording = {
        "cloud": "aws",
        "format": "rsa2048-pkcs7-sha256",
        "document": '{"instanceId": "i-1"}',
        "signature": EVIDENCE,
    }
    with server.serve(aws.recorded(json.dumps(recording).encode())) as running:
        yield running.url


@pytest.fixture
def get(ca: ScriptedCA, metadata: str, tmp_path: Path) -> Callable[..., order.Issued]:
    """Order foo.local."""
    root = tmp_path / "root.pem"
    root.write_bytes(ca.root.pem)
    notices: list[str] = []

    def ask(seconds: float = 10, *names: str, agree_tos: bool = False) -> order.Issued:
        request = order.Request(list(names or ["foo.local"]), keys.KeyType("EC", "P-256"))
        cloud = clouds.here({}, metadata)
        known_ca = known(ca.url, root, AccountOptions(agree_tos))
        return order.order(request, known_ca, tmp_path / "state", cloud, Deadline(seconds), notices.append)

    return ask


def test_an_order_takes_five_signed_requests(get: Callable[..., order.Issued], ca: ScriptedCA) -> None:
    get()
    assert ca.paths()[-5:] == [
        "/acme/new-order",
        "/acme/authz/1",
        "/acme/challenge/1",
        "/acme/finalize/1",
        "/acme/certificate/1",
    ]
    ca.asked.clear()
    get()
    assert len(ca.asked) == 6, "the second order asks for the directory and no account"


def test_the_answer_holds_the_format_that_the_machine_has(get: Callable[..., order.Issued], ca: ScriptedCA) -> None:
    get()
    answer = next(payload for path, payload in ca.asked if path == "/acme/challenge/1")
    assert answer == {"format": "aws-rsa2048", "evidence": EVIDENCE}


@pytest.mark.parametrize("copy", ["audience", "nonce"])
def test_evidence_is_not_given_for_another_challenge(
    get: Callable[..., order.Issued], ca: ScriptedCA, copy: str
) -> None:
    ca.challenge = {copy: "acme-iid-01:somebody-elses"}
    with pytest.raises(ClientError, match="relaying another server's challenge"):
        get()
    assert "/acme/challenge/1" not in ca.paths()


def test_formats_that_the_machine_cannot_give_are_named(get: Callable[..., order.Issued], ca: ScriptedCA) -> None:
    ca.challenge = {"formats": ["gcp-identity"]}
    with pytest.raises(ClientError, match=r"accepts gcp-identity for foo\.local.*can give aws-rsa2048"):
        get()


def test_a_challenge_without_evidence_is_not_answered(get: Callable[..., order.Issued], ca: ScriptedCA) -> None:
    ca.challenge = {"type": "http-01"}
    with pytest.raises(CaError, match="offers no iid-01 challenge"):
        get()


def test_a_refusal_is_shown_in_full(get: Callable[..., order.Issued], ca: ScriptedCA) -> None:
    detail = "bound to another key; an operator types: acme-iid-ca instance release i-1 --to abc"
    ca.challenge = {"status": "invalid", "error": {"type": "urn:ietf:params:acme:error:unauthorized", "detail": detail}}
    with pytest.raises(CaError) as caught:
        get()
    assert detail in str(caught.value)


def test_the_single_faults_of_a_refusal_are_shown(get: Callable[..., order.Issued], ca: ScriptedCA) -> None:
    fault = {
        "type": "urn:ietf:params:acme:error:rejectedIdentifier",
        "detail": "is outside",
        "identifier": {"type": "dns", "value": "foo.local"},
    }
    ca.once["/acme/new-order"] = [problem("rejectedIdentifier", "Some names will not do", subproblems=[fault])]
    with pytest.raises(CaError) as caught:
        get()
    assert str(caught.value).splitlines() == [
        "The CA refused the order of foo.local: Some names will not do",
        "  foo.local: is outside",
    ]


def _leaf(issuer: Issuer, key: object, names: list[str], **more: object) -> bytes:
    return issue(issuer, names[0], key, names, **more).public_bytes(Encoding.PEM)  # type: ignore[arg-type]  # passed on


Chain = Callable[[ScriptedCA, x509.CertificateSigningRequest], bytes]


def _under_a_leaf(ca: ScriptedCA, request: x509.CertificateSigningRequest) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = Issuer(issue(ca.root, "bar.local", key, ["bar.local"]), key)
    return _leaf(leaf, request.public_key(), ["foo.local"]) + leaf.pem


def _too_deep(ca: ScriptedCA, request: x509.CertificateSigningRequest) -> bytes:
    upper = new_issuer("Upper CA", ca.root, 0)
    lower = new_issuer("Lower CA", upper)
    return _leaf(lower, request.public_key(), ["foo.local"]) + lower.pem + upper.pem


_LIES: dict[str, tuple[Chain, str]] = {
    "another key": (
        lambda ca, _: _leaf(ca.root, ec.generate_private_key(ec.SECP256R1()).public_key(), ["foo.local"]),
        "for another key",
    ),
    "another name": (
        lambda ca, request: _leaf(ca.root, request.public_key(), ["bar.local"]),
        "for bar.local instead of foo.local",
    ),
    "one name more": (
        lambda ca, request: _leaf(ca.root, request.public_key(), ["foo.local", "bar.local"]),
        "for foo.local, bar.local instead of foo.local",
    ),
    "another root": (
        lambda _, request: _leaf(new_issuer("Scripted Root CA"), request.public_key(), ["foo.local"]),
        "does not chain to its root",
    ),
    "a leaf as issuer": (_under_a_leaf, "may not issue"),
    "one CA too deep": (_too_deep, "may not issue"),
    "expired": (
        lambda ca, request: _leaf(
            ca.root, request.public_key(), ["foo.local"], start=ca.root.certificate.not_valid_before_utc, days=0.0001
        ),
        "Check the clock",
    ),
    "no certificate": (lambda *_: b"hello", "did not send a certificate"),
}


@pytest.mark.parametrize("lie", _LIES)
def test_a_certificate_that_was_not_ordered_is_refused(
    get: Callable[..., order.Issued], ca: ScriptedCA, lie: str
) -> None:
    chain, complaint = _LIES[lie]
    ca.chain = lambda request: chain(ca, request)
    with pytest.raises(ClientError, match=complaint):
        get()


def test_an_address_that_is_not_https_is_not_asked(get: Callable[..., order.Issued], ca: ScriptedCA) -> None:
    resources = dict.fromkeys(("newNonce", "newAccount", "newOrder"), "http://127.0.0.1:1/x")
    ca.once["/acme/directory"] = [Reply(body=resources)]
    with pytest.raises(ClientError, match="which is not https"):
        get()


def test_a_redirect_is_not_followed(get: Callable[..., order.Issued], ca: ScriptedCA) -> None:
    ca.once["/acme/new-order"] = [Reply(307, headers={"Location": f"{ca.url}/elsewhere"})]
    with pytest.raises(ClientError, match="answers with a redirect"):
        get()
    assert "/elsewhere" not in ca.paths()


_AWAY = {
    "cut off": Reply(CUT),
    "502": Reply(502, b"<html>"),
    "503": Reply(503, headers={"Retry-After": "0"}),
    "bad nonce": problem("badNonce", "used", 400),
    "busy": problem("serverInternal", "busy", 503),
    "rate limited": problem("rateLimited", "slowly", 429),
}
_SIGNED = ("new-account", "new-order", "authz/1", "challenge/1", "finalize/1", "certificate/1")


@pytest.mark.parametrize(
    ("path", "trouble"), [*((path, "cut off") for path in _SIGNED), *(("new-order", trouble) for trouble in _AWAY)]
)
def test_a_request_is_sent_again_when_the_ca_was_away(
    get: Callable[..., order.Issued], ca: ScriptedCA, path: str, trouble: str
) -> None:
    ca.once[f"/acme/{path}"] = [_AWAY[trouble]]
    assert get().leaf is not None
    assert ca.paths().count(f"/acme/{path}") == 2


def test_a_nonce_may_be_refused_more_than_once(get: Callable[..., order.Issued], ca: ScriptedCA) -> None:
    # The acme library tries once more by itself.
    ca.once["/acme/new-order"] = [problem("badNonce", "used", 400)] * 4
    assert get().leaf is not None


def test_a_lost_answer_to_a_finalization_is_no_failure(get: Callable[..., order.Issued], ca: ScriptedCA) -> None:
    ca.once["/acme/finalize/1"] = [Reply(LOST), problem("orderNotReady", "the order is valid")]
    assert get().leaf is not None
    assert ca.paths()[-2:] == ["/acme/order/1", "/acme/certificate/1"]


def test_a_refusal_is_not_repeated(get: Callable[..., order.Issued], ca: ScriptedCA) -> None:
    ca.once["/acme/new-order"] = [problem("rejectedIdentifier", "never")]
    with pytest.raises(CaError, match="never"):
        get()
    assert ca.paths().count("/acme/new-order") == 1


def test_a_ca_that_stays_busy_is_given_up_in_time(get: Callable[..., order.Issued], ca: ScriptedCA) -> None:
    ca.once["/acme/new-order"] = [Reply(503, {"detail": "come back tomorrow"}, {"Retry-After": "86400"})]
    with pytest.raises(ClientError, match="come back tomorrow"):
        get(5)


def test_an_account_that_the_ca_forgot_is_registered_again_once(
    get: Callable[..., order.Issued], ca: ScriptedCA
) -> None:
    get()
    ca.asked.clear()
    ca.once["/acme/new-order"] = [problem("accountDoesNotExist", "the CA forgot", 400)]
    get()
    assert ca.paths().count("/acme/new-account") == 1
    ca.once["/acme/new-order"] = [problem("accountDoesNotExist", "the CA forgot", 400)] * 2
    with pytest.raises(CaError, match="the CA forgot"):
        get()


def test_an_answer_that_takes_time_is_polled(get: Callable[..., order.Issued], ca: ScriptedCA) -> None:
    processing = {"type": "iid-01", "status": "processing", "url": f"{ca.url}/acme/challenge/1", "token": "A" * 43}
    ca.once["/acme/challenge/1"] = [Reply(body=processing, headers={"Retry-After": "0"})] * 2
    get()
    posted = [payload for path, payload in ca.asked if path == "/acme/challenge/1"]
    assert posted[1:] == [None, None], "polling is POST-as-GET"


def test_a_valid_authorization_is_not_proven_again(get: Callable[..., order.Issued], ca: ScriptedCA) -> None:
    valid = {"status": "valid", "identifier": {"type": "dns", "value": "foo.local"}, "challenges": []}
    ca.once["/acme/authz/1"] = [Reply(body=valid)]
    get()
    assert "/acme/challenge/1" not in ca.paths()


def test_the_account_key_is_private_and_made_once(get: Callable[..., order.Issued], tmp_path: Path) -> None:
    first, second = get(), get()
    assert first.account is not None
    assert second.account is not None
    assert first.account.thumbprint == second.account.thumbprint
    files = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert [stat.S_IMODE(path.stat().st_mode) for path in files] == [0o600]
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "state").rglob("*") if path.is_dir()} == {0o700}


def test_ip_addresses_are_ordered_as_such(get: Callable[..., order.Issued], ca: ScriptedCA) -> None:
    get(10, "172.31.65.180")
    payload = next(payload for path, payload in ca.asked if path == "/acme/new-order")
    assert payload["identifiers"] == [{"type": "ip", "value": "172.31.65.180"}]
    assert ca.request is not None
    assert not ca.request.subject, "an address is no common name"


def test_evidence_is_sent_in_the_answer_and_nowhere_else(get: Callable[..., order.Issued], ca: ScriptedCA) -> None:
    get()
    assert [path for path, payload in ca.asked if EVIDENCE in str(payload)] == ["/acme/challenge/1"]


def directory_with(ca: ScriptedCA, terms: object) -> Reply:
    body = ca.usual("/acme/directory", None).body
    assert isinstance(body, dict)
    return Reply(body=body | {"meta": {"termsOfService": terms}})


def agreements(ca: ScriptedCA) -> list[str]:
    """Where an agreement was sent to."""
    return [path for path, payload in ca.asked if isinstance(payload, dict) and "termsOfServiceAgreed" in payload]


@pytest.mark.parametrize("terms", ["https://ca.local/terms", None, True, ["https://ca.local/terms"], ""])
def test_terms_are_agreed_to_only_if_they_exist_and_it_was_told_to(
    get: Callable[..., order.Issued], ca: ScriptedCA, terms: object, tmp_path: Path
) -> None:
    ca.once["/acme/directory"] = [directory_with(ca, terms)]
    get()
    assert agreements(ca) == []
    (file,) = (tmp_path / "state" / "accounts").rglob("*.json")
    file.unlink()
    ca.once["/acme/directory"] = [directory_with(ca, terms)]
    get(agree_tos=True)
    assert agreements(ca) == (["/acme/new-account"] if terms == "https://ca.local/terms" else [])


def test_terms_that_a_refusal_links_to_need_an_agreement_of_their_own(
    get: Callable[..., order.Issued], ca: ScriptedCA
) -> None:
    ca.once["/acme/directory"] = [directory_with(ca, "/terms/1"), directory_with(ca, "/terms/1")]
    get(agree_tos=True)
    ca.asked.clear()
    refused = problem("userActionRequired", "agree")
    ca.once["/acme/new-order"] = [
        Reply(403, refused.body, {**refused.headers, "Link": '</terms/2>;rel="terms-of-service"'})
    ]
    with pytest.raises(CaError, match=f"{ca.url}/terms/2\n.*--agree-tos"):
        get()
    assert agreements(ca) == []


def test_a_ca_that_is_never_content_with_an_agreement_is_given_up(
    get: Callable[..., order.Issued], ca: ScriptedCA
) -> None:
    ca.once["/acme/directory"] = [directory_with(ca, "https://ca.local/terms")]
    ca.once["/acme/new-order"] = [problem("userActionRequired", "agree once more")] * 2
    with pytest.raises(CaError, match="agree once more"):
        get(agree_tos=True)
    assert agreements(ca) == ["/acme/new-account", "/acme/account/1"]


def test_an_action_that_is_not_about_terms_is_what_the_ca_says(
    get: Callable[..., order.Issued], ca: ScriptedCA
) -> None:
    for path in ("/acme/new-account", "/acme/new-order"):
        ca.once[path] = [problem("userActionRequired", "call the help desk")]
        with pytest.raises(CaError, match="call the help desk"):
            get(agree_tos=True)
    assert agreements(ca) == []
