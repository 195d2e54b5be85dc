"""Links between roots: which are taken, what follows a chain, and that clients of either root accept it."""

from __future__ import annotations

import ssl
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from acme_iid.issuance import ceremony, keys, links
from acme_iid.issuance.ca import CertificateAuthority
from acme_iid.issuance.issuer import Issuer, Signer
from acme_iid.issuance.keys import CAFileError
from acme_iid.issuance.roots import Roots, subject_of, to_pem
from acme_iid.protocol.identifiers import dns

NOW = 1_800_000_000
DAY = 86400
OLD, NEW = (ceremony.create_root("My CA", NOW) for _ in range(2))
LINK = ceremony.link(OLD, NEW.certificate, NOW)
STOLEN = ceremony.create_intermediate(OLD, "My CA", NOW)
"""The online issuer, whose key somebody else has as well."""


def written(path: Path, *certificates: x509.Certificate) -> Path:
    path.write_text(to_pem(*certificates))
    return path


def rotated(old: Signer, new: Signer, link: x509.Certificate) -> tuple[CertificateAuthority, Issuer]:
    """A CA in the middle of a rotation: the new root is in use, and both are trusted."""
    issuer = Issuer(ceremony.create_intermediate(new, "My CA", NOW), new.certificate)
    roots = Roots((new.certificate, old.certificate), {subject_of(new.certificate): link})
    return CertificateAuthority(roots, [issuer]), issuer


def chain_of(old: Signer, new: Signer, link: x509.Certificate) -> str:
    ca, issuer = rotated(old, new, link)
    leaf = issuer.issue_serving(keys.generate().public_key(), [dns("foo.local")], NOW + DAY, NOW)
    return ssl.DER_cert_to_PEM_cert(leaf.der) + ca.chain_pem(issuer, NOW)


def by_openssl(folder: Path) -> str:
    done = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-attime", str(NOW), "-CAfile", "root.pem", "-untrusted", "chain.pem",
         "chain.pem"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.parametrize("kind", ["P-256", "Ed25519", "RSA-3072"])
def test_clients_of_either_root_accept_what_the_new_one_vouches_for(tmp_path: Path, kind: str) -> None:
    old = ceremony.create_root("My CA", NOW, ceremony.generate(kind))
    (tmp_path / "chain.pem").write_text(chain_of(old, NEW, ceremony.link(old, NEW.certificate, NOW)))
    for root in (old, NEW):
        written(tmp_path / "root.pem", root.certificate)
        assert by_openssl(tmp_path) == ""
    written(tmp_path / "root.pem", ceremony.create_root("My CA", NOW).certificate)
    assert by_openssl(tmp_path) != ""


def test_without_a_name_of_its_own_there_is_no_link_to_a_root() -> None:
    again = ceremony.create_root("My CA", NOW, itself=OLD.certificate.subject)
    with pytest.raises(CAFileError, match="both roots have one subject"):
        ceremony.link(OLD, again.certificate, NOW)


def test_a_root_that_init_makes_has_no_path_length() -> None:
    basic = OLD.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (basic.ca, basic.path_length) == (True, None)


def of_length(path_length: int) -> Signer:
    """A root with a path length, as one that was made elsewhere may have it."""
    key = keys.generate()
    role = ceremony.Role("Root", path_length, responder=False)
    name = ceremony.subject("Elsewhere", role, key.public_key())
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = ceremony._builder(name, key.public_key(), role, identifier, None)
    above = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    return Signer(ceremony._sign(builder, name, above, key, NOW, NOW + DAY), key)


def test_under_a_root_with_the_path_length_1_a_link_would_fail(tmp_path: Path) -> None:
    root = of_length(1)
    link = ceremony.link(root, NEW.certificate, NOW)
    (tmp_path / "chain.pem").write_text(chain_of(root, NEW, link))
    written(tmp_path / "root.pem", root.certificate)
    assert "path length" in by_openssl(tmp_path)
    with pytest.raises(CAFileError, match="path length 1, which leaves no room for a link"):
        links.load_link(written(tmp_path / "link", link), NEW.certificate, [root.certificate], NOW)


def planted(root: x509.Certificate) -> x509.Certificate:
    """A link that whoever has the online issuer's key makes."""
    builder = ceremony._builder(
        root.subject, NEW.key.public_key(), ceremony.ROOT,
        root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value, None,
    )  # fmt: skip
    return ceremony._sign(builder, STOLEN.certificate.subject, STOLEN.key_identifier, STOLEN.key, NOW, NOW + DAY)


def test_a_link_is_taken_by_the_signature_of_a_trusted_root_alone(tmp_path: Path) -> None:
    assert links.load_link(written(tmp_path / "link", LINK), NEW.certificate, [OLD.certificate], NOW) == LINK
    other = ceremony.create_root("My CA", NOW)
    for link, former, said in (
        (planted(NEW.certificate), [OLD.certificate], "An intermediate's signature does not do"),
        (LINK, [other.certificate], "was not signed with the key of a root that clients trust"),
        (ceremony.link(OLD, other.certificate, NOW), [OLD.certificate], "is no link to the new root"),
        (NEW.certificate, [OLD.certificate], "was not signed with the key of a root"),
    ):
        with pytest.raises(CAFileError, match=said):
            links.load_link(written(tmp_path / "link", link), NEW.certificate, former, NOW)
    with pytest.raises(CAFileError, match="and not now"):
        links.load_link(written(tmp_path / "link", LINK), NEW.certificate, [OLD.certificate], NOW + 20 * 365 * DAY)


def test_a_new_root_signs_itself_and_is_one_of_a_ca(tmp_path: Path) -> None:
    assert links.load_root(written(tmp_path / "root", NEW.certificate), NOW) == NEW.certificate
    for certificate, said in ((LINK, "is no root: .* signed it"), (STOLEN.certificate, "is no certificate of a root")):
        with pytest.raises(CAFileError, match=said):
            links.load_root(written(tmp_path / "root", certificate), NOW)
    with pytest.raises(CAFileError, match="and not now"):
        links.load_root(written(tmp_path / "root", NEW.certificate), NOW + 20 * 365 * DAY)
    with pytest.raises(CAFileError, match="it is for one"):
        links.load_root(written(tmp_path / "root", NEW.certificate, OLD.certificate), NOW)


def test_links_lead_back_to_the_earliest_root_that_is_trusted() -> None:
    last = ceremony.create_root("My CA", NOW)
    second = ceremony.link(NEW, last.certificate, NOW)
    below = ceremony.create_intermediate(last, "My CA", NOW).certificate
    by_subject = {subject_of(NEW.certificate): LINK, subject_of(last.certificate): second}
    certificates = last.certificate, NEW.certificate, OLD.certificate
    assert Roots(certificates, by_subject).links_above(below, NOW) == (second, LINK)
    assert Roots(certificates[:2], by_subject).links_above(below, NOW) == (second,)
    assert Roots(certificates[:1], by_subject).links_above(below, NOW) == ()
    # The way back ends at a root that was dropped, also where an earlier one is still there.
    assert Roots((last.certificate, OLD.certificate), by_subject).links_above(below, NOW) == ()
    ends = int((second.not_valid_after_utc + timedelta(seconds=1)).timestamp())
    assert Roots(certificates, by_subject).links_above(below, ends) == ()
    old = ceremony.create_intermediate(OLD, "My CA", NOW).certificate
    assert Roots(certificates, by_subject).links_above(old, NOW) == ()


def test_an_announced_roots_key_gets_no_certificate() -> None:
    ca = CertificateAuthority(Roots((OLD.certificate,), {}), [Issuer(STOLEN, OLD.certificate)])
    spki = Issuer(NEW, NEW.certificate).own_keys
    assert not spki & ca.own_keys
    ca.trust(Roots((OLD.certificate, NEW.certificate), {}))
    assert spki <= ca.own_keys
