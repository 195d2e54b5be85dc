"""OCSP requests come from anybody: whatever they are, there is an answer or a refusal, never a failure."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from hypothesis import given
from hypothesis import strategies as st

from acme_iid.issuance import ceremony, crl
from acme_iid.issuance.crl import Revoked
from acme_iid.issuance.issuer import Signer, signature_hash
from acme_iid.issuance.keys import PrivateKey
from acme_iid.issuance.ocsp import MAX_REQUEST_BYTES, OCSPError, answer, issuer_hashes, read

NOW = 1_800_000_000
INTERMEDIATE = ceremony.create_intermediate(ceremony.create_root("My CA", NOW), "My CA", NOW)
GOOD = (
    ocsp.OCSPRequestBuilder()
    .add_certificate_by_hash(*issuer_hashes(INTERMEDIATE.certificate, hashes.SHA256()), 1, hashes.SHA256())
    .add_extension(x509.OCSPNonce(b"nonce"), critical=False)
    .build()
    .public_bytes(Encoding.DER)
)


def answered(der: bytes) -> ocsp.OCSPResponse:
    """What the server answers a request with: a question about another issuer's certificate is refused."""
    try:
        question = read(der)
    except OCSPError as error:
        return ocsp.load_der_ocsp_response(error.response())
    if not question.is_about(INTERMEDIATE.certificate):
        return ocsp.load_der_ocsp_response(OCSPError(ocsp.OCSPResponseStatus.UNAUTHORIZED).response())
    sent = answer(INTERMEDIATE, question, issued=True, revoked=None, now=NOW, next_update=NOW + 60)
    return ocsp.load_der_ocsp_response(sent)


@given(st.binary(max_size=3000))
def test_arbitrary_bytes_are_answered(der: bytes) -> None:
    assert answered(der).response_status is ocsp.OCSPResponseStatus.MALFORMED_REQUEST


@given(st.data())
def test_a_request_that_was_tampered_with_is_answered(data: st.DataObject) -> None:
    der = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    start = data.draw(st.integers(0, 3))
    assert answered(bytes(der[:start] + der[start + data.draw(st.integers(0, 2)) :])).response_status in (
        ocsp.OCSPResponseStatus.MALFORMED_REQUEST,
        ocsp.OCSPResponseStatus.UNAUTHORIZED,
        ocsp.OCSPResponseStatus.SUCCESSFUL,
    )


def test_hashes_of_another_algorithm_name_no_issuer() -> None:
    sha256, sha384 = (bytes.fromhex("060960864801650304020" + digit) for digit in "12")
    assert GOOD.count(sha256) == 1
    assert answered(GOOD.replace(sha256, sha384)).response_status is ocsp.OCSPResponseStatus.UNAUTHORIZED


def test_a_negative_serial_number_is_refused() -> None:
    one = bytes.fromhex("020101")  # INTEGER 1, which stands last in the request's certificate
    assert GOOD.count(one) == 1
    assert answered(GOOD.replace(one, bytes.fromhex("0201ff"))).response_status is (
        ocsp.OCSPResponseStatus.MALFORMED_REQUEST
    )


def test_a_request_has_a_limit() -> None:
    def sized(extra: int) -> bytes:
        filler = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\0" * extra)
        names = issuer_hashes(INTERMEDIATE.certificate, hashes.SHA256())
        builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(*names, 1, hashes.SHA256())
        return builder.add_extension(filler, critical=False).build().public_bytes(Encoding.DER)

    room = MAX_REQUEST_BYTES - len(sized(1000)) + 1000
    assert len(sized(room)) == MAX_REQUEST_BYTES
    assert answered(sized(room)).response_status is ocsp.OCSPResponseStatus.SUCCESSFUL
    assert answered(sized(room + 1)).response_status is ocsp.OCSPResponseStatus.MALFORMED_REQUEST


def test_the_answer_is_by_the_key_and_says_whose_it_is() -> None:
    question = read(GOOD)
    assert question.is_about(INTERMEDIATE.certificate)
    sent = answer(
        INTERMEDIATE, question, issued=True, revoked=Revoked(question.serial, NOW - 9, 1), now=NOW, next_update=NOW + 60
    )
    found = ocsp.load_der_ocsp_response(sent)
    assert found.certificate_status is ocsp.OCSPCertStatus.REVOKED
    assert found.responder_key_hash == x509.SubjectKeyIdentifier.from_public_key(INTERMEDIATE.key.public_key()).digest
    assert found.this_update_utc.timestamp() == NOW - 60
    assert found.next_update_utc is not None
    assert found.next_update_utc.timestamp() == NOW + 60
    assert found.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == b"nonce"
    key = INTERMEDIATE.key.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(found.signature, found.tbs_response_bytes, ec.ECDSA(hashes.SHA256()))


def test_an_issuer_is_the_one_of_its_name_and_key_together() -> None:
    question = read(GOOD)
    other = ceremony.create_intermediate(ceremony.create_root("Other CA", NOW), "Other CA", NOW).certificate
    name_hash, key_hash = issuer_hashes(other, question.algorithm)
    assert not replace(question, name_hash=name_hash).is_about(INTERMEDIATE.certificate)
    assert not replace(question, key_hash=key_hash).is_about(INTERMEDIATE.certificate)


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=lambda key: type(key).__name__,
)
def test_an_issuer_of_any_kind_is_named_as_clients_name_it_and_answers(key: PrivateKey) -> None:
    subject = INTERMEDIATE.certificate.subject
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), 1)
        .not_valid_before(datetime.fromtimestamp(NOW, UTC))
        .not_valid_after(datetime.fromtimestamp(NOW + 60, UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, signature_hash(key))
    )
    issuer = Signer(certificate, key)
    # Self-signed, so that its own issuer is itself.
    builder = ocsp.OCSPRequestBuilder().add_certificate(certificate, certificate, hashes.SHA1())  # noqa: S303 - as most do
    question = read(builder.build().public_bytes(Encoding.DER))
    assert question.is_about(certificate)
    sent = answer(issuer, question, issued=True, revoked=None, now=NOW, next_update=NOW + 60)
    assert ocsp.load_der_ocsp_response(sent).certificate_status is ocsp.OCSPCertStatus.GOOD
    parsed = x509.load_der_x509_crl(crl.sign(issuer, [Revoked(7, NOW, 0)], 3, NOW, NOW + 60))
    assert parsed.is_signature_valid(key.public_key())
