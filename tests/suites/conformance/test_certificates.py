"""Certificates, their chains and their revocation (RFC 8555 sections 7.4.2 and 7.6, RFC 5280)."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
import requests
from conformance.answers import NotOfferedError, exactly, links, media_type, said
from conformance.certificates import chain_of, extension, found_extension, is_issued_by
from conformance.checks import is_refused, left_to, refused, rule
from conformance.client import Account, Issued, Server
from conformance.jose import Key, b64, private_key
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

AREA = "Certificates"

# --- the chain


@rule("RFC 8555 7.4.2", "a certificate is sent as `application/pem-certificate-chain`")
def test_a_certificate_is_a_pem_chain(issued: Issued) -> None:
    assert media_type(issued.response) == "application/pem-certificate-chain"


@rule("RFC 8555 9.1", "the chain holds certificates and nothing else: no explanatory text, no attributes")
def test_a_chain_is_strict_pem(issued: Issued) -> None:
    block = r"-----BEGIN CERTIFICATE-----\r?\n(?:[A-Za-z0-9+/=]{1,64}\r?\n)+-----END CERTIFICATE-----"
    assert re.fullmatch(rf"{block}(?:\r?\n\r?\n?{block})*\r?\n?", issued.response.text), issued.response.text[:200]


@rule("RFC 8555 7.4.2", "the leaf comes first")
def test_the_leaf_comes_first(issued: Issued) -> None:
    assert issued.chain[0].public_key() == issued.key.public_key()


@rule("RFC 8555 7.4.2", "each certificate of the chain certifies the one before it", "SHOULD")
def test_each_certificate_certifies_the_one_before(issued: Issued) -> None:
    for certificate, issuer in zip(issued.chain, issued.chain[1:], strict=False):
        assert is_issued_by(certificate, issuer), f"{issuer.subject} does not certify {certificate.subject}"


@rule("RFC 8555 7.4.2", "what issues in the chain is a CA that may sign certificates")
def test_the_issuers_are_cas(issued: Issued) -> None:
    for issuer in issued.chain[1:]:
        assert extension(issuer, x509.BasicConstraints).value.ca
        assert extension(issuer, x509.KeyUsage).value.key_cert_sign


@rule("RFC 8555 7.4.2", 'an alternate chain (`rel="alternate"`) is fetched, and is for the same certificate')
def test_an_alternate_chain_is_fetched(issued: Issued) -> None:
    alternates = links(issued.response, "alternate")
    if not alternates:
        raise NotOfferedError("no alternate chains")
    for url in alternates:
        response = issued.account.post(url)
        assert response.status_code == 200, said(response)
        assert media_type(response) == "application/pem-certificate-chain"
        other = chain_of(response)
        assert other[0].public_key() == issued.key.public_key()
        assert len(other) > 1, said(response)
        assert is_issued_by(other[0], other[1]), f"{other[1].subject} does not certify {other[0].subject}"
        assert response.content != issued.response.content


@rule("RFC 8555 7.4.2", "another account gets no alternate chain")
def test_another_account_gets_no_alternate_chain(issued: Issued, stranger: Account) -> None:
    alternates = links(issued.response, "alternate")
    if not alternates:
        raise NotOfferedError("no alternate chains")
    refused(stranger.post(alternates[0]))


@rule("RFC 8555 7.4.2", "a certificate that is fetched again is the same", "practice")
def test_a_certificate_is_fetched_again(issued: Issued) -> None:
    assert issued.account.post(issued.order.body["certificate"]).content == issued.response.content


# --- the leaf


@rule("RFC 8555 7.4", "a certificate is for the order's names exactly, in its subjectAltName")
def test_a_certificate_is_for_the_orders_names(account: Account) -> None:
    names = [account.server.name(), account.server.name()]
    leaf = account.obtain(*names).leaf
    found = extension(leaf, x509.SubjectAlternativeName).value
    assert sorted(found.get_values_for_type(x509.DNSName)) == sorted(names)
    assert len(list(found)) == 2
    common = [str(entry.value) for entry in leaf.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
    assert set(common) <= set(names)


@rule("RFC 5280 4.2.1.6", "the subjectAltName is critical if the subject is empty, and only then")
def test_the_names_are_critical_if_the_subject_is_empty(issued: Issued) -> None:
    leaf = issued.leaf
    assert extension(leaf, x509.SubjectAlternativeName).critical is (not list(leaf.subject))


@rule("RFC 5280 4.2.1.6", "the subjectAltName of a name that is too long for a common name is critical")
def test_a_name_that_is_too_long_for_a_common_name(account: Account) -> None:
    name = f"{'a' * 60}.{account.server.name()}"
    leaf = account.obtain(name).leaf
    assert [entry for entry in leaf.subject if len(str(entry.value)) > 64] == []
    found = extension(leaf, x509.SubjectAlternativeName)
    assert found.critical is (not list(leaf.subject))
    assert found.value.get_values_for_type(x509.DNSName) == [name]


@rule("RFC 5280 4.2.1.9", "a certificate is no CA")
def test_a_certificate_is_no_ca(issued: Issued) -> None:
    constraints = found_extension(issued.leaf, x509.BasicConstraints)
    if constraints is not None:
        assert not constraints.value.ca
        assert constraints.value.path_length is None


@rule("RFC 5280 4.2.1.1", "a certificate has an authority key identifier, its issuer's subject key identifier")
def test_a_certificate_has_its_issuers_key_identifier(issued: Issued) -> None:
    own = extension(issued.leaf, x509.AuthorityKeyIdentifier).value.key_identifier
    assert own == extension(issued.issuer, x509.SubjectKeyIdentifier).value.digest


@rule("RFC 5280 4.2.1.2", "a certificate has a subject key identifier", "SHOULD")
def test_a_certificate_has_a_subject_key_identifier(issued: Issued) -> None:
    assert len(extension(issued.leaf, x509.SubjectKeyIdentifier).value.digest) >= 8


@rule("RFC 5280 4.2.1.12", "a certificate is for TLS servers and clients", "practice")
def test_a_certificate_is_for_servers_and_clients(issued: Issued) -> None:
    usages = set(extension(issued.leaf, x509.ExtendedKeyUsage).value)
    assert usages == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}


@rule(
    "RFC 5280 4.2.1.3",
    "a certificate's key usage is digitalSignature, critical; keyEncipherment for RSA only",
    "practice",
)
@pytest.mark.parametrize("alg", ["ES256", "RS256"])
def test_the_key_usage_is_by_the_keys_type(account: Account, alg: str) -> None:
    issued = account.obtain(key=private_key(alg))
    usage = extension(issued.leaf, x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert usage.value.key_encipherment is isinstance(issued.key, rsa.RSAPrivateKey)
    assert not usage.value.key_cert_sign
    assert not usage.value.crl_sign


@rule("RFC 5280 4.1.2.2", "serial numbers are positive, of at most 20 octets, and differ")
def test_serial_numbers_are_positive_and_differ(issued: Issued, account: Account) -> None:
    serials = [issued.leaf.serial_number, account.obtain().leaf.serial_number]
    assert len(set(serials)) == 2
    assert [serial for serial in serials if not 0 < serial < 1 << 159] == []


@rule("CA/Browser Forum BR 7.1", "serial numbers have at least 64 random bits", "practice")
def test_serial_numbers_are_random(account: Account) -> None:
    serials = [account.obtain().leaf.serial_number for _ in range(4)]
    assert max(serial.bit_length() for serial in serials) > 64
    high = {serial >> max(serial.bit_length() - 16, 0) for serial in serials}
    low = {serial & 0xFFFF for serial in serials}
    assert len(high | low) > 4


@rule("RFC 5280 4.1.2.5", "a certificate is valid when it arrives, and begins a little earlier", "practice")
def test_a_certificate_begins_a_little_earlier(account: Account) -> None:
    before = datetime.now(UTC)
    leaf = account.obtain().leaf
    assert leaf.not_valid_before_utc < before - timedelta(seconds=30)
    assert leaf.not_valid_before_utc > before - timedelta(hours=2)
    assert leaf.not_valid_after_utc > before


@rule("RFC 5280 6.1", "a certificate does not outlive its issuer", "practice")
def test_a_certificate_does_not_outlive_its_issuer(issued: Issued) -> None:
    assert issued.leaf.not_valid_after_utc <= issued.issuer.not_valid_after_utc


@rule("RFC 8555 7.4", "keys of P-256 and RSA with 2048 bits get certificates")
@pytest.mark.parametrize("alg", ["ES256", "RS256"])
def test_common_keys_get_certificates(account: Account, alg: str) -> None:
    issued = account.obtain(key=private_key(alg))
    assert issued.leaf.public_key() == issued.key.public_key()


@rule("RFC 8555 7.4", "keys of P-384, P-521 and Ed25519 get certificates", "practice")
@pytest.mark.parametrize("alg", ["ES384", "ES512", "EdDSA"])
def test_further_keys_get_certificates(account: Account, alg: str) -> None:
    issued = account.obtain(key=private_key(alg))
    assert issued.leaf.public_key() == issued.key.public_key()


# --- revocation


@rule("RFC 8555 7.6", "the account that got a certificate revokes it: 200")
def test_the_account_revokes_its_certificate(account: Account) -> None:
    issued = account.obtain()
    response = account.revoke(issued.der)
    assert response.status_code == 200, said(response)


def revoked(account: Account, issued: Issued, **members: object) -> None:
    """Revoke, for what comes after it."""
    response = account.revoke(issued.der, **members)
    if response.status_code != 200 and not members:
        left_to("test_the_account_revokes_its_certificate", "nothing is revoked")
    assert response.status_code == 200, said(response)


def by_key(issued: Issued, key: Key | None = None, **members: object) -> requests.Response:
    server = issued.account.server
    key = key or Key(issued.key, "ES256")
    return server.post(server.directory["revokeCert"], {"certificate": b64(issued.der), **members}, key)


@rule("RFC 8555 7.6", "the certificate's key revokes it: 200")
def test_the_certificates_key_revokes_it(account: Account) -> None:
    response = by_key(account.obtain())
    assert response.status_code == 200, said(response)


@rule("RFC 8555 7.6", "another key does not revoke it: `unauthorized`")
def test_another_key_does_not_revoke(issued: Issued) -> None:
    refused(by_key(issued, Key.new()), "unauthorized", "malformed")


@rule("RFC 8555 7.6", "the account's key as `jwk` does not revoke it: it is not the certificate's")
def test_the_accounts_key_as_jwk_does_not_revoke(issued: Issued) -> None:
    refused(by_key(issued, issued.account.key), "unauthorized", "malformed")


@rule("RFC 8555 7.6", "an account that is not authorized for its names does not revoke it: `unauthorized`")
def test_another_account_does_not_revoke(issued: Issued, stranger: Account) -> None:
    refused(stranger.revoke(issued.der), "unauthorized")


@rule(
    "RFC 8555 7.6",
    "another account that is authorized for all its names revokes it: 200; `unauthorized` if the CA's choice is so",
)
def test_an_account_that_is_authorized_for_all_names_revokes(account: Account, server: Server) -> None:
    names = (server.name(), server.name())
    issued, other = account.obtain(*names), server.account()
    other.ready(*names)
    response = other.revoke(issued.der)
    if server.settings.revokers == "account":
        refused(response)
        return
    assert response.status_code == 200, said(response)


@rule("RFC 8555 7.6", "another account that is authorized for some of its names does not revoke it")
def test_an_account_that_is_authorized_for_some_names_does_not_revoke(account: Account, server: Server) -> None:
    names = (server.name(), server.name())
    issued, other = account.obtain(*names), server.account()
    other.ready(names[0])
    refused(other.revoke(issued.der))


@rule("RFC 8555 7.6", "another account whose authorization is deactivated does not revoke it")
@pytest.mark.usefixtures("_valid_deactivations")
def test_an_account_whose_authorization_is_deactivated_does_not_revoke(account: Account, server: Server) -> None:
    name = server.name()
    issued, other = account.obtain(name), server.account()
    order = other.ready(name)
    response = other.deactivate(other.authorization(order))
    assert response.status_code == 200, said(response)
    refused(other.revoke(issued.der))


@rule("RFC 8555 7.6", "a revoked certificate is 400 `alreadyRevoked`, however it is asked")
@pytest.mark.parametrize("how", ["account", "key"])
def test_a_revoked_certificate_is_already_revoked(account: Account, how: str) -> None:
    issued = account.obtain()
    revoked(account, issued)
    refused(account.revoke(issued.der) if how == "account" else by_key(issued), "alreadyRevoked", status=400)


@rule(
    "RFC 8555 7.6",
    "the reasons unspecified, superseded and cessationOfOperation are taken, and keyCompromise from the key itself",
    "practice",
)
@pytest.mark.parametrize("reason", [0, 1, 4, 5])
def test_the_usual_reasons_are_taken(account: Account, reason: int) -> None:
    issued = account.obtain()
    # That a key is compromised takes its holder's word with some CAs.
    response = by_key(issued, reason=reason) if reason == 1 else account.revoke(issued.der, reason=reason)
    assert response.status_code == 200, said(response)


@rule("RFC 8555 7.6", "a reason that is none is 400 `badRevocationReason`")
@pytest.mark.parametrize("reason", [7, 11, 99, -1, "1", 1.5, []], ids=str)
def test_a_reason_that_is_none_is_refused(account: Account, reason: object) -> None:
    issued = account.obtain()  # one of its own, as it may be revoked
    refused(issued.account.revoke(issued.der, reason=reason), "badRevocationReason", "malformed", status=400)


@rule(
    "RFC 8555 7.6",
    "a reason number that no certificate can have is 400 `badRevocationReason`, which names those that can be",
    "SHOULD",
)
@pytest.mark.parametrize("reason", [7, 99])
def test_the_refusal_of_a_reason_names_the_others(account: Account, reason: int) -> None:
    issued = account.obtain()
    response = issued.account.revoke(issued.der, reason=reason)
    if not is_refused(response):
        left_to("test_a_reason_that_is_none_is_refused", "the reason is not refused")
    problem = refused(response, "badRevocationReason", status=400)
    assert {"0", "1", "4", "5"} <= set(re.findall(r"\d+", problem["detail"])), problem["detail"]


@rule("RFC 8555 7.6", "a certificate that somebody else issued is refused")
def test_another_issuers_certificate_is_refused(issued: Issued) -> None:
    key = Key.new()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "conformance")])
    leaf = issued.leaf
    forged = (
        x509.CertificateBuilder(issued.issuer.subject, name, key.private.public_key(), leaf.serial_number)
        .not_valid_before(leaf.not_valid_before_utc)
        .not_valid_after(leaf.not_valid_after_utc)
        .sign(key.private, hashes.SHA256())
        .public_bytes(Encoding.DER)
    )
    server = issued.account.server
    payload = {"certificate": b64(forged)}
    refused(issued.account.post(server.directory["revokeCert"], payload))
    refused(server.post(server.directory["revokeCert"], payload, key))


@rule("RFC 8555 7.6", "a `certificate` that is none is refused")
@pytest.mark.parametrize("certificate", [None, 7, "", "!", b64(b"junk")], ids=str)
def test_a_certificate_that_is_none_is_refused(account: Account, certificate: object) -> None:
    refused(account.post(account.server.directory["revokeCert"], {"certificate": certificate}), "malformed")


@rule("RFC 8555 7.6", "a certificate of the CA itself is not revoked")
def test_the_issuers_certificate_is_not_revoked(issued: Issued) -> None:
    refused(issued.account.revoke(issued.issuer.public_bytes(Encoding.DER)))


@rule("RFC 8555 7.6", "a refused revocation revokes nothing")
def test_a_refused_revocation_revokes_nothing(account: Account, stranger: Account) -> None:
    issued = account.obtain()
    refused(stranger.revoke(issued.der))
    refused(by_key(issued, Key.new()))
    refused(account.revoke(issued.der, reason=99))
    response = account.revoke(issued.der)
    assert response.status_code == 200, said(response)


@rule("RFC 5280 5", "where a certificate names a CRL, it is signed by the issuer, current, and lists what was revoked")
def test_a_crl_lists_what_was_revoked(account: Account) -> None:
    issued = account.obtain()
    points = found_extension(issued.leaf, x509.CRLDistributionPoints)
    if points is None:
        raise NotOfferedError("certificates name no CRL")
    names = [name.value for point in points.value for name in point.full_name or ()]
    (url,) = exactly(1, "URL of a CRL", names)
    revoked(account, issued, reason=4)
    response = account.server.get(url)
    assert response.status_code == 200, said(response)
    content = response.content
    try:
        crl = x509.load_pem_x509_crl(content) if content.startswith(b"-----") else x509.load_der_x509_crl(content)
    except ValueError as error:
        raise AssertionError(f"expected a CRL ({error}), got {said(response)}") from error
    key = issued.issuer.public_key()
    assert crl.is_signature_valid(key), "the issuer has not signed the CRL"  # type: ignore[arg-type]
    assert crl.next_update_utc is not None
    assert crl.next_update_utc > datetime.now(UTC)
    entry = crl.get_revoked_certificate_by_serial_number(issued.leaf.serial_number)
    assert entry is not None
    reasons = [found.value.reason for found in entry.extensions if isinstance(found.value, x509.CRLReason)]
    assert reasons == [x509.ReasonFlags.superseded]
