"""Finalized orders, certificates and their revocation, as a strict client sees them (RFC 8555 section 7)."""

from __future__ import annotations

import time
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID
from running import CA, answer
from wire import Account, Key, b64, csr, problem

from acme_iid.simulator import aws


@pytest.mark.parametrize(("offset", "problem_code"), [(0, "badCSR"), (1, "malformed")])
def test_a_version_that_does_not_exist_is_no_failure_of_ours(
    account: Account, instance: aws.Instance, offset: int, problem_code: str
) -> None:
    if offset == 0:
        ordered, _ = account.prove("foo.local", answer=answer(instance))
        request = csr("foo.local")[1]
        wrong = request.replace(b"\x02\x01\x00", b"\x02\x01\x01", 1)
        assert wrong != request
        response = account.post(ordered.json()["finalize"], {"csr": b64(wrong)})
    else:
        issued = account.obtain("foo.local", answer=answer(instance))
        wrong = issued.der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x03", 1)
        assert wrong != issued.der
        response = revoke(account, wrong)
    assert problem(response) == problem_code


def test_a_certificate_is_what_clients_expect(shared_ca: CA, account: Account, instance: aws.Instance) -> None:
    before = time.time()
    issued = account.obtain("foo.local", "bar.local", answer=answer(instance))
    response = account.post(account.post(issued.order).json()["certificate"])
    assert response.headers["Content-Type"] == "application/pem-certificate-chain"
    leaf, intermediate = x509.load_pem_x509_certificates(response.content)
    root = x509.load_pem_x509_certificate(shared_ca.root.read_bytes())
    leaf.verify_directly_issued_by(intermediate)
    intermediate.verify_directly_issued_by(root)
    assert leaf.serial_number.bit_length() > 64
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["foo.local", "bar.local"]
    assert leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "foo.local"
    usages = set(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    assert usages == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    for oid in (ExtensionOID.AUTHORITY_KEY_IDENTIFIER, ExtensionOID.SUBJECT_KEY_IDENTIFIER):
        leaf.extensions.get_extension_for_oid(oid)
    starts = leaf.not_valid_before_utc.timestamp()
    assert before - 61 <= starts <= time.time() - 60
    assert leaf.not_valid_after_utc.timestamp() - starts == 86400 + 60


def test_finalizing_an_order_that_is_not_ready_is_403(account: Account) -> None:
    order = account.order("foo.local").json()
    response = account.post(order["finalize"], {"csr": b64(csr("foo.local")[1])})
    assert response.status_code == 403
    assert problem(response) == "orderNotReady"


def _not_a_csr(_: Account) -> bytes:
    return b"nonsense"


def _another_name(_: Account) -> bytes:
    return csr("bar.local")[1]


def _one_more_name(_: Account) -> bytes:
    return csr("foo.local", "bar.local")[1]


def _the_accounts_key(account: Account) -> bytes:
    return csr("foo.local", key=account.key)[1]


def _a_broken_signature(_: Account) -> bytes:
    der = csr("foo.local")[1]
    return der[:-3] + bytes(3)


def _another_common_name(_: Account) -> bytes:
    key = Key()
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bar.local")])
    )
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("foo.local")]), critical=False)
    return builder.sign(key.private, hashes.SHA256()).public_bytes(Encoding.DER)


@pytest.mark.parametrize(
    "make",
    [_not_a_csr, _another_name, _one_more_name, _the_accounts_key, _a_broken_signature, _another_common_name],
)
def test_a_bad_csr_is_refused_and_the_order_stays_ready(account: Account, instance: aws.Instance, make: Any) -> None:
    ordered, _ = account.prove("foo.local", answer=answer(instance))
    order = ordered.json()
    response = account.post(order["finalize"], {"csr": b64(make(account))})
    assert problem(response) == "badCSR"
    assert account.post(ordered.headers["Location"]).json()["status"] == "ready"
    good = account.post(order["finalize"], {"csr": b64(csr("foo.local")[1])})
    assert good.json()["status"] == "valid"


def test_a_csr_with_another_accounts_key_is_refused(shared_ca: CA, account: Account, instance: aws.Instance) -> None:
    other = shared_ca.account()
    ordered, _ = account.prove("foo.local", answer=answer(instance))
    response = account.post(ordered.json()["finalize"], {"csr": b64(csr("foo.local", key=other.key)[1])})
    assert problem(response) == "badCSR"


def test_finalizing_again_issues_no_second_certificate(account: Account, instance: aws.Instance) -> None:
    issued = account.obtain("foo.local", answer=answer(instance))
    order = account.post(issued.order).json()
    again = account.post(order["finalize"], {"csr": b64(csr("foo.local")[1])})
    assert problem(again) == "orderNotReady"
    assert account.post(issued.order).json()["certificate"] == order["certificate"]


def revoke(account: Account, der: bytes, **members: object) -> Any:
    return account.post(account.wire.directory["revokeCert"], {"certificate": b64(der), **members})


def test_a_certificate_is_revoked_by_its_account_once(account: Account, instance: aws.Instance) -> None:
    issued = account.obtain("foo.local", answer=answer(instance))
    assert revoke(account, issued.der, reason=5).status_code == 200
    assert problem(revoke(account, issued.der)) == "alreadyRevoked"


def test_a_certificate_is_revoked_by_its_own_key(account: Account, instance: aws.Instance) -> None:
    issued = account.obtain("foo.local", answer=answer(instance))
    url = account.wire.directory["revokeCert"]
    wrong = account.wire.post(url, {"certificate": b64(issued.der)}, Key())
    assert wrong.status_code == 403
    assert problem(wrong) == "unauthorized"
    assert account.wire.post(url, {"certificate": b64(issued.der)}, issued.key).status_code == 200


@pytest.mark.parametrize("reason", [2, 6, 7, 8, 9, 10, 11, -1, "1", True, 1.0], ids=str)
def test_a_reason_that_is_not_allowed_names_those_that_are(
    account: Account, instance: aws.Instance, reason: object
) -> None:
    issued = account.obtain("foo.local", answer=answer(instance))
    response = revoke(account, issued.der, reason=reason)
    assert problem(response) == "badRevocationReason"
    assert "keyCompromise" in response.json()["detail"]


def test_a_certificate_of_another_ca_is_not_ours_to_revoke(shared_ca: CA, account: Account) -> None:
    root = x509.load_pem_x509_certificate(shared_ca.root.read_bytes())
    der = root.public_bytes(Encoding.DER)
    assert revoke(account, der).status_code == 404
    assert problem(revoke(account, b"nonsense")) == "malformed"
