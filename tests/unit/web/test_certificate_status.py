"""What anybody may know of a certificate: the list and the OCSP responder, as openssl and caches see them."""

from __future__ import annotations

import base64
import json
import random
import subprocess
import time
import urllib.parse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID
from meanwhile import Meanwhile
from running import CA, answer
from wire import Account, Issued, b64
from writing import put

from acme_iid.attestation.registry import trust_store
from acme_iid.authority import Authority, certificate_status
from acme_iid.config import ca_toml
from acme_iid.issuance import ca as issuing
from acme_iid.issuance.ca import CertificateAuthority
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Account as AccountFacts
from acme_iid.protocol.resources import Certificate, Order
from acme_iid.simulator import aws
from acme_iid.store import accounts, certificates, orders
from acme_iid.store.database import Database, open_store

NOW = 1_800_000_000
HOUR = 3600
MALFORMED, UNAUTHORIZED = ocsp.OCSPResponseStatus.MALFORMED_REQUEST, ocsp.OCSPResponseStatus.UNAUTHORIZED


def turn_on(ca: CA) -> None:
    file = ca.home / "ca.toml"
    file.write_text(file.read_text().replace("\n[server]", "crl = true\n\n[server]", 1))


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


def revoke(account: Account, issued: Issued, reason: int | None = None) -> None:
    payload = {"certificate": b64(issued.der)} | ({} if reason is None else {"reason": reason})
    url = account.wire.directory["revokeCert"]
    # keyCompromise takes the certificate's own key.
    done = account.wire.post(url, payload, issued.key) if reason == 1 else account.post(url, payload)
    assert done.status_code == 200, done.text


def intermediate(ca: CA) -> x509.Certificate:
    return x509.load_pem_x509_certificate((ca.home / issuing.INTERMEDIATE_CERTIFICATE).read_bytes())


def fetch(ca: CA, path: str = "/crl", **headers: str) -> requests.Response:
    return ca.wire().session.get(ca.url + path, headers=headers, timeout=30)


def current(ca: CA) -> x509.CertificateRevocationList:
    response = fetch(ca)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/pkix-crl"
    found = x509.load_der_x509_crl(response.content)
    assert found.is_signature_valid(intermediate(ca).public_key())  # type: ignore[arg-type]
    return found


def number(found: x509.CertificateRevocationList) -> int:
    return found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def verify(ca: CA, issued: Issued, folder: Path) -> subprocess.CompletedProcess[str]:
    """What openssl says of a certificate, with the list that the server has now."""
    (folder / "chain.pem").write_text(issued.chain)
    (folder / "crl.pem").write_bytes(x509.load_der_x509_crl(fetch(ca).content).public_bytes(Encoding.PEM))
    command: list[str | Path] = [
        *("openssl", "verify", "-x509_strict", "-crl_check", "-CAfile", ca.root, "-CRLfile", folder / "crl.pem"),
        *("-untrusted", folder / "chain.pem", folder / "chain.pem"),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_certificate_says_where_its_status_can_be_seen(ca: CA, issued: Issued) -> None:
    (point,) = issued.leaf.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    assert point.full_name == [x509.UniformResourceIdentifier(ca.url + "/crl")]
    access = issued.leaf.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    assert {entry.access_method: entry.access_location.value for entry in access} == {
        AuthorityInformationAccessOID.OCSP: ca.url + "/ocsp",
        AuthorityInformationAccessOID.CA_ISSUERS: ca.url + "/intermediate.cer",
    }
    response = fetch(ca, "/intermediate.cer")
    assert response.headers["Content-Type"] == "application/pkix-cert"
    issued.leaf.verify_directly_issued_by(x509.load_der_x509_certificate(response.content))


def test_without_the_switch_there_is_nothing_of_it(shared_ca: CA, instance: aws.Instance) -> None:
    leaf = shared_ca.account().obtain("foo.local", answer=answer(instance)).leaf
    for kind in (x509.CRLDistributionPoints, x509.AuthorityInformationAccess):
        with pytest.raises(x509.ExtensionNotFound):
            leaf.extensions.get_extension_for_class(kind)
    for path in ("/crl", "/ocsp/MA==", "/intermediate.cer"):
        assert fetch(shared_ca, path).status_code == 404


def test_openssl_accepts_a_certificate_until_the_moment_of_its_revocation(
    ca: CA, account: Account, issued: Issued, tmp_path: Path
) -> None:
    assert verify(ca, issued, tmp_path).returncode == 0
    revoke(account, issued, 1)
    done = verify(ca, issued, tmp_path)
    assert done.returncode != 0
    assert "certificate revoked" in done.stderr


def test_each_revocation_is_in_the_next_list_with_its_reason(ca: CA, account: Account, instance: aws.Instance) -> None:
    before = current(ca)
    for reason, flag in (
        (0, None),
        (1, x509.ReasonFlags.key_compromise),
        (3, x509.ReasonFlags.affiliation_changed),
        (4, x509.ReasonFlags.superseded),
        (5, x509.ReasonFlags.cessation_of_operation),
    ):
        issued = account.obtain(f"reason-{reason}.local", answer=answer(instance))
        assert before.get_revoked_certificate_by_serial_number(issued.leaf.serial_number) is None
        revoke(account, issued, reason)
        found = current(ca)
        entry = found.get_revoked_certificate_by_serial_number(issued.leaf.serial_number)
        assert entry is not None
        assert [extension.value for extension in entry.extensions] == ([] if flag is None else [x509.CRLReason(flag)])
        assert abs(entry.revocation_date_utc.timestamp() - time.time()) < 120
        assert number(found) > number(before)
        before = found


def test_what_an_operator_revokes_in_another_process_is_in_the_next_list(ca: CA, issued: Issued) -> None:
    before = number(current(ca))
    ca.cli("certificate", "revoke", str(issued.leaf.serial_number))
    found = current(ca)
    assert found.get_revoked_certificate_by_serial_number(issued.leaf.serial_number) is not None
    assert number(found) > before


def test_a_list_is_signed_once_and_whoever_has_it_is_not_sent_it_again(ca: CA) -> None:
    first = fetch(ca)
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda _: fetch(ca), range(24)))
    assert {response.content for response in responses} == {first.content}
    assert first.headers["Cache-Control"] == "public, no-cache"
    again = fetch(ca, **{"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert fetch(ca, **{"If-None-Match": '"another"'}).content == first.content


def test_racing_fetches_have_the_revocation_and_each_list_its_own_number(
    ca: CA, account: Account, issued: Issued
) -> None:
    revoke(account, issued)
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda _: fetch(ca), range(16)))
    lists = {response.content for response in responses}
    found = [x509.load_der_x509_crl(der) for der in lists]
    assert all(entry.get_revoked_certificate_by_serial_number(issued.leaf.serial_number) for entry in found)
    assert len({number(entry) for entry in found}) == len(lists)


# The list over time: the use case itself, with a store and an intermediate.


@pytest.fixture
def authority(own_ca: CA) -> Iterator[Authority]:
    turn_on(own_ca)
    loaded = ca_toml.load(own_ca.home)
    database = open_store(loaded.store.url)
    yield Authority(loaded, database, CertificateAuthority.load(own_ca.home, None), trust_store(loaded.given_keys))
    database.close()


def add(authority: Authority, number: int, not_after: int, revoked_at: int | None = None) -> None:
    """A certificate in the store, with its account and order, whose number it has."""
    name, database = (Identifier("dns", "foo.local"),), authority.database
    if not accounts.get(database, "a"):
        put(database, accounts.add(AccountFacts("a", "{}", "t", (), 1)))
    (row,) = put(database, orders.add(Order("", "a", name, 1, 100), "t" * 16))
    assert row["n"] == number
    certificate = Certificate(
        f"{number}.{'t' * 16}", f"{serial(number):x}", "a", name, 1, not_after, 1, b"der", authority.ca.issuer_id, "key"
    )
    put(database, certificates.add(certificate, None))
    if revoked_at is not None:
        put(database, certificates.revoke(certificate, 1, "operator", revoked_at))


def serial(number: int) -> int:
    """The serial number of the certificate with a number."""
    return (7 << 64) + number


def numbers(der: bytes) -> list[int]:
    """The numbers of the certificates in a list."""
    return sorted(entry.serial_number - serial(0) for entry in x509.load_der_x509_crl(der))


def test_an_expired_certificate_leaves_after_one_more_list(authority: Authority) -> None:
    add(authority, 1, NOW + 13 * HOUR, NOW)
    add(authority, 2, NOW + 90 * HOUR, NOW)
    add(authority, 3, NOW - 1, NOW - 5)
    at = [NOW, NOW + 12 * HOUR, NOW + 24 * HOUR, NOW + 36 * HOUR]
    lists = [certificate_status.current_list(authority, now) for now in at]
    assert [numbers(signed.der) for signed in lists] == [[1, 2], [1, 2], [1, 2], [2]]


def test_a_list_is_signed_again_when_half_of_its_time_is_left(authority: Authority) -> None:
    first = certificate_status.current_list(authority, NOW)
    assert certificate_status.current_list(authority, NOW + 12 * HOUR - 1) == first
    second = certificate_status.current_list(authority, NOW + 12 * HOUR)
    assert second.number > first.number
    parsed = x509.load_der_x509_crl(second.der)
    assert parsed.next_update_utc is not None
    assert parsed.next_update_utc.timestamp() == NOW + 36 * HOUR
    assert parsed.last_update_utc.timestamp() == NOW + 12 * HOUR - 60


def test_a_clock_set_back_gives_a_valid_list_with_a_greater_number(
    authority: Authority,
) -> None:
    first = certificate_status.current_list(authority, NOW)
    second = certificate_status.current_list(authority, NOW - HOUR)
    assert (second.number, second.signed_at) == (first.number + 1, NOW - HOUR)
    # What was revoked by the wrong clock is in it all the same.
    add(authority, 1, NOW + HOUR, NOW - 2 * HOUR)
    third = certificate_status.current_list(authority, NOW - HOUR)
    assert numbers(third.der) == [1]
    assert third.number == second.number + 1


def test_numbers_grow_after_an_older_store_was_restored(authority: Authority) -> None:
    first = certificate_status.current_list(authority, NOW)
    for number in range(1, 4):
        add(authority, number, NOW + HOUR, NOW)
        last = certificate_status.current_list(authority, NOW)
    with authority.database.transaction() as transaction:
        transaction.run("DELETE FROM revocation_lists")
    assert last.number == first.number + 3
    assert certificate_status.current_list(authority, NOW + HOUR).number > last.number


def test_another_process_that_signs_meanwhile_wins_and_numbers_are_unique(authority: Authority) -> None:
    certificate_status.current_list(authority, NOW)
    add(authority, 1, NOW + HOUR, NOW)
    others = []

    def other(database: Database) -> None:
        add(replace(authority, database=database), 2, NOW + HOUR, NOW)
        others.append(certificate_status.current_list(replace(authority, database=database), NOW))

    racing = replace(authority, database=Meanwhile(authority.database, other))
    mine = certificate_status.current_list(racing, NOW)
    assert numbers(others[0].der) == [1, 2]
    assert mine == others[0]


def test_an_answer_ends_with_its_certificate_and_has_no_end_after_it(authority: Authority) -> None:
    issuer = authority.ca.intermediate
    add(authority, 1, NOW + HOUR // 2)
    add(authority, 2, NOW + 2 * HOUR, NOW)
    for number, now, end in (
        (1, NOW, NOW + HOUR // 2),
        (1, NOW + HOUR // 2 - 1, NOW + HOUR // 2),
        (1, NOW + HOUR // 2, None),
        (1, NOW + 9 * HOUR, None),
        (2, NOW, NOW + HOUR),
        (2, NOW + 3 * HOUR, None),
        (3, NOW, NOW + HOUR),
    ):
        answered = certificate_status.answer(authority, question(issuer, serial(number)), now)
        found = ocsp.load_der_ocsp_response(answered.der)
        assert found.this_update_utc.timestamp() == now - 60
        assert (found.next_update_utc and found.next_update_utc.timestamp()) == end
        assert answered.lifetime == (0 if end is None else end - now)


# OCSP, with openssl's client and over both methods.


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
    leaf, issuer = folder / "leaf.pem", ca.home / issuing.INTERMEDIATE_CERTIFICATE
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


def hash_of(data: bytes, algorithm: hashes.HashAlgorithm) -> bytes:
    digest = hashes.Hash(algorithm)
    digest.update(data)
    return digest.finalize()


def point(issuer: x509.Certificate) -> bytes:
    """The bits of a P-256 key."""
    return issuer.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def question(
    issuer: x509.Certificate, serial: int, nonce: bytes | None = None, algorithm: hashes.HashAlgorithm | None = None
) -> bytes:
    """A request about a serial number."""
    used = algorithm or hashes.SHA1()  # noqa: S303 - what requests usually have
    name, key = (hash_of(data, used) for data in (issuer.subject.public_bytes(), point(issuer)))
    builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(name, key, serial, used)
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(Encoding.DER)


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
    namesake = issuing.create_intermediate(issuing.create_root("My CA", NOW), "My CA", NOW).certificate
    assert namesake.subject == intermediate(ca).subject
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
