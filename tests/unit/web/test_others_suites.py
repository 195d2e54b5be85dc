"""What the suites of other servers and clients look for: words, times and extensions in their strictest reading."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import NameOID
from running import CA, answer
from wire import Account, Key, b64, problem

from acme_iid.authority import certificate_status
from acme_iid.issuance import ceremony, crl
from acme_iid.issuance.crl import Revoked
from acme_iid.simulator import aws

NOW = 1_800_000_000
INTERMEDIATE = ceremony.create_intermediate(ceremony.create_root("My CA", NOW), "My CA", NOW)


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CA]:
    """A CA with lists and an OCSP responder."""
    ca = CA(tmp_path_factory.mktemp("suites") / "ca")
    ca.init()
    file = ca.home / "ca.toml"
    file.write_text(file.read_text().replace("\n[server]", "crl = true\n\n[server]", 1))
    ca.start()
    yield ca
    ca.stop()


@pytest.fixture
def account(ca: CA) -> Account:
    return ca.account()


def test_a_bad_nonce_is_said_in_the_words_that_acme_sh_looks_for(account: Account) -> None:
    url = account.wire.directory["newOrder"]
    refused = account.wire.send(url, account.wire.body(url, {}, account.key, account.url, {"nonce": "AAAA"}))
    assert problem(refused) == "badNonce"
    assert "JWS has an invalid anti-replay nonce" in refused.json()["detail"]


def status(ca: CA, leaf: x509.Certificate) -> ocsp.OCSPResponse:
    """What the responder says of a certificate."""
    issuer = x509.load_pem_x509_certificate(ca.intermediate.read_bytes())
    request = ocsp.OCSPRequestBuilder().add_certificate(leaf, issuer, hashes.SHA256()).build()
    headers = {"Content-Type": "application/ocsp-request"}
    sent = request.public_bytes(Encoding.DER)
    response = ca.wire().session.post(f"{ca.url}/ocsp", data=sent, headers=headers, timeout=30)
    return ocsp.load_der_ocsp_response(response.content)


def test_nothing_is_revoked_after_the_answer_that_says_so(ca: CA, account: Account, instance: aws.Instance) -> None:
    leaf = account.obtain("foo.local", answer=answer(instance)).leaf
    der = leaf.public_bytes(Encoding.DER)
    assert account.post(account.wire.directory["revokeCert"], {"certificate": b64(der)}).status_code == 200
    found = x509.load_der_x509_crl(ca.wire().session.get(f"{ca.url}/crl", timeout=30).content)
    entry = found.get_revoked_certificate_by_serial_number(leaf.serial_number)
    assert entry is not None
    assert entry.revocation_date_utc <= found.last_update_utc
    said = status(ca, leaf)
    assert said.certificate_status is ocsp.OCSPCertStatus.REVOKED
    assert said.revocation_time_utc is not None
    assert said.revocation_time_utc <= said.this_update_utc


@pytest.mark.parametrize("at", [NOW - 3600, NOW - 60, NOW - 59, NOW, NOW + 60])
def test_a_list_has_the_time_of_a_revocation_or_its_own(at: int) -> None:
    (entry,) = x509.load_der_x509_crl(crl.sign(INTERMEDIATE, [Revoked(7, at, 0)], 1, NOW, NOW + 60))
    assert entry.revocation_date_utc.timestamp() == min(at, NOW - 60)


@pytest.mark.parametrize("seconds", [310, 1800, 3600 * 5])
def test_an_answer_does_not_outlive_its_certificate(
    ca: CA, account: Account, instance: aws.Instance, seconds: int
) -> None:
    ends = datetime.fromtimestamp(int(time.time()) + seconds, UTC)
    order = account.order("foo.local", notAfter=ends.strftime("%Y-%m-%dT%H:%M:%SZ")).json()
    leaf = finalized(account, order, instance)
    assert leaf.not_valid_after_utc == ends
    said = status(ca, leaf)
    assert said.next_update_utc is not None
    assert said.next_update_utc <= leaf.not_valid_after_utc
    assert said.next_update_utc <= datetime.now(UTC) + timedelta(seconds=certificate_status.ANSWER_LIFETIME)
    assert said.next_update_utc > said.this_update_utc


def csr(*extensions: x509.ExtensionType, subject: x509.Name | None = None) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject or x509.Name([]))
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(Key().private, hashes.SHA256()).public_bytes(Encoding.DER)


NAMES = x509.SubjectAlternativeName([x509.DNSName("foo.local")])


def finalized(
    account: Account, order: dict[str, str], instance: aws.Instance, request: bytes = b""
) -> x509.Certificate:
    """The certificate of an order."""
    assert account.post(account.challenge(order)["url"], answer(instance)).json()["status"] == "valid"
    done = account.post(order["finalize"], {"csr": b64(request or csr(NAMES))})
    assert done.status_code == 200, done.text
    return x509.load_pem_x509_certificate(account.post(done.json()["certificate"]).content)


def test_must_staple_and_an_address_for_mail_in_the_subject_are_left_out(
    account: Account, instance: aws.Instance
) -> None:
    subject = x509.Name([x509.NameAttribute(NameOID.EMAIL_ADDRESS, "somebody@foo.local")])
    request = csr(NAMES, x509.TLSFeature([x509.TLSFeatureType.status_request]), subject=subject)
    leaf = finalized(account, account.order("foo.local").json(), instance, request)
    assert not [extension for extension in leaf.extensions if isinstance(extension.value, x509.TLSFeature)]
    assert not leaf.subject.get_attributes_for_oid(NameOID.EMAIL_ADDRESS)
    assert list(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value) == list(NAMES)


@pytest.mark.parametrize(
    "name", [x509.RFC822Name("somebody@foo.local"), x509.UniformResourceIdentifier("https://foo.local/")]
)
def test_a_name_of_another_kind_is_a_bad_csr(account: Account, instance: aws.Instance, name: x509.GeneralName) -> None:
    order = account.order("foo.local").json()
    assert account.post(account.challenge(order)["url"], answer(instance)).json()["status"] == "valid"
    refused = account.post(order["finalize"], {"csr": b64(csr(x509.SubjectAlternativeName([*NAMES, name])))})
    assert problem(refused) == "badCSR"
    assert type(name).__name__ in refused.json()["detail"]
    # The order is ready still, for a CSR that will do.
    assert account.post(order["finalize"], {"csr": b64(csr(NAMES))}).json()["status"] == "valid"


@pytest.mark.parametrize("hours", [None, 0, 2, -5])
def test_the_validity_that_an_order_asks_for_comes_back(
    account: Account, instance: aws.Instance, hours: int | None
) -> None:
    zone = UTC if hours is None else timezone(timedelta(hours=hours, minutes=30 if hours else 0))
    starts = datetime.now(zone).replace(microsecond=0) + timedelta(seconds=60)
    asked = {"notBefore": starts, "notAfter": starts + timedelta(hours=2)}
    sent = {
        name: moment.isoformat().replace("+00:00", "Z" if hours is None else "+00:00") for name, moment in asked.items()
    }
    made = account.order("foo.local", **sent)
    order = made.json()
    leaf = finalized(account, order, instance)
    for shown in (order, account.post(made.headers["Location"]).json()):
        assert {name: datetime.fromisoformat(shown[name]) for name in asked} == asked
    assert {"notBefore": leaf.not_valid_before_utc, "notAfter": leaf.not_valid_after_utc} == asked
