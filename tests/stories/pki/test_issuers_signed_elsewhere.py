"""Issuers whose certificates look as others make them: what is below them verifies, in every verifier."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import requests
from certificate_status_requests import revoke
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from pki import http_status
from pki.conftest import Show
from pki.forging import FORBIDDEN, forged
from pki.openssl_ca import Company, founded, joined
from pki.rotating import serving
from pki.verifiers.verifier import Shown, Verifier
from ports import free_port
from running import ACCOUNT, CA, answer

from acme_iid.simulator import aws

NAME = "foo.local"


@dataclass(frozen=True)
class Shape:
    """How a certificate of ours looks.

    :ivar strings: the types of texts in its name.
    :ivar extensions: the section of :data:`pki.openssl_ca.CONFIG` for it.
    :ivar subject: another subject than the one asked for.
    :ivar types: those of the texts in it, for each RDN.
    """

    strings: str
    extensions: str
    subject: str
    types: list[list[str]]


SHAPES = {
    "PrintableString": Shape("default", "bare", "/O=Acme/CN=Issuing CA 1", [["PrintableString"], ["PrintableString"]]),
    "several values in one RDN, and an identifier that is no hash of the key": Shape(
        "utf8only",
        "odd",
        "/O=Acme/CN=Issuing CA 1+serialNumber=17",
        [["UTF8String"], ["PrintableString", "UTF8String"]],
    ),
}


@dataclass(frozen=True)
class Signed:
    """What a company's policy CA signed, at work."""

    ca: CA
    root: str
    issuer: x509.Certificate
    good: str
    revoked: str


@pytest.fixture(scope="module", params=list(SHAPES))
def signed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signed]:
    shape = SHAPES[str(request.param)]
    folder = tmp_path_factory.mktemp("elsewhere")
    root = Company(folder / "root", "Acme Root R1")
    policy = Company(folder / "policy", "Acme Policy CA", strings=shape.strings)
    root.sign_itself()
    # Constraints in the policy CA, and those of ours below them.
    root.sign(policy.request(), policy.certificate, "constrained", 3650)
    ca = CA(folder / "ca")
    founded(ca, folder / "ca.csr")
    subject = ("-subj", shape.subject, "-multivalue-rdn", "-preserveDN")
    policy.sign(folder / "ca.csr", folder / "issuing.pem", shape.extensions, 1825, *subject)
    chain = joined(folder / "chain.pem", folder / "issuing.pem", policy.certificate, root.certificate)
    ca.cli("issuer", "import", chain)
    http_status.turn_on(ca, free_port())
    with serving(ca):
        account, vm = ca.account(), answer(aws.Instance(account=ACCOUNT))
        good, bad = (account.obtain(NAME, answer=vm) for _ in range(2))
        revoke(account, bad, 4)
        issuer = x509.load_pem_x509_certificate((folder / "issuing.pem").read_bytes())
        assert [sorted(entry._type.name for entry in rdn) for rdn in issuer.subject.rdns] == shape.types
        yield Signed(ca, root.certificate.read_text(), issuer, good.chain, bad.chain)


def test_leaf_list_and_answer_name_the_issuer_octet_for_octet(signed: Signed, show: Show) -> None:
    shown = show(signed.good, signed.root, NAME)
    subject, identifier = signed.issuer.subject.public_bytes(), _identifier(signed.issuer)
    revocations = x509.load_der_x509_crl(requests.get(shown.list_url, timeout=30).content)
    found: list[x509.Certificate | x509.CertificateRevocationList]
    found = [shown.certificates[0], revocations, *_responders(shown)]
    assert [entry.issuer.public_bytes() for entry in found] == [subject] * len(found)
    authorities = [
        entry.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier for entry in found
    ]
    assert authorities == [identifier] * len(found)


def _identifier(certificate: x509.Certificate) -> bytes:
    return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest


def _responders(shown: Shown) -> list[x509.Certificate]:
    """The certificates in the answers about a leaf, whichever hash the question names its issuer by."""
    leaf, issuer = shown.certificates[:2]
    found = []
    for algorithm in (hashes.SHA1(), hashes.SHA256()):  # noqa: S303 - what requests usually have
        question = ocsp.OCSPRequestBuilder().add_certificate(leaf, issuer, algorithm).build()
        response = requests.post(shown.responder_url, question.public_bytes(Encoding.DER), timeout=30,
                                 headers={"Content-Type": "application/ocsp-request"})  # fmt: skip
        read = ocsp.load_der_ocsp_response(response.content)
        assert read.certificate_status is ocsp.OCSPCertStatus.GOOD
        found += read.certificates
    assert len(found) == 2
    return found


def test_every_verifier_accepts_and_refuses_what_is_below_it(signed: Signed, verifier: Verifier, show: Show) -> None:
    good, revoked = (show(chain, signed.root, NAME) for chain in (signed.good, signed.revoked))
    assert (verifier.chain(good), verifier.by_list(good), verifier.by_answer(good)) == (None, None, None)
    assert "revoked" in (verifier.by_list(revoked) or "").lower()
    assert "revoked" in (verifier.by_answer(revoked) or "").lower()


@pytest.mark.parametrize("kind", FORBIDDEN)
def test_constraints_in_two_certificates_refuse_names(
    signed: Signed, verifier: Verifier, show: Show, kind: str
) -> None:
    chain = forged(signed.ca, signed.ca.issuer_id, x509.DNSName(NAME), FORBIDDEN[kind])
    assert (verifier.chain(show(chain, signed.root, NAME)) is None) == (kind in verifier.overlooks)
