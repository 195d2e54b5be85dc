"""The page of endpoints has the statuses that a server answers with: those of success on one walk to all of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import scraping
from cryptography import x509
from enrolling import enrol
from pages import page, table
from ports import free_port
from running import ACCOUNT, CA, answer
from wire import Account, Key, b64

from acme_iid.issuance.root_crl import short_id
from acme_iid.protocol.renewal import CertificateId
from acme_iid.simulator import aws

PAGE = page("docs/reference/endpoints.md")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[CA, str, str]]:
    """A CA that shows its status and its numbers, and where it does."""
    ca, port = CA(tmp_path / "ca"), free_port()
    ca.init()
    file = ca.home / "ca.toml"
    file.write_text(f'{file.read_text()}\n[status]\nlisten = "127.0.0.1:{port}"\n')
    base = scraping.turn_on(ca)
    files = ("--root-cert", ca.root, "--root-key", ca.root_key, "--out", tmp_path / "root.crl")
    ca.cli("issuer", "root-crl", "sign", *files)
    ca.cli("issuer", "root-crl", "import", tmp_path / "root.crl")
    ca.start()
    yield ca, f"http://127.0.0.1:{port}", base
    ca.stop()


def see_all(ca: CA, status: str, base: str) -> None:
    """Ask for everything that there is, and be granted it."""
    account, evidence = ca.account(), answer(aws.Instance(account=ACCOUNT))
    wire = account.wire
    wire.post(wire.directory["newAccount"], {}, account.key)
    account.post(wire.directory_url)
    account.post(wire.directory["newNonce"])
    wire.session.get(wire.directory["newNonce"], timeout=30)
    account.post(account.url, {"contact": []})
    account.post(f"{account.url}/orders")
    account.post(wire.directory["newAuthz"], {"identifier": {"type": "dns", "value": "ahead.local"}})
    issued = account.obtain("foo.local", answer=evidence)
    certificate = account.post(issued.order).json()["certificate"]
    account.post(f"{certificate}/0")
    made = enrol(account, issued.order)
    enrol(account, issued.order, renew=made.json()["enrolment"])
    authority = issued.leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    number = CertificateId(authority or b"", issued.leaf.serial_number)
    wire.session.get(f"{wire.directory['renewalInfo']}/{number}", timeout=30)
    account.post(wire.directory["revokeCert"], {"certificate": b64(issued.der)})
    new = Key()
    inner = wire.body(
        wire.directory["keyChange"], {"account": account.url, "oldKey": account.key.jwk}, new, None, drop=("nonce",)
    )
    account.post(wire.directory["keyChange"], inner)
    for path in ("roots.pem", "roots.json", f"root/{ca.fingerprint}", "health", "livez", "readyz"):
        wire.session.get(f"{ca.url}/{path}", timeout=30)
    issuer, root = ca.issuer_id, short_id(x509.load_pem_x509_certificate(ca.root.read_bytes()))
    for path in ("crl", f"crl/{issuer}", "issuer.cer", f"issuer/{issuer}.cer", f"root-crl/{root}", "ocsp/AAAA"):
        wire.session.get(f"{status}/{path}", timeout=30)
    wire.session.post(f"{status}/ocsp", data=b"?", timeout=30)
    for path in ("roots.json", "crl"):
        tag = wire.session.get(f"{ca.url}/{path}", timeout=30).headers["ETag"]
        wire.session.get(f"{ca.url}/{path}", headers={"If-None-Match": tag}, timeout=30)
    scraping.read(base)


def test_each_success_on_the_page_is_seen_and_no_other(served: tuple[CA, str, str]) -> None:
    see_all(*served)
    numbers = scraping.read(served[2])
    seen = {
        (labels["route"], labels["method"], labels["status"])
        for labels in (dict(labels) for name, labels in numbers if name == "acme_iid_requests_total")
    }
    assert [entry for entry in sorted(seen) if entry[2] >= "400"] == []
    listed = {
        (path.strip("`"), number)
        for path, _, _, success, _ in table(PAGE, "path")
        for number in re.findall(r"\d+", success)
    }
    not_changed = {(path, "304") for path in ("/roots.json", "/crl")}
    assert {(route, status) for route, _, status in seen} == listed | not_changed


def test_there_is_nothing_else(served: tuple[CA, str, str]) -> None:
    ca, _, base = served
    session = Account.new(ca.wire()).wire.session
    assert session.get(f"{ca.url}/nothing", timeout=30).status_code == 404
    assert session.get(f"{ca.url}/acme/new-order", timeout=30).status_code == 405
    assert scraping.get(f"{base}/acme/directory")[0] == 404
