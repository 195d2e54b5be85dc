"""The certificates of chains: how they are read, what is refused unread, and which anchors are pinned."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from importlib import resources

import forge
import pytest
from certificate_chains import (
    AFTER,
    BEFORE,
    NOW,
    SERVER,
    authority_below,
    leaf_of,
    named,
    numbered_key,
    root_authority,
)
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.ec import SECP256K1, SECP521R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from acme_iid.attestation import anchors, aws_trust, azure_trust, chains
from acme_iid.attestation.chains import Anchors, Root
from acme_iid.simulator.authority import Authority, Extension, key_usage

# Reading


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        (lambda: forge.keys().rsa1024.key, "RSA key has 1024 bits"),
        (lambda: dsa.generate_private_key(2048), "DSA keys are not accepted"),
        (ed25519.Ed25519PrivateKey.generate, "Ed25519 keys are not accepted"),
        (lambda: generate_ec(SECP256K1()), "secp256k1 keys are not accepted"),
        (lambda: generate_ec(SECP521R1()), "P-521 keys are not accepted"),
    ],
)
def test_a_certificate_with_another_kind_of_key_is_refused(key: Callable[[], rsa.RSAPrivateKey], sentence: str) -> None:
    certificate = root_authority().certify(named("Odd key"), key().public_key(), (), BEFORE, AFTER)
    with pytest.raises(ValueError, match=sentence):
        chains.read(certificate.public_bytes(Encoding.DER))


@pytest.mark.parametrize("exponent", [3, (1 << 32) + 1, (1 << 3071) + 1], ids=["3", "33 bits", "3072 bits"])
def test_a_certificate_with_an_absurd_exponent_is_refused_unused(exponent: int) -> None:
    key = rsa.RSAPublicNumbers(exponent, (1 << 3071) | (1 << 3070) | 1).public_key()
    certificate = root_authority().certify(named("Costly"), key, (), BEFORE, AFTER)
    for read in (chains.read, lambda der: anchors.with_operators(Anchors(), {"mine": _pem(der)}, "iid_roots")):
        with pytest.raises(ValueError, match="a certificate's key is refused: the RSA key's public exponent"):
            read(certificate.public_bytes(Encoding.DER))


def _pem(der: bytes) -> bytes:
    return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)


def test_a_key_for_rsassa_pss_alone_is_refused() -> None:
    key = rsa.RSAPublicNumbers(65537, (1 << 2047) + 1).public_key()
    der = root_authority().certify(named("PSS"), key, (), BEFORE, AFTER).public_bytes(Encoding.DER)
    any_use, pss = (bytes.fromhex("06092a864886f70d0101") + last for last in (b"\x01\x05\0", b"\x0a\x30\0"))
    assert chains.read(der)
    assert der.count(any_use) == 1
    with pytest.raises(ValueError, match="RSASSA-PSS keys are not accepted"):
        chains.read(der.replace(any_use, pss))


@pytest.mark.parametrize("multi", [False, True], ids=["one after the other", "in one RDN"])
def test_a_name_of_many_attributes_is_refused(multi: bool) -> None:
    for count, fits in ((chains.MAX_ATTRIBUTES, True), (chains.MAX_ATTRIBUTES + 1, False)):
        parts = [x509.NameAttribute(x509.NameOID.COMMON_NAME, str(number)) for number in range(count)]
        long = x509.Name([x509.RelativeDistinguishedName(parts)] if multi else parts)
        of_subject = root_authority().certify(long, numbered_key().public_key(), (), BEFORE, AFTER)
        of_issuer = leaf_of(Authority.root(long, numbered_key()))
        for certificate in (of_subject, of_issuer):
            der = certificate.public_bytes(Encoding.DER)
            if fits:
                assert chains.read(der)
                continue
            with pytest.raises(ValueError, match="a certificate has a name of more than 16 attributes"):
                chains.read(der)


def test_a_certificate_of_many_extensions_is_refused() -> None:
    extensions: list[Extension] = [
        (x509.UnrecognizedExtension(x509.ObjectIdentifier(f"1.2.3.{number}"), b""), False)
        for number in range(chains.MAX_EXTENSIONS + 1)
    ]
    assert chains.read(leaf_of(root_authority(), extensions[:-1]).public_bytes(Encoding.DER))
    with pytest.raises(ValueError, match="a certificate has more than 32 extensions"):
        chains.read(leaf_of(root_authority(), extensions).public_bytes(Encoding.DER))


def test_a_certificate_too_long_or_with_an_extension_twice_is_refused() -> None:
    long = leaf_of(root_authority(), [(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), bytes(3072)), False)])
    with pytest.raises(ValueError, match="3072 is the limit"):
        chains.read(long.public_bytes(Encoding.DER))
    twice = [(x509.UnrecognizedExtension(x509.ObjectIdentifier(f"1.2.{arc}"), b"x"), False) for arc in (3, 4)]
    data = leaf_of(root_authority(), twice).public_bytes(Encoding.DER)
    assert chains.read(data)
    with pytest.raises(ValueError, match="cannot be read"):
        chains.read(data.replace(b"\x06\x02\x2a\x04", b"\x06\x02\x2a\x03"))


@cache
def _usual_leaf() -> x509.Certificate:
    return leaf_of(root_authority(), [(key_usage(signatures=True, certificates=False), True)])


@pytest.mark.parametrize("first", [0x80, 0xFF])
def test_a_serial_number_that_is_not_positive_is_refused(first: int) -> None:
    genuine = _usual_leaf().public_bytes(Encoding.DER)
    # SEQUENCE, SEQUENCE, [0] with its INTEGER; then the serial number's tag and length.
    at = 15
    assert genuine[8:13] == bytes.fromhex("a003020102")
    assert genuine[at - 2] == 2
    with pytest.raises(ValueError, match="serial number is not positive"):
        chains.read(genuine[:at] + bytes([first]) + genuine[at + 1 :])


@given(data=st.data())
def test_no_bytes_do_worse_than_a_refusal(data: st.DataObject) -> None:
    genuine = _usual_leaf().public_bytes(Encoding.DER)
    try:
        certificate = chains.read(forge.mutated(genuine, data.draw))
        chains.verify(certificate, (), Anchors((Root(root_authority().chain[0]),)), NOW, SERVER)
    except ValueError as error:
        assert str(error)  # noqa: PT017 - either outcome is right, another exception is not


def test_pem_holds_certificates_and_nothing_else() -> None:
    whole = authority_below(2).chain
    text = "".join(one.public_bytes(Encoding.PEM).decode() for one in whole)
    assert chains.read_pem(text) == whole
    assert len(chains.read_pem(text.replace("\n", "\r\n"))) == 3
    assert len(chains.read_pem("\n" + text + "\n\n")) == 3
    for spoilt, sentence in (
        ("# " + text, "not a CERTIFICATE block"),
        (text + "x", "not a CERTIFICATE block"),
        (text.replace("CERTIFICATE", "X509 CRL"), "not a CERTIFICATE block"),
        (text * 3, "more than 8 certificates"),
        ("", "no certificate"),
        (" \n", "not a CERTIFICATE block"),
        (text.replace("-----END", "=-----END", 1), "not base64"),
    ):
        with pytest.raises(ValueError, match=sentence):
            chains.read_pem(spoilt)


# Anchors


def test_the_pinned_certificates_are_the_ones_that_their_hashes_name() -> None:
    listed = json.loads(resources.files("acme_iid.attestation.keys").joinpath("azure.json").read_bytes())
    pinned = azure_trust.pinned_anchors()
    assert all(root.scope is None for root in pinned.roots)
    for kind, loaded in (
        ("roots", [root.certificate for root in pinned.roots]),
        ("intermediates", pinned.intermediates),
    ):
        assert len(loaded) == len(listed[kind])
        for entry, certificate in zip(listed[kind], loaded, strict=True):
            assert certificate.fingerprint(SHA256()).hex() == entry["sha256"]
            assert certificate.subject.rfc4514_string() == entry["subject"]
            assert (certificate.issuer == certificate.subject) == (kind == "roots")
            assert certificate.not_valid_after_utc > datetime(2026, 12, 1, tzinfo=UTC)


def test_every_pinned_issuer_leads_to_a_pinned_root() -> None:
    pinned = azure_trust.pinned_anchors()
    roots = {root.certificate.subject: root.certificate for root in pinned.roots}
    for certificate in pinned.intermediates:
        certificate.verify_directly_issued_by(roots[certificate.issuer])


def test_nitros_pinned_root_is_awss() -> None:
    """The fingerprint is the one that AWS publishes in the Nitro Enclaves User Guide."""
    (root,) = aws_trust.pinned_nitro().roots
    assert root.scope is None
    assert root.certificate.fingerprint(SHA256()).hex() == (
        "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b"
    )


def test_what_operators_give_counts_for_them_and_intermediates_for_nobody() -> None:
    authority = authority_below(1)
    pem = b"".join(one.public_bytes(Encoding.PEM) for one in authority.chain)
    given_ = anchors.with_operators(Anchors(), {"mine": pem, "yours": pem}, "iid_roots")
    assert given_.roots == (Root(authority.chain[-1], frozenset({"mine", "yours"})),)
    assert given_.intermediates == (authority.chain[0],)
    for bad in (b"", b"\xff", b"-----BEGIN PUBLIC KEY-----\n"):
        with pytest.raises(ValueError, match="iid_roots of the provisioner 'mine': "):
            anchors.with_operators(Anchors(), {"mine": bad}, "iid_roots")
