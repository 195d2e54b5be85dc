from __future__ import annotations

import hashlib
import ipaddress
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from acme_iid.binding import SERVING_MARK
from acme_iid.errors import AcmeError, Problem
from acme_iid.issuance import ceremony, key_places, keys, provisioner_extension
from acme_iid.issuance import home as ca_home
from acme_iid.issuance.ca import CertificateAuthority
from acme_iid.issuance.issuer import Issuer, Signer, key_id
from acme_iid.issuance.keys import CAFileError
from acme_iid.issuance.leaf import LeafRequest
from acme_iid.issuance.profiles import USAGES
from acme_iid.issuance.roots import Roots
from acme_iid.policy.namespace import Namespace
from acme_iid.protocol.identifiers import Identifier, dns, ip
from acme_iid.protocol.public_keys import PublicKey
from acme_iid.signing.places import FilePlace

NOW = 1_800_000_000
NAMESPACE = Namespace(("local",), frozenset({dns("ca.local"), ip("10.0.0.5")}))
DAY = 86400
LEAF_KEY = keys.generate().public_key()
ROOT = ceremony.create_root("My CA", NOW)
INTERMEDIATE = ceremony.create_intermediate(ROOT, "My CA", NOW)


@pytest.fixture
def authority() -> CertificateAuthority:
    return CertificateAuthority(Roots((ROOT.certificate,), {}), [Issuer(INTERMEDIATE, ROOT.certificate)])


def issue(authority: CertificateAuthority, *names: Identifier, key: PublicKey = LEAF_KEY) -> x509.Certificate:
    issued = authority.current.issue(LeafRequest(key, names or (dns("foo.local"),), NOW + DAY), NAMESPACE, NOW)
    return x509.load_der_x509_certificate(issued.der)


def extension(certificate: x509.Certificate, kind: type[x509.ExtensionType]) -> x509.Extension[x509.ExtensionType]:
    return certificate.extensions.get_extension_for_class(kind)


def write_home(home: Path, root: Signer, intermediate: Signer, password: str | None = None) -> None:
    ca_home.replace_roots(home, root.certificate)
    ca_home.keep_key(home, intermediate.key, password, waiting=False)
    ca_home.add(home, intermediate, ())


def test_the_root_lasts_ten_years_and_the_intermediate_five() -> None:
    # A root has no path length: the link to the next one stands below it.
    for issuer, name, years, path_length in (
        (ROOT, "My Root CA", 10, None),
        (INTERMEDIATE, "My Intermediate CA", 5, 0),
    ):
        certificate = issuer.certificate
        digits = x509.SubjectKeyIdentifier.from_public_key(issuer.key.public_key()).digest.hex()[:8]
        assert certificate.subject == x509.Name(
            [x509.NameAttribute(NameOID.COMMON_NAME, name), x509.NameAttribute(NameOID.SERIAL_NUMBER, digits)]
        )
        lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
        assert lifetime.days == years * 365
        constraints = extension(certificate, x509.BasicConstraints)
        assert constraints.critical
        assert constraints.value == x509.BasicConstraints(ca=True, path_length=path_length)
        usage = extension(certificate, x509.KeyUsage)
        assert usage.critical
        assert isinstance(usage.value, x509.KeyUsage)
        assert (usage.value.key_cert_sign, usage.value.crl_sign) == (True, True)
        # The intermediate signs OCSP answers itself.
        assert usage.value.digital_signature is (issuer is INTERMEDIATE)
        assert isinstance(issuer.key, ec.EllipticCurvePrivateKey)
        assert issuer.key.curve.name == "secp256r1"


@pytest.mark.parametrize(("name", "subject"), [("My CA", "My Root CA"), ("Acme", "Acme Root CA"), ("CA", "CA Root CA")])
def test_the_word_ca_stands_once_in_a_subject(name: str, subject: str) -> None:
    root = ceremony.create_root(name, NOW).certificate
    assert [entry.value for entry in root.subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == [subject]


def test_openssl_verifies_what_is_issued_and_sees_every_detail(authority: CertificateAuthority, tmp_path: Path) -> None:
    under = provisioner_extension.extension(4, "AWS IID Provisioner", "123456789042")
    names = [dns("foo.local"), dns("*.bar.local"), ip("10.0.0.1"), ip("2001:db8::1")]
    issued = authority.current.issue(LeafRequest(LEAF_KEY, names, NOW + DAY, provisioner=under), NAMESPACE, NOW)
    (tmp_path / "root").write_text(authority.root_pem)
    (tmp_path / "chain").write_text(issued.chain_pem)
    verify = ["openssl", "verify", "-x509_strict", "-attime", str(NOW), "-CAfile", str(tmp_path / "root")]
    for purpose in ("sslserver", "sslclient"):
        done = subprocess.run(
            [*verify, "-purpose", purpose, "-untrusted", str(tmp_path / "chain"), str(tmp_path / "chain")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    text = subprocess.run(
        ["openssl", "x509", "-in", tmp_path / "chain", "-noout", "-text"], capture_output=True, text=True, check=True
    ).stdout
    lines = [line.strip() for line in text.splitlines()]
    digits = x509.SubjectKeyIdentifier.from_public_key(INTERMEDIATE.key.public_key()).digest.hex()[:8]
    assert f"Issuer: CN = My Intermediate CA, serialNumber = {digits}" in lines
    assert "Subject: CN = foo.local" in lines
    assert lines[lines.index("X509v3 Basic Constraints: critical") + 1] == "CA:FALSE"
    assert lines[lines.index("X509v3 Key Usage: critical") + 1] == "Digital Signature"
    usage = lines[lines.index("X509v3 Extended Key Usage:") + 1]
    assert usage == "TLS Web Server Authentication, TLS Web Client Authentication"
    san = lines[lines.index("X509v3 Subject Alternative Name:") + 1]
    assert san == "DNS:foo.local, DNS:*.bar.local, IP Address:10.0.0.1, IP Address:2001:DB8:0:0:0:0:0:1"


def test_the_chain_is_the_leaf_and_then_the_intermediate(authority: CertificateAuthority) -> None:
    issued = authority.current.issue(LeafRequest(LEAF_KEY, [dns("foo.local")], NOW + DAY), NAMESPACE, NOW)
    leaf, intermediate = x509.load_pem_x509_certificates(issued.chain_pem.encode())
    assert leaf.public_bytes(Encoding.DER) == issued.der
    assert leaf.serial_number == issued.serial
    assert intermediate == INTERMEDIATE.certificate
    leaf.verify_directly_issued_by(intermediate)
    leaf_ski = x509.SubjectKeyIdentifier.from_public_key(LEAF_KEY)
    assert extension(leaf, x509.SubjectKeyIdentifier).value == leaf_ski
    aki, issuer_ski = extension(leaf, x509.AuthorityKeyIdentifier), extension(intermediate, x509.SubjectKeyIdentifier)
    assert isinstance(aki.value, x509.AuthorityKeyIdentifier)
    assert isinstance(issuer_ski.value, x509.SubjectKeyIdentifier)
    assert aki.value.key_identifier == issuer_ski.value.digest


def test_times_are_back_dated_by_a_minute_unless_asked_otherwise(authority: CertificateAuthority) -> None:
    issued = authority.current.issue(LeafRequest(LEAF_KEY, [dns("foo.local")], NOW + DAY), NAMESPACE, NOW)
    assert (issued.not_before, issued.not_after) == (NOW - 60, NOW + DAY)
    issued = authority.current.issue(
        LeafRequest(LEAF_KEY, [dns("foo.local")], NOW + DAY, not_before=NOW + 100), NAMESPACE, NOW
    )
    certificate = x509.load_der_x509_certificate(issued.der)
    assert (issued.not_before, issued.not_after) == (NOW + 100, NOW + DAY)
    assert certificate.not_valid_before_utc.timestamp() == NOW + 100
    assert certificate.not_valid_after_utc.timestamp() == NOW + DAY


def test_nothing_outlives_the_intermediate(authority: CertificateAuthority) -> None:
    end = int(INTERMEDIATE.certificate.not_valid_after_utc.timestamp())
    issued = authority.current.issue(LeafRequest(LEAF_KEY, [dns("foo.local")], end + DAY), NAMESPACE, end - 10)
    assert issued.not_after == end
    for not_before, now in ((None, end + 1), (None, end), (end, end - 10)):
        with pytest.raises(AcmeError, match="the CA's intermediate certificate is at its end") as caught:
            authority.current.issue(LeafRequest(LEAF_KEY, [dns("foo.local")], end + DAY, not_before), NAMESPACE, now)
        assert caught.value.problem is Problem.SERVER_INTERNAL


@pytest.mark.parametrize(
    ("key", "encipherment"),
    [
        (rsa.generate_private_key(65537, 2048).public_key(), True),
        (ed25519.Ed25519PrivateKey.generate().public_key(), False),
        (LEAF_KEY, False),
    ],
    ids=["rsa", "ed25519", "ecdsa"],
)
def test_the_key_usage_follows_the_kind_of_key(
    authority: CertificateAuthority, key: PublicKey, encipherment: bool
) -> None:
    usage = extension(issue(authority, key=key), x509.KeyUsage)
    assert usage.critical
    assert isinstance(usage.value, x509.KeyUsage)
    assert (usage.value.digital_signature, usage.value.key_encipherment) == (True, encipherment)
    assert not usage.value.key_cert_sign


def test_a_name_too_long_for_a_subject_is_in_critical_alternatives_alone(
    authority: CertificateAuthority,
) -> None:
    fits, too_long = dns(f"{'a' * 58}.local"), dns(f"{'a' * 59}.local")
    assert (len(fits.value), len(too_long.value)) == (64, 65)
    short, long = issue(authority, fits), issue(authority, too_long, fits)
    assert short.subject.rfc4514_string() == f"CN={fits}"
    assert not extension(short, x509.SubjectAlternativeName).critical
    assert long.subject == x509.Name([])
    names = extension(long, x509.SubjectAlternativeName)
    assert names.critical
    assert names.value == x509.SubjectAlternativeName([x509.DNSName(too_long.value), x509.DNSName(fits.value)])


def test_an_address_is_written_as_one_and_is_no_common_name(authority: CertificateAuthority) -> None:
    certificate = issue(authority, ip("10.0.0.1"))
    address = x509.IPAddress(ipaddress.ip_address("10.0.0.1"))
    found = extension(certificate, x509.SubjectAlternativeName)
    assert found.value == x509.SubjectAlternativeName([address])
    assert (certificate.subject, found.critical) == (x509.Name([]), True)


def test_the_common_name_is_the_first_dns_name(authority: CertificateAuthority) -> None:
    certificate = issue(authority, ip("10.0.0.1"), dns("foo.local"), dns("bar.local"))
    assert certificate.subject.rfc4514_string() == "CN=foo.local"
    assert not extension(certificate, x509.SubjectAlternativeName).critical


@pytest.mark.parametrize("name", [dns("ca.local"), dns("*.local"), ip("10.0.0.5"), ip("::ffff:10.0.0.5")], ids=str)
def test_no_certificate_is_signed_for_the_cas_own_names(authority: CertificateAuthority, name: Identifier) -> None:
    with pytest.raises(AcmeError, match="is reserved") as caught:
        issue(authority, dns("foo.local"), name)
    assert caught.value.problem is Problem.REJECTED_IDENTIFIER
    assert [fault.identifier for fault in caught.value.subproblems] == [name]


def test_only_the_cas_own_serving_certificate_has_the_mark(authority: CertificateAuthority) -> None:
    issued = authority.current.issue_serving(LEAF_KEY, [dns("ca.local"), ip("10.0.0.5")], NOW + DAY, NOW)
    serving = x509.load_der_x509_certificate(issued.der)
    mark = x509.ObjectIdentifier(SERVING_MARK)
    assert extension(serving, x509.ExtendedKeyUsage).value == x509.ExtendedKeyUsage(
        [ExtendedKeyUsageOID.SERVER_AUTH, mark]
    )
    purposes = extension(issue(authority), x509.ExtendedKeyUsage).value
    assert purposes == x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    # Nor is there a word by which a profile, or anything else that issues, could ask for it.
    assert mark not in USAGES.values()


def test_serials_are_random_and_128_bits_long(authority: CertificateAuthority) -> None:
    serials = [issue(authority).serial_number for _ in range(64)]
    assert len(set(serials)) == 64
    assert max(serials) < 1 << 128
    # That none of 64 has one of its highest two bits set happens once in 2^128.
    assert max(serials) >= 1 << 126
    # and that all agree in some bit of the lowest hundred, once in 2^57.
    ones, zeros = serials[0], ~serials[0]
    for serial in serials:
        ones, zeros = ones & serial, zeros & ~serial
    assert (ones | zeros) & ((1 << 100) - 1) == 0


def test_it_is_loaded_from_its_home_without_the_roots_key(tmp_path: Path) -> None:
    write_home(tmp_path, ROOT, INTERMEDIATE, "hunter2")
    authority = ca_home.load(tmp_path, "hunter2")
    assert authority.root_fingerprint == ROOT.certificate.fingerprint(hashes.SHA256()).hex()
    assert authority.root_pem.encode() == ROOT.certificate.public_bytes(Encoding.PEM)
    assert authority.own_keys == {
        hashlib.sha256(issuer.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
        for issuer in (ROOT, INTERMEDIATE)
    }
    issue(authority).verify_directly_issued_by(INTERMEDIATE.certificate)
    with pytest.raises(CAFileError, match="is encrypted"):
        ca_home.load(tmp_path)


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    other_root = ceremony.create_root("My CA", NOW)
    (tmp_path / "a").mkdir()
    write_home(tmp_path / "a", other_root, INTERMEDIATE)
    with pytest.raises(CAFileError, match=r"chain\.pem leads to no root in .*root_ca\.crt"):
        ca_home.load(tmp_path / "a")
    (tmp_path / "b").mkdir()
    write_home(tmp_path / "b", ROOT, INTERMEDIATE)
    (tmp_path / "b" / ca_home.key_file_of(key_id(INTERMEDIATE.certificate.public_key()))).write_bytes(
        keys.to_pem(keys.generate())
    )
    with pytest.raises(CAFileError, match="is not the key of"):
        ca_home.load(tmp_path / "b")


def test_an_end_entity_certificate_is_no_intermediate(authority: CertificateAuthority, tmp_path: Path) -> None:
    key = keys.generate()
    leaf = issue(authority, key=key.public_key())
    write_home(tmp_path, INTERMEDIATE, Signer(leaf, key))
    with pytest.raises(CAFileError, match="is no CA certificate with a key identifier"):
        ca_home.load(tmp_path)


def test_a_root_whose_key_is_not_acceptable_is_refused(tmp_path: Path) -> None:
    key, of = rsa.generate_private_key(3, 2048), ROOT.certificate
    root = x509.CertificateBuilder(
        of.issuer, of.subject, key.public_key(), 1, of.not_valid_before_utc, of.not_valid_after_utc, list(of.extensions)
    ).sign(key, hashes.SHA256())
    write_home(tmp_path, Signer(root, key), ceremony.create_intermediate(Signer(root, key), "My CA", NOW))
    with pytest.raises(CAFileError, match="has a key that no CA signs with: the RSA key's public exponent"):
        ca_home.load(tmp_path)


FOLDER = ca_home.folder_of(key_id(INTERMEDIATE.certificate.public_key()))


@pytest.mark.parametrize(
    "path", [ca_home.ROOT_CERTIFICATE, FOLDER / ca_home.CERTIFICATE, FOLDER / ca_home.CHAIN], ids=lambda path: path.name
)
def test_a_missing_or_broken_certificate_is_named(tmp_path: Path, path: Path) -> None:
    write_home(tmp_path, ROOT, INTERMEDIATE)
    (tmp_path / path).write_text("junk")
    with pytest.raises(CAFileError, match=f"{path} holds no readable certificate"):
        ca_home.load(tmp_path)
    (tmp_path / path).unlink()
    with pytest.raises(CAFileError, match=f"{path} cannot be read: No such file"):
        ca_home.load(tmp_path)


def pem(*chain: x509.Certificate) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain)


BETWEEN = Signer(ceremony.link(ROOT, (other := ceremony.create_root("Between", NOW)).certificate, NOW), other.key)
BELOW = ceremony.create_intermediate(BETWEEN, "Below", NOW)


def test_a_chain_over_several_cas_is_loaded_and_handed_out(tmp_path: Path) -> None:
    ca_home.replace_roots(tmp_path, ROOT.certificate)
    ca_home.keep_key(tmp_path, BELOW.key, None, waiting=False)
    ca_home.add(tmp_path, BELOW, [BETWEEN.certificate])
    issuer = ca_home.load(tmp_path).current
    assert issuer.chain_pem.encode() == pem(BELOW.certificate, BETWEEN.certificate)
    assert (issuer.above, issuer.root) == ((BETWEEN.certificate,), ROOT.certificate)
    assert len(issuer.own_keys) == 3


@pytest.mark.parametrize(
    ("chain", "reason"),
    [
        ((BETWEEN.certificate,), r"does not begin with the certificate in .*certificate\.pem"),
        ((BELOW.certificate,), r"leads to no root in .*root_ca\.crt"),
        ((BELOW.certificate, INTERMEDIATE.certificate), "is no chain: .*CN=Below Intermediate CA was not signed by"),
    ],
)
def test_a_chain_that_leads_from_no_issuer_to_a_root_is_refused(
    tmp_path: Path, chain: tuple[x509.Certificate, ...], reason: str
) -> None:
    ca_home.replace_roots(tmp_path, ROOT.certificate)
    ca_home.keep_key(tmp_path, BELOW.key, None, waiting=False)
    ca_home.add(tmp_path, BELOW, [BETWEEN.certificate])
    (tmp_path / ca_home.folder_of(key_id(BELOW.certificate.public_key())) / ca_home.CHAIN).write_bytes(pem(*chain))
    with pytest.raises(CAFileError, match=reason):
        ca_home.load(tmp_path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("key =", "is no TOML"),
        ("", r'does not say where the key is; write key = "file:secrets/NAME"'),
        ('key = "file:"', "does not say where the key is"),
        ('key = "pkcs11:token=CA"', "does not say where the key is"),
        ("key = 1", "does not say where the key is"),
        ('key = "file:secrets/key"\nkeys = 1', "has keys that are not known: keys; 'key' is the only one"),
        ('key = "file:secrets/elsewhere"', "elsewhere cannot be read: No such file"),
    ],
)
def test_an_issuers_description_says_where_its_key_is(tmp_path: Path, text: str, reason: str) -> None:
    write_home(tmp_path, ROOT, INTERMEDIATE)
    (tmp_path / FOLDER / ca_home.DESCRIPTION).write_text(text)
    with pytest.raises(CAFileError, match=reason):
        ca_home.load(tmp_path)


def test_a_key_may_be_outside_of_the_home(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    write_home(tmp_path / "home", ROOT, INTERMEDIATE)
    (key,) = (tmp_path / "home/secrets").iterdir()
    elsewhere = key.rename(tmp_path / "elsewhere")
    (tmp_path / "home" / FOLDER / ca_home.DESCRIPTION).write_text(key_places.text(FilePlace(elsewhere)))
    assert ca_home.load(tmp_path / "home").current.signer.key.public_key() == INTERMEDIATE.key.public_key()
    assert elsewhere in ca_home.issuer_files(tmp_path / "home")


def test_an_issuer_is_added_whole_and_once(tmp_path: Path) -> None:
    write_home(tmp_path, ROOT, INTERMEDIATE)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(FileExistsError):
        ca_home.add(tmp_path, INTERMEDIATE, ())
    assert sorted(tmp_path.rglob("*")) == before
    assert len(ca_home.load(tmp_path).issuers) == 1


def test_a_home_without_an_issuer_says_what_to_do(tmp_path: Path) -> None:
    ca_home.replace_roots(tmp_path, ROOT.certificate)
    with pytest.raises(CAFileError, match="holds no issuer: the CA's request was not answered yet"):
        ca_home.load(tmp_path)
