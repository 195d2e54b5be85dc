"""http-01, dns-01 and tls-alpn-01 through a real server: answered, validated off the request, and recorded."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import time
from collections.abc import Iterator

import pytest
import requests
from cryptography import x509
from ports import free_port
from responders import Names, Page, Shown, Web, add_hosts, certificate, digest, settled, standard
from running import CA
from wire import Account, Key, b64, csr, problem

from acme_iid.issuance.provisioner_extension import OID

TOKENS = "/.well-known/acme-challenge/"


@pytest.fixture(scope="module")
def names() -> Iterator[Names]:
    server = Names()
    yield server
    server.close()


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    server = Web()
    yield server
    server.close()


@pytest.fixture(scope="module")
def tls_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory, names: Names, web: Web, tls_port: int) -> Iterator[CA]:
    """A CA whose hosts are on loopback, and known to our own name server."""
    made = CA(tmp_path_factory.mktemp("hosts") / "ca")
    made.init()
    add_hosts(made, names, web.port, tls_port)
    made.start()
    yield made
    if made.process is not None:
        made.stop()


@pytest.fixture
def account(ca: CA) -> Account:
    return ca.account()


def answer(account: Account, url: str) -> requests.Response:
    """Answer a challenge; it is processing then."""
    response = account.post(url, {})
    assert response.status_code == 200, response.text
    assert response.json()["status"] in ("processing", "valid")
    return response


def finished(account: Account, order: requests.Response, *names: str) -> x509.Certificate:
    """Finalize a ready order and download the certificate."""
    url = order.headers["Location"]
    assert account.post(url).json()["status"] == "ready"
    done = account.post(order.json()["finalize"], {"csr": b64(csr(*names)[1])})
    assert done.json()["status"] == "valid", done.text
    return x509.load_pem_x509_certificate(account.post(done.json()["certificate"]).text.encode())


def test_http_01_from_the_order_to_the_certificate(ca: CA, account: Account, names: Names, web: Web) -> None:
    names.set("web1.local", "A", "127.0.0.1")
    order = account.order("web1.local")
    found = standard(account, order.json(), "http-01")
    web.pages[TOKENS + found["token"]] = Page(f"{found['token']}.{account.key.thumbprint}\n".encode())
    response = answer(account, found["url"])
    assert "Retry-After" in response.headers
    done = settled(account, found["url"])
    assert done.json()["status"] == "valid", done.text
    assert "Retry-After" not in done.headers
    assert web.seen[-1] == (f"web1.local:{web.port}", TOKENS + found["token"])
    leaf = finished(account, order, "web1.local")
    extension = leaf.extensions.get_extension_for_oid(OID).value
    assert isinstance(extension, x509.UnrecognizedExtension)
    assert extension.value == b"\x30\x0c\x02\x01\x06\x04\x05Racks\x04\x00"
    event = json.loads(ca.cli("events", "--name", "web1.local", "--json").stdout)
    kinds = [entry["kind"] for entry in event]
    (valid,) = [entry for entry in event if entry["kind"] == "challenge.valid"]
    assert valid in json.loads(ca.cli("events", "--cloud", "acme", "--json").stdout)
    assert "challenge.valid" in kinds
    assert "certificate.issued" in kinds


def test_redirects_are_followed_only_in_the_domains_and_reveal_nothing(
    account: Account, names: Names, web: Web
) -> None:
    names.set("outside.example", "A", "127.0.0.1")
    names.set("inside.local", "A", "127.0.0.1")
    for number, (target, sentence) in enumerate(
        (
            ("outside.example", "redirects to outside.example, which no host of the provisioner may prove"),
            ("inside.local", "redirects, and the redirect does not lead to the key authorization"),
        )
    ):
        name = f"redirecting{number}.local"
        names.set(name, "A", "127.0.0.1")
        found = standard(account, account.order(name).json(), "http-01")
        web.pages[TOKENS + found["token"]] = Page(
            status=302, headers={"Location": f"http://{target}:{web.port}/{name}"}
        )
        answer(account, found["url"])
        done = settled(account, found["url"]).json()
        assert (done["status"], problem_type(done["error"])) == ("invalid", "incorrectResponse")
        assert sentence in done["error"]["detail"]
        asked = [host for host, path in web.seen if path == f"/{name}"]
        assert set(asked) == (set() if target == "outside.example" else {f"{target}:{web.port}"})


def problem_type(error: dict[str, str]) -> str:
    """The last part of a problem's URN."""
    return error["type"].rpartition(":")[2]


@pytest.mark.parametrize("name", ["web2.local", "*.apps.local"])
def test_dns_01_proves_a_name_and_a_wildcard(account: Account, names: Names, name: str) -> None:
    order = account.order(name)
    found = standard(account, order.json(), "dns-01")
    expected = base64.urlsafe_b64encode(digest(f"{found['token']}.{account.key.thumbprint}")).rstrip(b"=").decode()
    names.set(f"_acme-challenge.{name.removeprefix('*.')}", "TXT", '"another"', f'"{expected[:20]}" "{expected[20:]}"')
    answer(account, found["url"])
    assert settled(account, found["url"]).json()["status"] == "valid"
    finished(account, order, name)


def test_tls_alpn_01_proves_a_name(account: Account, names: Names, tls_port: int) -> None:
    names.set("web3.local", "A", "127.0.0.1")
    order = account.order("web3.local")
    found = standard(account, order.json(), "tls-alpn-01")
    shown = certificate(x509.DNSName("web3.local"), digest=digest(f"{found['token']}.{account.key.thumbprint}"))
    host = Shown(shown, port=tls_port)
    try:
        answer(account, found["url"])
        assert settled(account, found["url"]).json()["status"] == "valid"
    finally:
        host.close()
    assert host.asked == ["web3.local"]
    finished(account, order, "web3.local")


def test_a_wrong_answer_ends_the_order_with_what_was_wrong(account: Account, names: Names, web: Web) -> None:
    names.set("wrong.local", "A", "127.0.0.1")
    order = account.order("wrong.local")
    found = standard(account, order.json(), "http-01")
    web.pages[TOKENS + found["token"]] = Page(b"something else")
    answer(account, found["url"])
    failed = settled(account, found["url"]).json()
    assert failed["status"] == "invalid"
    assert failed["error"]["type"] == "urn:ietf:params:acme:error:incorrectResponse"
    ended = account.post(order.headers["Location"]).json()
    assert ended["status"] == "invalid"
    assert ended["error"]["type"] == "urn:ietf:params:acme:error:incorrectResponse"


def test_reading_a_challenge_starts_nothing(account: Account, names: Names) -> None:
    names.set("idle.local", "A", "127.0.0.1")
    found = standard(account, account.order("idle.local").json(), "http-01")
    for _ in range(3):
        assert account.post(found["url"]).json()["status"] == "pending"
    assert ("idle.local", "A") not in names.asked


def test_a_second_answer_to_a_processing_challenge_changes_nothing(account: Account) -> None:
    found = standard(account, account.order("late.local").json(), "http-01")
    first, second = answer(account, found["url"]), answer(account, found["url"])
    assert first.json()["status"] == second.json()["status"] == "processing"
    assert "Retry-After" in second.headers


def persist(account: Account, name: str, **parameters: str) -> str:
    """A dns-persist-01 record for an account, as draft -02 has it."""
    prefix = account.wire.directory["meta"]["accountHashPrefix"]
    octets = bytes([len(name)]) + f"{name}{account.key.thumbprint}{account.url}".encode()
    uri = f"{prefix}sha-256/{base64.urlsafe_b64encode(hashlib.sha256(octets).digest()).rstrip(b'=').decode()}"
    (issuer,) = account.wire.directory["meta"]["issuerDomainNames"]
    text = "; ".join([issuer, f"accounturi={uri}", *(f"{key}={value}" for key, value in parameters.items())])
    return " ".join(f'"{text[start : start + 200]}"' for start in range(0, len(text), 200))


def test_dns_persist_01_proves_one_name_in_two_orders_with_one_record(account: Account, names: Names) -> None:
    names.set("_validation-persist.kept.local", "TXT", persist(account, "kept.local"))
    for _ in range(2):
        order = account.order("kept.local")
        found = standard(account, order.json(), "dns-persist-01")
        assert "token" not in found
        assert found["issuerDomainNames"] == found["issuer-domain-names"] == ["ca.local"]
        assert found["accounturi"] == account.url
        answer(account, found["url"])
        assert settled(account, found["url"]).json()["status"] == "valid"
        finished(account, order, "kept.local")


def test_dns_persist_01_still_proves_a_name_after_a_key_change(account: Account, names: Names) -> None:
    names.set("_validation-persist.rolled.local", "TXT", persist(account, "rolled.local"))
    wire, old, new = account.wire, account.key, Key()
    inner = wire.body(
        wire.directory["keyChange"], {"account": account.url, "oldKey": old.jwk}, new, None, drop=("nonce",)
    )
    assert wire.post(wire.directory["keyChange"], inner, old, account.url).status_code == 200
    changed = Account(wire, new, account.url)
    found = standard(changed, changed.order("rolled.local").json(), "dns-persist-01")
    answer(changed, found["url"])
    assert settled(changed, found["url"]).json()["status"] == "valid"


def test_an_authorization_ends_when_the_record_says_so(account: Account, names: Names) -> None:
    until = int(time.time()) + 900
    names.set("_validation-persist.ending.local", "TXT", persist(account, "ending.local", persistUntil=str(until)))
    order = account.order("ending.local").json()
    found = standard(account, order, "dns-persist-01")
    answer(account, found["url"])
    assert settled(account, found["url"]).json()["status"] == "valid"
    expires = dt.datetime.fromisoformat(account.post(order["authorizations"][0]).json()["expires"])
    assert int(expires.timestamp()) == until


def test_a_wildcard_is_offered_no_challenge_that_only_proves_a_host(account: Account) -> None:
    order = account.order("*.apps.local").json()
    offered = {entry["type"] for entry in account.post(order["authorizations"][0]).json()["challenges"]}
    assert offered == {"dns-01", "dns-account-01", "dns-persist-01"}


def test_a_wildcard_takes_no_authorization_of_the_plain_name(account: Account, names: Names) -> None:
    names.set("_validation-persist.plain.local", "TXT", persist(account, "plain.local"))
    wanted = {"identifier": {"type": "dns", "value": "plain.local"}}
    made = account.post(account.wire.directory["newAuthz"], wanted)
    url = made.headers["Location"]
    found = standard(account, {"authorizations": [url]}, "dns-persist-01")
    answer(account, found["url"])
    assert settled(account, found["url"]).json()["status"] == "valid"
    assert url not in account.order("*.plain.local").json()["authorizations"]
    assert account.order("plain.local").json()["authorizations"] == [url]


def test_an_address_in_the_networks_is_proven_by_http_01(account: Account, web: Web) -> None:
    wanted = {"identifiers": [{"type": "ip", "value": "127.0.0.2"}]}  # 127.0.0.1 is the CA's own
    order = account.post(account.wire.directory["newOrder"], wanted)
    found = standard(account, order.json(), "http-01")
    neighbour = Web("127.0.0.2", web.port)
    neighbour.pages[TOKENS + found["token"]] = Page(f"{found['token']}.{account.key.thumbprint}".encode())
    answer(account, found["url"])
    assert settled(account, found["url"]).json()["status"] == "valid"
    neighbour.close()
    offered = {entry["type"] for entry in account.post(order.json()["authorizations"][0]).json()["challenges"]}
    assert offered == {"http-01"}  # only the one that decided it is shown


def test_what_went_wrong_is_said_while_it_is_tried_again(account: Account, names: Names) -> None:
    order = account.order("slow.local").json()
    found = standard(account, order, "dns-01")
    answer(account, found["url"])
    deadline = time.monotonic() + 20
    while "error" not in (shown := account.post(found["url"])).json():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert shown.json()["status"] == "processing"
    assert shown.json()["error"]["type"] == "urn:ietf:params:acme:error:dns"
    assert "Retry-After" in shown.headers
    assert "Retry-After" in account.post(order["authorizations"][0]).headers
    names.set(
        "_acme-challenge.slow.local",
        "TXT",
        base64.urlsafe_b64encode(digest(f"{found['token']}.{account.key.thumbprint}")).rstrip(b"=").decode(),
    )
    done = settled(account, found["url"]).json()
    assert done["status"] == "valid"
    assert "error" not in done


def test_a_name_of_a_closed_address_fails_at_once_and_says_why(account: Account, names: Names) -> None:
    names.set("meta.local", "A", "169.254.169.254")
    found = standard(account, account.order("meta.local").json(), "http-01")
    answer(account, found["url"])
    error = settled(account, found["url"], 10).json()["error"]
    assert error["type"] == "urn:ietf:params:acme:error:connection"
    assert "169.254.169.254" in error["detail"]


@pytest.mark.parametrize("end", ["authorization", "account"])
def test_what_has_ended_is_not_looked_at_again(account: Account, names: Names, end: str) -> None:
    name = f"ended-{end}.local"
    order = account.order(name).json()
    found = standard(account, order, "dns-01")
    answer(account, found["url"])
    deadline = time.monotonic() + 20
    while (f"_acme-challenge.{name}", "TXT") not in names.asked:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    ended = order["authorizations"][0] if end == "authorization" else account.url
    assert account.post(ended, {"status": "deactivated"}).status_code == 200
    time.sleep(1)  # an attempt that was under way may still ask
    asked = names.asked.count((f"_acme-challenge.{name}", "TXT"))
    time.sleep(6)  # the next attempts would be due after one and three seconds
    assert names.asked.count((f"_acme-challenge.{name}", "TXT")) == asked


def test_one_challenge_that_is_met_decides_though_another_is_still_tried(
    account: Account, names: Names, web: Web
) -> None:
    names.set("both.local", "A", "127.0.0.1")
    order = account.order("both.local")
    slow, quick = (standard(account, order.json(), kind) for kind in ("dns-01", "http-01"))
    web.pages[TOKENS + quick["token"]] = Page(f"{quick['token']}.{account.key.thumbprint}".encode())
    answer(account, slow["url"])
    answer(account, quick["url"])
    assert settled(account, quick["url"]).json()["status"] == "valid"
    time.sleep(5)  # the other one's next attempts
    shown = account.post(order.json()["authorizations"][0])
    assert shown.json()["status"] == "valid"
    assert [entry["type"] for entry in shown.json()["challenges"]] == ["http-01"]
    assert "Retry-After" not in shown.headers
    finished(account, order, "both.local")


def test_an_answer_that_is_no_object_is_malformed_and_starts_nothing(account: Account, names: Names) -> None:
    found = standard(account, account.order("odd.local").json(), "dns-01")
    for payload in (b"[]", b"1", b"null", b'"x"'):
        assert problem(account.post(found["url"], payload)) == "malformed"
    assert account.post(found["url"]).json()["status"] == "pending"
    assert ("_acme-challenge.odd.local", "TXT") not in names.asked


def test_a_key_change_takes_back_a_pending_iid01_and_no_other_challenge(
    account: Account, names: Names, web: Web
) -> None:
    names.set("changing.local", "A", "127.0.0.1")
    order = account.order("changing.local")
    url = order.json()["authorizations"][0]
    assert {"iid-01", "http-01"} <= {entry["type"] for entry in account.post(url).json()["challenges"]}
    new = Key()
    change = account.wire.directory["keyChange"]
    inner = account.wire.body(change, {"account": account.url, "oldKey": account.key.jwk}, new, None, drop=("nonce",))
    assert account.post(change, inner).status_code == 200
    account.key = new
    left = account.post(url).json()
    assert left["status"] == "pending"
    assert "iid-01" not in {entry["type"] for entry in left["challenges"]}
    found = standard(account, order.json(), "http-01")
    web.pages[TOKENS + found["token"]] = Page(f"{found['token']}.{new.thumbprint}".encode())
    answer(account, found["url"])
    assert settled(account, found["url"]).json()["status"] == "valid"
    finished(account, order, "changing.local")
