"""Signing requests that somebody else made."""

from __future__ import annotations

import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from acme_iid_client.errors import ClientError
from acme_iid_client.x509 import csr

KEY = ec.generate_private_key(ec.SECP256R1())


def request(common_name: str | None, *names: x509.GeneralName) -> x509.CertificateSigningRequest:
    subject = [] if common_name is None else [x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(KEY, hashes.SHA256())


def test_the_names_are_all_that_are_asked_for_in_their_canonical_form() -> None:
    asked = request(
        "Foo.Local",
        x509.DNSName("bar.local"),
        x509.IPAddress(ipaddress.ip_address("::1")),
        x509.DNSName("foo.local"),
    )
    assert csr.names(asked, "request") == ["foo.local", "bar.local", "::1"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (request(None), "names nothing"),
        (request(None, x509.RFC822Name("a@b.local")), "only names and addresses"),
        (request("not a name"), "neither a name nor an address"),
    ],
)
def test_a_request_for_something_else_is_refused(asked: x509.CertificateSigningRequest, said: str) -> None:
    with pytest.raises(ClientError, match=said):
        csr.names(asked, "request")


@pytest.mark.filterwarnings("ignore:Attribute's length:UserWarning")
@pytest.mark.parametrize("empty", ["", " "])
def test_an_empty_common_name_is_none(empty: str) -> None:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, empty, _validate=False)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    with pytest.raises(ClientError, match="names nothing"):
        csr.names(builder.sign(KEY, hashes.SHA256()), "request")
    named = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("foo.local")]), critical=False)
    assert csr.names(named.sign(KEY, hashes.SHA256()), "request") == ["foo.local"]


def test_a_request_that_its_key_did_not_sign_is_refused() -> None:
    der = bytearray(request("foo.local").public_bytes(Encoding.DER))
    assert csr.load(bytes(der), "request").is_signature_valid
    changed = bytes(der).replace(b"foo.local", b"bar.local")
    with pytest.raises(ClientError, match="not signed by the key in it"):
        csr.load(changed, "request")


@given(st.binary(max_size=400))
def test_what_is_no_request_is_a_sentence(content: bytes) -> None:
    with pytest.raises(ClientError):
        csr.load(content, "request")
