"""Alternate chains: which files are one, and how the intermediate is cross-signed."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from acme_iid.issuance import alternates, ceremony, keys
from acme_iid.issuance.issuer import Issuer, Signer
from acme_iid.issuance.keys import CAFileError
from acme_iid.issuance.leaf import LeafRequest
from acme_iid.policy.namespace import Namespace
from acme_iid.protocol.identifiers import Identifier

NOW = 1_800_000_000
ROOT = ceremony.create_root("My CA", NOW)
INTERMEDIATE = ceremony.create_intermediate(ROOT, "My CA", NOW).certificate
OTHER = ceremony.create_root("Other CA", NOW)
CROSS = ceremony.cross_sign(OTHER, INTERMEDIATE, NOW)


def write(path: Path, *chain: x509.Certificate) -> Path:
    path.write_bytes(b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain))
    return path


def test_a_cross_signed_intermediate_has_the_same_subject_and_extensions() -> None:
    CROSS.verify_directly_issued_by(OTHER.certificate)
    assert CROSS.subject == INTERMEDIATE.subject
    assert CROSS.public_key() == INTERMEDIATE.public_key()
    for kind in (x509.SubjectKeyIdentifier, x509.BasicConstraints, x509.KeyUsage):
        assert CROSS.extensions.get_extension_for_class(kind) == INTERMEDIATE.extensions.get_extension_for_class(kind)
    above = CROSS.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert above.key_identifier == x509.SubjectKeyIdentifier.from_public_key(OTHER.key.public_key()).digest
    assert CROSS.not_valid_after_utc == INTERMEDIATE.not_valid_after_utc


def test_it_does_not_outlive_a_root_that_ends_before_it() -> None:
    old = ceremony.create_root("Old CA", NOW - 9 * 365 * 86400)
    assert ceremony.cross_sign(old, INTERMEDIATE, NOW).not_valid_after_utc == old.certificate.not_valid_after_utc
    gone = ceremony.create_root("Gone CA", NOW - 11 * 365 * 86400)
    with pytest.raises(CAFileError, match="has run out"):
        ceremony.cross_sign(gone, INTERMEDIATE, NOW)


def test_a_root_signs_with_its_own_key_and_is_a_ca() -> None:
    with pytest.raises(CAFileError, match="is not the key of its certificate"):
        ceremony.cross_sign(Signer(OTHER.certificate, ROOT.key), INTERMEDIATE, NOW)
    key = keys.generate()
    leaf = Issuer(Signer(INTERMEDIATE, ROOT.key), ROOT.certificate).issue(
        LeafRequest(key.public_key(), [Identifier("dns", "foo.local")], NOW + 60), Namespace(), NOW
    )
    with pytest.raises(CAFileError, match="is no CA certificate"):
        ceremony.cross_sign(Signer(x509.load_der_x509_certificate(leaf.der), key), INTERMEDIATE, NOW)
    bare = rsa.generate_private_key(65537, 2048)
    name = x509.Name([])
    certificate = (
        x509.CertificateBuilder(name, name, bare.public_key(), 1)
        .not_valid_before(INTERMEDIATE.not_valid_before_utc)
        .not_valid_after(INTERMEDIATE.not_valid_after_utc)
        .sign(bare, hashes.SHA256())
    )
    with pytest.raises(CAFileError, match="lacks what a CA certificate has"):
        ceremony.cross_sign(Signer(certificate, bare), INTERMEDIATE, NOW)


def test_a_chain_omits_its_root_and_ends_with_its_first_certificate(tmp_path: Path) -> None:
    found = alternates.load(write(tmp_path / "chain", CROSS, OTHER.certificate), [INTERMEDIATE])
    assert found.pem.encode() == CROSS.public_bytes(Encoding.PEM)
    assert found.root_pem.encode() == OTHER.certificate.public_bytes(Encoding.PEM)
    assert found.root_fingerprint == OTHER.certificate.fingerprint(hashes.SHA256()).hex()
    assert found.not_after == int(CROSS.not_valid_after_utc.timestamp())


KINDS = (x509.BasicConstraints, x509.KeyUsage, x509.SubjectKeyIdentifier)
NAMESAKE = ceremony.create_intermediate(OTHER, "My CA", NOW).certificate
BETWEEN = ceremony.create_root("Between", NOW)
BELOW = Signer(ceremony.link(OTHER, BETWEEN.certificate, NOW), BETWEEN.key)


@pytest.mark.parametrize(
    ("chain", "reason"),
    [
        ((CROSS,), "holds 1 certificates"),
        ((CROSS, *[OTHER.certificate] * 4), "holds 5 certificates"),
        ((INTERMEDIATE, ROOT.certificate), "begins with the intermediate that is served anyway"),
        ((NAMESAKE, OTHER.certificate), "does not begin with an intermediate of this CA"),
        ((OTHER.certificate, CROSS), "does not begin with an intermediate of this CA"),
        ((CROSS, ROOT.certificate), r"was not issued by \S+,CN=My Root CA"),
        ((CROSS, OTHER.certificate, ROOT.certificate), r"CN=Other Root CA was not issued by \S+,CN=My Root CA"),
        ((ceremony.cross_sign(BELOW, INTERMEDIATE, NOW), BELOW.certificate), "CN=Between Root CA was not issued by"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_chain_from_the_intermediate_to_a_root_is_refused(
    tmp_path: Path, chain: tuple[x509.Certificate, ...], reason: str
) -> None:
    with pytest.raises(CAFileError, match=reason):
        alternates.load(write(tmp_path / "chain", *chain), [INTERMEDIATE])


def test_a_chain_with_a_key_that_is_not_acceptable_is_refused(tmp_path: Path) -> None:
    key = rsa.generate_private_key(3, 2048)
    name = OTHER.certificate.subject
    extensions = [OTHER.certificate.extensions.get_extension_for_class(kind) for kind in KINDS]
    root = x509.CertificateBuilder(
        name, name, key.public_key(), 1, INTERMEDIATE.not_valid_before_utc, INTERMEDIATE.not_valid_after_utc, extensions
    ).sign(key, hashes.SHA256())
    cross = ceremony.cross_sign(Signer(root, key), INTERMEDIATE, NOW)
    with pytest.raises(CAFileError, match="has a key that no CA signs with: the RSA key's public exponent"):
        alternates.load(write(tmp_path / "chain", cross, root), [INTERMEDIATE])


def test_a_file_that_holds_no_certificates_is_named(tmp_path: Path) -> None:
    with pytest.raises(CAFileError, match="nowhere cannot be read: No such file"):
        alternates.load(tmp_path / "nowhere", [INTERMEDIATE])
    (tmp_path / "junk").write_text("junk")
    with pytest.raises(CAFileError, match="junk holds no readable certificates"):
        alternates.load(tmp_path / "junk", [INTERMEDIATE])
