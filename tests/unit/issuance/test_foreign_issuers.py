"""Issuers that others have signed: what stands in leaves and lists below them, and constraints that meet others."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from company_cas import POLICY_KEY, ROOT_KEY, Company, adding
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from forged_leaves import forged, verify

from acme_iid.errors import AcmeError
from acme_iid.issuance import ceremony, crl, keys
from acme_iid.issuance.issuer import Issuer, Signer
from acme_iid.issuance.leaf import LeafRequest
from acme_iid.issuance.name_constraints import PRIVATE_NETWORKS, constraints
from acme_iid.policy.namespace import Namespace
from acme_iid.protocol.identifiers import dns

NOW = 1_800_000_000
KEY = ec.generate_private_key(ec.SECP256R1())
COMPANY = Company(KEY.public_key(), NOW)


def attribute(oid: x509.ObjectIdentifier, text: str, kind: _ASN1Type) -> x509.NameAttribute[str]:
    return x509.NameAttribute(oid, text, kind)


SUBJECTS = {
    "PrintableString": x509.Name([attribute(NameOID.COMMON_NAME, "Acme Issuing", _ASN1Type.PrintableString)]),
    "UTF8String": x509.Name([attribute(NameOID.COMMON_NAME, "Acmé Issuing", _ASN1Type.UTF8String)]),
    "BMPString": x509.Name([attribute(NameOID.COMMON_NAME, "Acmé Issuing", _ASN1Type.BMPString)]),
    "several values in one part": x509.Name(
        [
            x509.RelativeDistinguishedName([attribute(NameOID.COUNTRY_NAME, "DE", _ASN1Type.PrintableString)]),
            x509.RelativeDistinguishedName(
                [
                    attribute(NameOID.SERIAL_NUMBER, "12", _ASN1Type.PrintableString),
                    attribute(NameOID.COMMON_NAME, "Issuing", _ASN1Type.UTF8String),
                ]
            ),
        ]
    ),
}
IDENTIFIERS = {"of 8 octets": b"\x00random\xff", "of 32 octets": bytes(range(32)), "usual": b""}


def issue(issuer: Issuer) -> x509.Certificate:
    request = LeafRequest(keys.generate().public_key(), [dns("foo.local")], NOW + 3600)
    return x509.load_der_x509_certificate(issuer.issue(request, Namespace(("local",)), NOW).der)


@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.parametrize("identifier", IDENTIFIERS)
def test_leaf_and_list_name_their_issuer_byte_by_byte(subject: str, identifier: str, tmp_path: Path) -> None:
    root = COMPANY.root()
    certificate = COMPANY.certificate(
        SUBJECTS[subject], KEY.public_key(), "Root", ROOT_KEY, identifier=IDENTIFIERS[identifier]
    )
    own = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    issuer = Issuer(Signer(certificate, KEY), root)
    # As it stands in the certificate, and not as some library would write it.
    written = SUBJECTS[subject].public_bytes()
    assert written in certificate.tbs_certificate_bytes
    leaf = issue(issuer)
    listed = crl.sign(issuer.signer, [], 1, NOW, NOW + 3600)
    revocations = x509.load_der_x509_crl(listed)
    for contents, extensions in (
        (leaf.tbs_certificate_bytes, leaf.extensions),
        (revocations.tbs_certlist_bytes, revocations.extensions),
    ):
        assert written in contents
        above = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        assert above.key_identifier == own
    assert verify(tmp_path, NOW, root, leaf, certificate) == ""


def constrained(subject: str, *limits: x509.NameConstraints) -> tuple[x509.Certificate, Signer, x509.Certificate]:
    """A root, an issuer whose own certificate has the last constraints, and a policy CA that has the first."""
    policy = COMPANY.policy(change=adding(limits[0], critical=True))
    issuing = COMPANY.certificate(
        subject, KEY.public_key(), "Policy", POLICY_KEY, change=adding(limits[-1], critical=True)
    )
    return COMPANY.root(), Signer(issuing, KEY), policy


def address(text: str) -> x509.IPAddress:
    return x509.IPAddress(ipaddress.ip_address(text))


def test_constraints_in_the_policy_ca_and_in_the_issuer_both_count(tmp_path: Path) -> None:
    above = constraints(["local", "example"], [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8")])
    root, signer, policy = constrained("Issuing", above, constraints(["local"], PRIVATE_NETWORKS))
    both = [x509.DNSName("foo.local"), x509.DNSName("*.local"), address("10.1.2.3"), address("fd00::1")]
    one = [x509.DNSName("foo.example"), address("192.168.0.1"), address("fc00::1")]
    none = [
        x509.DNSName("foo.org"), address("192.0.2.1"), address("2001:db8::1"),
        x509.UniformResourceIdentifier("https://192.0.2.1/x"),
    ]  # fmt: skip
    assert verify(tmp_path, NOW, root, forged(signer, NOW, *both), signer.certificate, policy) == ""
    for name in (*one, *none):
        said = verify(tmp_path, NOW, root, forged(signer, NOW, name), signer.certificate, policy)
        assert "subtree" in said or "unsupported name" in said, name
    issuer = Issuer(signer, root, [policy])
    assert [entry.holder for entry in issuer.constraints] == ["the CA's certificate", "a CA above this one"]
    namespace = Namespace(("local", "example"), constraints=lambda: issuer.constraints)
    assert namespace.refusal(dns("foo.local")) is None
    assert "the CA's certificate permits" in str(namespace.refusal(dns("foo.example")))


def test_all_addresses_excluded_in_both_leaves_none(tmp_path: Path) -> None:
    root, signer, policy = constrained("Issuing", constraints(["local"], ()))
    assert verify(tmp_path, NOW, root, forged(signer, NOW, x509.DNSName("a.local")), signer.certificate, policy) == ""
    for text in ("10.0.0.1", "192.0.2.1", "fd00::1", "::1"):
        said = verify(tmp_path, NOW, root, forged(signer, NOW, address(text)), signer.certificate, policy)
        assert "excluded subtree" in said, text


def test_leaves_below_constraints_about_subjects_have_none(tmp_path: Path) -> None:
    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Acme")
    subject = x509.Name([organization, x509.NameAttribute(NameOID.COMMON_NAME, "Issuing")])
    limits = x509.NameConstraints([x509.DirectoryName(x509.Name([organization]))], None)
    policy, root = COMPANY.policy(change=adding(limits, critical=True)), COMPANY.root()
    certificate = COMPANY.certificate(subject, KEY.public_key(), "Policy", POLICY_KEY)
    issuer = Issuer(Signer(certificate, KEY), root, [policy])
    leaf = issue(issuer)
    assert list(leaf.subject) == []
    assert leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical
    assert verify(tmp_path, NOW, root, leaf, certificate, policy) == ""


def test_an_issuer_signs_no_name_that_its_own_chain_shuts_out() -> None:
    root, signer, policy = constrained("Issuing", constraints(["local"], ()))
    issuer = Issuer(signer, root, [policy])
    request = LeafRequest(keys.generate().public_key(), [dns("foo.example")], NOW + 3600)
    # The namespace may be that of the issuer that signs next.
    with pytest.raises(AcmeError, match="outside this CA's domains"):
        issuer.issue(request, Namespace(("local",)), NOW)


def test_another_roots_signature_leaves_the_constraints(tmp_path: Path) -> None:
    root, other = ceremony.create_root("My CA", NOW), ceremony.create_root("Other CA", NOW)
    limits = constraints(["local"], PRIVATE_NETWORKS)
    intermediate = ceremony.create_intermediate(root, "My CA", NOW, constraints=limits)
    crossed = ceremony.cross_sign(other, intermediate.certificate, NOW)
    extension = crossed.extensions.get_extension_for_class(x509.NameConstraints)
    assert (extension.critical, extension.value) == (True, limits)
    good, bad = (forged(intermediate, NOW, x509.DNSName(text)) for text in ("foo.local", "foo.example"))
    assert verify(tmp_path, NOW, other.certificate, good, crossed) == ""
    assert "permitted subtree" in verify(tmp_path, NOW, other.certificate, bad, crossed)
