"""The OCSP responder, as openssl and any other client see it."""

from __future__ import annotations

import base64
import json
import random
import subprocess
import urllib.parse
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from certificate_status_requests import fetch, hash_of, intermediate, point, question, revoke, turn_on
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from running import CA, answer
from wire import Account, Issued

from acme_iid.issuance import ceremony
from acme_iid.simulator import aws

NOW = 1_800_000_000
MALFORMED, UNAUTHORIZED = ocsp.OCSPResponseStatus.MALFORMED_REQUEST, ocsp.OCSPResponseStatus.UNAUTHORIZED


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CA]:
    ca = CA(tmp_path_factory.mktemp("status") / "ca")
    ca.init()
    turn_on(ca)
    ca.start("--workers", "2")
    yield ca
    ca.stop()


@pytest.fixture
def account(ca: CA) -> Account:
    return ca.account()


@pytest.fixture
def issued(account: Account, instance: aws.Instance) -> Issued:
    return account.obtain("foo.local", answer=answer(instance))


def ask(ca: CA, question: bytes) -> bytes:
    """POST a request; the answer."""
    headers = {"Content-Type": "application/ocsp-request"}
    response = ca.wire().session.post(ca.url + "/ocsp", data=question, headers=headers, timeout=30)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/ocsp-response"
    assert response.headers["Cache-Control"] == "no-store"
    return response.content


def openssl_ocsp(ca: CA, issued: Issued, folder: Path, *options: str) -> tuple[str, str]:
    """Ask as ``openssl ocsp`` does, and let it judge the answer: what it says of it and of the certificate."""
    leaf, issuer = folder / "leaf.pem", ca.intermediate
    leaf.write_bytes(issued.leaf.public_bytes(Encoding.PEM))
    about: list[str | Path] = ["openssl", "ocsp", "-issuer", issuer, *options, "-cert", leaf]
    subprocess.run([*about, "-reqout", folder / "request"], check=True, capture_output=True)
    (folder / "response").write_bytes(ask(ca, (folder / "request").read_bytes()))
    judged = subprocess.run(
        # Without another nonce: the answer is compared with the one in the request that was sent.
        [*about, "-no_nonce", "-reqin", folder / "request", "-respin", folder / "response", "-CAfile", ca.root,
         "-verify_other", issuer],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert judged.returncode == 0, judged.stderr
    return judged.stderr, judged.stdout


@pytest.mark.parametrize("options", [(), ("-sha256",), ("-no_nonce",)], ids=str)
def test_openssl_believes_the_answer_before_and_after_a_revocation(
    ca: CA, account: Account, issued: Issued, tmp_path: Path, options: tuple[str, ...]
) -> None:
    said, status = openssl_ocsp(ca, issued, tmp_path, *options)
    assert "Response verify OK" in said
    # openssl warns where its nonce is not in the answer.
    assert "nonce" not in said.lower()
    assert "leaf.pem: good" in status
    revoke(account, issued, 4)
    said, status = openssl_ocsp(ca, issued, tmp_path, *options)
    assert "Response verify OK" in said
    assert "leaf.pem: revoked" in status
    assert "Reason: superseded" in status


def test_of_a_certificate_that_was_not_issued_nothing_is_known(ca: CA) -> None:
    found = ocsp.load_der_ocsp_response(ask(ca, question(intermediate(ca), 12345)))
    assert found.certificate_status is ocsp.OCSPCertStatus.UNKNOWN
    assert found.serial_number == 12345


def test_an_unspecified_reason_is_left_out(ca: CA, account: Account, issued: Issued) -> None:
    revoke(account, issued)
    found = ocsp.load_der_ocsp_response(ask(ca, question(intermediate(ca), issued.leaf.serial_number)))
    assert found.certificate_status is ocsp.OCSPCertStatus.REVOKED
    assert found.revocation_reason is None
    assert found.revocation_time_utc is not None


@pytest.mark.parametrize(
    ("length", "status"),
    [(0, MALFORMED), (1, None), (32, None), (128, None), (129, MALFORMED)],
)
def test_a_nonce_comes_back_if_it_has_a_length_that_nonces_have(
    ca: CA, length: int, status: ocsp.OCSPResponseStatus | None
) -> None:
    nonce = b"n" * length
    found = ocsp.load_der_ocsp_response(ask(ca, question(intermediate(ca), 1, nonce)))
    if status is not None:
        assert found.response_status is status
    else:
        assert found.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == nonce


def test_another_cas_certificate_is_none_of_our_business(ca: CA) -> None:
    root = x509.load_pem_x509_certificate(ca.root.read_bytes())
    # The same name under another key is another CA, too.
    subject = intermediate(ca).subject
    namesake = ceremony.create_intermediate(
        ceremony.create_root("My CA", NOW), "My CA", NOW, itself=subject
    ).certificate
    assert namesake.subject == subject
    for issuer in (root, namesake):
        found = ocsp.load_der_ocsp_response(ask(ca, question(issuer, 1)))
        assert found.response_status is UNAUTHORIZED


def test_what_is_no_request_is_malformed(ca: CA) -> None:
    good = question(intermediate(ca), 1)
    issuer, sha = intermediate(ca), hashes.SHA256()
    names = hash_of(issuer.subject.public_bytes(), sha), hash_of(point(issuer), sha)
    critical = ocsp.OCSPRequestBuilder().add_certificate_by_hash(*names, 1, sha)
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    for sent in (
        b"",
        b"nonsense",
        good[:-1],
        good + b"\0" * 2048,
        critical.add_extension(unknown, critical=True).build().public_bytes(Encoding.DER),
        question(intermediate(ca), 1, algorithm=hashes.SHA224()),
    ):
        assert ocsp.load_der_ocsp_response(ask(ca, sent)).response_status is MALFORMED
    ignored = critical.add_extension(unknown, critical=False).build().public_bytes(Encoding.DER)
    assert ocsp.load_der_ocsp_response(ask(ca, ignored)).response_status is ocsp.OCSPResponseStatus.SUCCESSFUL


def with_character(ca: CA, wanted: str) -> bytes:
    """A request whose base64 has ``wanted`` in it."""
    issuer, known = intermediate(ca), random.Random(1)
    found = (question(issuer, known.getrandbits(120)) for _ in range(10_000))
    return next(sent for sent in found if wanted in base64.b64encode(sent).decode())


@pytest.mark.parametrize("wanted", ["=", "+", "/", "//"])
@pytest.mark.parametrize("safe", ["", "+/="], ids=["escaped", "as it is"])
def test_a_request_may_stand_in_the_url(ca: CA, wanted: str, safe: str) -> None:
    sent = with_character(ca, wanted)
    path = "/ocsp/" + urllib.parse.quote(base64.b64encode(sent).decode(), safe=safe)
    response = ca.wire().session.get(ca.url + path, timeout=30, allow_redirects=False)
    assert response.status_code == 200, response.text
    asked, found = ocsp.load_der_ocsp_request(sent), ocsp.load_der_ocsp_response(response.content)
    assert found.serial_number == asked.serial_number
    assert response.headers["Cache-Control"] == "max-age=300, public, no-transform, must-revalidate"
    assert response.headers["Content-Type"] == "application/ocsp-response"
    for name in ("ETag", "Expires", "Last-Modified"):
        assert response.headers[name]


def test_what_is_no_request_in_the_url_is_malformed(ca: CA) -> None:
    for path in ("/ocsp/!", "/ocsp/MA", "/ocsp/%C3%A9", "/ocsp/" + "MAAA" * 1000):
        response = fetch(ca, path)
        assert ocsp.load_der_ocsp_response(response.content).response_status is MALFORMED
        assert response.headers["Cache-Control"] == "no-store"


def test_certificate_show_and_the_answer_agree(ca: CA, account: Account, issued: Issued) -> None:
    revoke(account, issued, 5)
    shown = json.loads(ca.cli("certificate", "show", str(issued.leaf.serial_number), "--json").stdout)
    found = ocsp.load_der_ocsp_response(ask(ca, question(intermediate(ca), issued.leaf.serial_number)))
    assert shown["revocation_reason"] == "cessationOfOperation"
    assert found.revocation_reason is x509.ReasonFlags.cessation_of_operation
    assert found.revocation_time_utc is not None
    # The answer's own time is a minute back, and so is all in it.
    revoked_at = datetime.fromisoformat(shown["revoked"])
    assert found.revocation_time_utc == min(revoked_at, found.this_update_utc)
