"""http-01, dns-01 and tls-alpn-01 through a real server: answered, validated off the request, and recorded."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from cryptography import x509
from responders import Names, Page, Shown, Web, certificate, digest
from running import CA, free_port
from wire import Account, b64, csr

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
    with (made.home / "ca.toml").open("a") as file:
        file.write(
            f"""
[[provisioner]]
name = "Racks"
type = "ACME"
challenges = ["http-01", "dns-01", "tls-alpn-01", "dns-account-01"]
allow_wildcards = true
networks = ["127.0.0.0/8"]
resolver = ["{names.address}"]
http_port = {web.port}
tls_port = {tls_port}
"""
        )
    made.start()
    yield made
    if made.process is not None:
        made.stop()


@pytest.fixture
def account(ca: CA) -> Account:
    return ca.account()


def challenge(account: Account, order: dict[str, Any], kind: str) -> dict[str, Any]:
    authorization = account.post(order["authorizations"][0]).json()
    found: dict[str, Any] = next(entry for entry in authorization["challenges"] if entry["type"] == kind)
    return found


def settled(account: Account, url: str, seconds: float = 30) -> requests.Response:
    """The challenge once it is no longer processing."""
    deadline = time.monotonic() + seconds
    while (response := account.post(url)).json()["status"] == "processing":
        assert time.monotonic() < deadline, response.text
        assert int(response.headers["Retry-After"]) >= 1
        time.sleep(0.1)
    return response


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
    found = challenge(account, order.json(), "http-01")
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
    assert "challenge.valid" in kinds
    assert "certificate.issued" in kinds


@pytest.mark.parametrize("name", ["web2.local", "*.apps.local"])
def test_dns_01_proves_a_name_and_a_wildcard(account: Account, names: Names, name: str) -> None:
    order = account.order(name)
    found = challenge(account, order.json(), "dns-01")
    expected = base64.urlsafe_b64encode(digest(f"{found['token']}.{account.key.thumbprint}")).rstrip(b"=").decode()
    names.set(f"_acme-challenge.{name.removeprefix('*.')}", "TXT", '"another"', f'"{expected[:20]}" "{expected[20:]}"')
    answer(account, found["url"])
    assert settled(account, found["url"]).json()["status"] == "valid"
    finished(account, order, name)


def test_tls_alpn_01_proves_a_name(account: Account, names: Names, tls_port: int) -> None:
    names.set("web3.local", "A", "127.0.0.1")
    order = account.order("web3.local")
    found = challenge(account, order.json(), "tls-alpn-01")
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
    found = challenge(account, order.json(), "http-01")
    web.pages[TOKENS + found["token"]] = Page(b"something else")
    answer(account, found["url"])
    failed = settled(account, found["url"], 60).json()
    assert failed["status"] == "invalid"
    assert failed["error"]["type"] == "urn:ietf:params:acme:error:incorrectResponse"
    ended = account.post(order.headers["Location"]).json()
    assert ended["status"] == "invalid"
    assert ended["error"]["type"] == "urn:ietf:params:acme:error:incorrectResponse"


def test_reading_a_challenge_starts_nothing(account: Account, names: Names) -> None:
    names.set("idle.local", "A", "127.0.0.1")
    found = challenge(account, account.order("idle.local").json(), "http-01")
    for _ in range(3):
        assert account.post(found["url"]).json()["status"] == "pending"
    assert ("idle.local", "A") not in names.asked


def test_a_second_answer_to_a_processing_challenge_changes_nothing(account: Account) -> None:
    found = challenge(account, account.order("late.local").json(), "http-01")
    first, second = answer(account, found["url"]), answer(account, found["url"])
    assert first.json()["status"] == second.json()["status"] == "processing"
    assert "Retry-After" in second.headers
