"""The list of a root: what the command for it signs, and which lists are refused."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from acme_iid.issuance import ceremony, root_crl
from acme_iid.issuance.issuer import Signer
from acme_iid.issuance.keys import CAFileError

NOW = int(time.time())
ROOT = ceremony.create_root("Test CA", NOW)
OTHER = ceremony.create_root("Test CA", NOW)
INTERMEDIATE = ceremony.create_intermediate(ROOT, "Test CA", NOW)


def signed(revoked: tuple[x509.Certificate, ...] = (), now: int = NOW) -> x509.CertificateRevocationList:
    return x509.load_der_x509_crl(root_crl.sign(ROOT, revoked, "cACompromise", None, now))


def builder(number: int | None = 7) -> x509.CertificateRevocationListBuilder:
    """A list of the root that is in order, but for what a test changes in it."""
    begun = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(ROOT.certificate.subject)
        .last_update(datetime.now(UTC) - timedelta(minutes=1))
        .next_update(datetime.now(UTC) + timedelta(days=1))
    )
    return begun if number is None else begun.add_extension(x509.CRLNumber(number), critical=False)


def refusal(found: x509.CertificateRevocationList, now: int = NOW, root: x509.Certificate = ROOT.certificate) -> str:
    with pytest.raises(CAFileError) as refused:
        root_crl.check(found, [root], now)
    return str(refused.value)


@pytest.mark.parametrize("key_type", ceremony.KEY_TYPES)
def test_what_is_signed_is_taken_up_with_each_kind_of_key(key_type: str) -> None:
    root = ceremony.create_root("Test CA", NOW, ceremony.generate(key_type))
    intermediate = ceremony.create_intermediate(root, "Test CA", NOW).certificate
    der = root_crl.sign(root, [intermediate], "superseded", None, NOW, 3600)
    checked = root_crl.check(x509.load_der_x509_crl(der), [ROOT.certificate, root.certificate], NOW)
    assert (checked.root, checked.number, checked.der) == (root.certificate, NOW, der)
    assert (checked.this_update, checked.next_update) == (NOW - 60, NOW + 3600)
    assert checked.serials == {intermediate.serial_number}


def test_the_list_has_the_roots_subject_and_key_identifier_as_they_stand() -> None:
    found = signed()
    identifier = found.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    assert found.issuer.public_bytes() == ROOT.certificate.subject.public_bytes()
    assert identifier == ROOT.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest


def test_what_the_former_list_revokes_stays_revoked_and_numbers_grow() -> None:
    former = signed((INTERMEDIATE.certificate,))
    second = ceremony.create_intermediate(ROOT, "Test CA", NOW).certificate
    later = x509.load_der_x509_crl(root_crl.sign(ROOT, [second], "superseded", former, NOW - 100))
    assert {entry.serial_number for entry in later} == {INTERMEDIATE.certificate.serial_number, second.serial_number}
    reasons = {entry.extensions.get_extension_for_class(x509.CRLReason).value.reason for entry in later}
    assert reasons == {x509.ReasonFlags.ca_compromise, x509.ReasonFlags.superseded}
    # The clock where it was signed is behind that of before.
    assert later.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == NOW + 1


def test_a_certificate_that_the_root_did_not_sign_is_not_revoked_by_it() -> None:
    strange = ceremony.create_intermediate(OTHER, "Test CA", NOW).certificate
    with pytest.raises(CAFileError, match="was not signed by"):
        root_crl.sign(ROOT, [strange], "cACompromise", None, NOW)


def test_a_former_list_of_another_root_is_refused() -> None:
    former = x509.load_der_x509_crl(root_crl.sign(OTHER, [], "cACompromise", None, NOW))
    with pytest.raises(CAFileError, match="the former list is none that"):
        root_crl.sign(ROOT, [], "cACompromise", former, NOW)


def test_a_key_that_is_not_the_certificates_signs_no_list() -> None:
    with pytest.raises(CAFileError, match="not the key of its certificate"):
        root_crl.sign(Signer(ROOT.certificate, OTHER.key), [], "cACompromise", None, NOW)


def test_a_list_of_another_root_is_refused() -> None:
    assert "none of this CA's roots" in refusal(signed(), root=OTHER.certificate)


def test_a_list_with_a_roots_name_and_another_key_is_refused() -> None:
    forged = builder().sign(OTHER.key, hashes.SHA256())
    assert "was not signed with that root's key" in refusal(forged)


def test_a_weak_signature_is_refused() -> None:
    key = rsa.generate_private_key(65537, 3072)
    root = ceremony.create_root("Test CA", NOW, key)
    found = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(root.certificate.subject)
        .last_update(datetime.now(UTC))
        .next_update(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.CRLNumber(7), critical=False)
        .sign(key, hashes.SHA224())
    )
    assert "signed with sha224, which clients refuse" in refusal(found, root=root.certificate)


def test_a_list_that_ran_out_or_has_not_begun_is_refused() -> None:
    assert "ran out at" in refusal(signed(), now=NOW + root_crl.LIFETIME)
    assert "not valid yet" in refusal(signed(now=NOW + 3600))


def test_a_list_without_a_number_or_with_a_strange_one_is_refused() -> None:
    assert "has no CRL number" in refusal(builder(None).sign(ROOT.key, hashes.SHA256()))
    assert "CRL number is 9223372036854775807" in refusal(builder((1 << 63) - 1).sign(ROOT.key, hashes.SHA256()))


@pytest.mark.parametrize(
    "extension",
    [
        x509.DeltaCRLIndicator(6),
        x509.IssuingDistributionPoint(
            full_name=None,
            relative_name=None,
            only_contains_user_certs=True,
            only_contains_ca_certs=False,
            only_some_reasons=None,
            indirect_crl=False,
            only_contains_attribute_certs=False,
        ),
    ],
)
def test_a_part_of_a_list_is_refused(extension: x509.ExtensionType) -> None:
    found = builder().add_extension(extension, critical=True).sign(ROOT.key, hashes.SHA256())
    assert "is a part of the root's list only" in refusal(found)


def test_a_critical_extension_that_is_not_known_is_refused() -> None:
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
    found = builder().add_extension(unknown, critical=True).sign(ROOT.key, hashes.SHA256())
    assert "critical extension that is not known" in refusal(found)


def test_files_that_hold_no_list_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "list"
    with pytest.raises(CAFileError, match="cannot be read: No such file"):
        root_crl.read(file)
    for content in (b"", b"no list", ROOT.certificate.public_bytes(Encoding.PEM), b"-----BEGIN X509 CRL-----\n"):
        file.write_bytes(content)
        with pytest.raises(CAFileError, match="holds no revocation list"):
            root_crl.read(file)
    file.write_bytes(bytes(root_crl.MAX_BYTES + 1))
    with pytest.raises(CAFileError, match="is larger than"):
        root_crl.read(file)


@pytest.mark.parametrize("encoding", [Encoding.DER, Encoding.PEM])
def test_lists_are_read_in_both_forms(tmp_path: Path, encoding: Encoding) -> None:
    found = signed((INTERMEDIATE.certificate,))
    file = tmp_path / "list"
    file.write_bytes(found.public_bytes(encoding))
    assert root_crl.read(file).public_bytes(Encoding.DER) == found.public_bytes(Encoding.DER)
