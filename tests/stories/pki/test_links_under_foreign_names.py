"""A link below a root whose name others have made: every verifier follows it, octet for octet."""

from __future__ import annotations

import time

import pytest
from company_cas import ROOT_KEY, Company, pem
from cryptography import x509
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from forged_leaves import forged
from pki.conftest import Show
from pki.verifiers.verifier import Verifier

from acme_iid.issuance import ceremony
from acme_iid.issuance.issuer import Signer

NOW = int(time.time())


def attribute(oid: x509.ObjectIdentifier, text: str, kind: _ASN1Type) -> x509.NameAttribute[str]:
    return x509.NameAttribute(oid, text, kind)


SUBJECTS = {
    "PrintableString": x509.Name([attribute(NameOID.COMMON_NAME, "Acme Root", _ASN1Type.PrintableString)]),
    "UTF8String": x509.Name([attribute(NameOID.COMMON_NAME, "Acmé Root", _ASN1Type.UTF8String)]),
    "several values in one RDN": x509.Name(
        [
            x509.RelativeDistinguishedName([attribute(NameOID.COUNTRY_NAME, "DE", _ASN1Type.PrintableString)]),
            x509.RelativeDistinguishedName(
                [
                    attribute(NameOID.COMMON_NAME, "Acme Root", _ASN1Type.UTF8String),
                    attribute(NameOID.SERIAL_NUMBER, "12", _ASN1Type.PrintableString),
                ]
            ),
        ]
    ),
}


@pytest.mark.parametrize("kind", SUBJECTS)
def test_a_link_to_and_from_a_foreign_root_is_followed(verifier: Verifier, show: Show, kind: str) -> None:
    name, public = SUBJECTS[kind], ROOT_KEY.public_key()
    foreign = Signer(Company(public, NOW).certificate(name, public, name, ROOT_KEY, years=20), ROOT_KEY)
    assert name.public_bytes() in foreign.certificate.tbs_certificate_bytes
    ours = ceremony.create_root("My CA", NOW)
    for old, new in ((foreign, ours), (ours, foreign)):
        issuer = ceremony.create_intermediate(new, "My CA", NOW)
        leaf = forged(issuer, NOW, x509.DNSName("a.local"))
        chain = pem(leaf, issuer.certificate, ceremony.link(old, new.certificate, NOW)).decode()
        for root in (old, new):
            assert verifier.chain(show(chain, pem(root.certificate).decode(), "a.local")) is None
        stranger = ceremony.create_root("My CA", NOW).certificate
        assert verifier.chain(show(chain, pem(stranger).decode(), "a.local")) is not None
