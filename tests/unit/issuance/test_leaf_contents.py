"""What the CA writes itself, held against what the cryptography package's builder and OpenSSL make of the same."""

from __future__ import annotations

import ipaddress
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID
from hypothesis import example, given, settings
from hypothesis import strategies as st

from acme_iid.binding import SERVING_MARK
from acme_iid.issuance import ceremony, keys, profiles, provisioner_extension
from acme_iid.issuance.issuer import Issuer, Signer, sign, signature_hash
from acme_iid.issuance.keys import PrivateKey
from acme_iid.issuance.leaf import MAX_NUMBER, LeafRequest, StatusURLs, Template, new_serial, number_of
from acme_iid.policy.namespace import Namespace
from acme_iid.protocol.identifiers import Identifier, dns, ip
from acme_iid.protocol.public_keys import PublicKey

NOW = 1_800_000_000
DAY = 86400
ROOT = ceremony.create_root("My CA", NOW)


def moment(text: str) -> int:
    """Seconds since the epoch."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


FIRST, LAST = moment("1950-01-01"), moment("9999-12-31T23:59:59")
TURN = moment("2050-01-01")
"""The first second that is written with four digits of its year."""


def intermediate(key: PrivateKey, *names: tuple[x509.ObjectIdentifier, str]) -> Signer:
    """An intermediate under the root, as operators bring their own."""
    start = datetime.fromtimestamp(NOW - 60, UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(oid, value) for oid, value in names]))
        .issuer_name(ROOT.certificate.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=365))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(ROOT.key_identifier, critical=False)
        .sign(ROOT.key, hashes.SHA256())
    )
    return Signer(certificate, key)


SIGNERS = {
    "P-256": ceremony.create_intermediate(ROOT, "My CA", NOW),
    "P-384": intermediate(
        ec.generate_private_key(ec.SECP384R1()),
        (NameOID.COUNTRY_NAME, "DE"),
        (NameOID.ORGANIZATION_NAME, "Züricher Äpfel"),
        (NameOID.COMMON_NAME, "Issuing CA"),
    ),
    "RSA": intermediate(
        rsa.generate_private_key(65537, 2048),
        (NameOID.DOMAIN_COMPONENT, "local"),
        (NameOID.EMAIL_ADDRESS, "ca@foo.local"),
    ),
    "Ed25519": intermediate(ed25519.Ed25519PrivateKey.generate(), (NameOID.COMMON_NAME, "E" * 64)),
}
KEYS: dict[str, PublicKey] = {
    "P-256": keys.generate().public_key(),
    "P-384": ec.generate_private_key(ec.SECP384R1()).public_key(),
    "P-521": ec.generate_private_key(ec.SECP521R1()).public_key(),
    "RSA": rsa.generate_private_key(65537, 2048).public_key(),
    "Ed25519": ed25519.Ed25519PrivateKey.generate().public_key(),
}
OF_THE_SERVER = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, x509.ObjectIdentifier(SERVING_MARK)])

labels = st.from_regex(r"[a-z0-9]([a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)
hosts = st.lists(labels, min_size=0, max_size=3).map(lambda parts: ".".join([*parts, "local"]))
names = st.one_of(
    hosts.filter(lambda name: len(name) < 250).map(dns),
    hosts.filter(lambda name: len(name) < 250).map(lambda name: dns(f"*.{name}")),
    st.sampled_from(
        ["xn--bcher-kva.local", "*.xn--zrich-kva.xn--fiqs8s", f"{'a' * 58}.local", f"{'a' * 59}.local"]
    ).map(dns),
    st.ip_addresses().map(lambda address: ip(str(address).partition("%")[0])),
)
seconds = st.one_of(st.integers(FIRST, LAST), st.integers(TURN - 3, TURN + 3), st.integers(NOW, NOW + 800 * DAY))
urls = st.integers(1, 300).map(lambda size: StatusURLs(*(f"http://ca.local/{'a' * size}/{end}" for end in "coi")))
words = st.text(min_size=0, max_size=150).filter(lambda text: text.isprintable())
requests = st.builds(
    LeafRequest,
    public_key=st.sampled_from(list(KEYS.values())),
    identifiers=st.one_of(st.lists(names, min_size=1, max_size=4), st.lists(names, min_size=90, max_size=110)),
    not_after=st.just(0),
    provisioner=st.none() | st.builds(provisioner_extension.extension, st.sampled_from([4, 6]), words, words),
    key_usages=st.lists(st.sampled_from(profiles.KEY_USAGES), min_size=1, unique=True).map(tuple),
    status=st.none() | urls,
)
purposes = st.one_of(
    st.just(OF_THE_SERVER),
    st.lists(st.sampled_from(list(profiles.USAGES)), min_size=1, unique=True).map(profiles.extended_key_usage),
)


def general_name(name: Identifier) -> x509.GeneralName:
    """A name as the builder takes it."""
    return x509.IPAddress(ipaddress.ip_address(name.value)) if name.type == "ip" else x509.DNSName(name.value)


def built(
    under: Signer, request: LeafRequest, purpose: x509.ExtendedKeyUsage, serial: int, validity: Sequence[int]
) -> x509.Certificate:
    """The certificate that the cryptography package's builder makes."""
    first = next((name.value for name in request.identifiers if name.type == "dns"), "")
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, first)] if 0 < len(first) <= 64 else []
    starts, ends = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=value) for value in validity)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(subject))
        .issuer_name(under.certificate.subject)
        .public_key(request.public_key)
        .serial_number(serial)
        .not_valid_before(starts)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(profiles.key_usage(request.key_usages, request.public_key), critical=True)
        .add_extension(purpose, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(request.public_key), critical=False)
        .add_extension(under.key_identifier, critical=False)
        .add_extension(x509.SubjectAlternativeName(map(general_name, request.identifiers)), critical=not subject)
    )
    if (status := request.status) is not None:
        point = x509.DistributionPoint([x509.UniformResourceIdentifier(status.crl)], None, None, None)
        access = [
            x509.AccessDescription(method, x509.UniformResourceIdentifier(url))
            for method, url in (
                (AuthorityInformationAccessOID.OCSP, status.ocsp),
                (AuthorityInformationAccessOID.CA_ISSUERS, status.issuer),
            )
        ]
        builder = builder.add_extension(x509.CRLDistributionPoints([point]), critical=False)
        builder = builder.add_extension(x509.AuthorityInformationAccess(access), critical=False)
    if request.provisioner is not None:
        builder = builder.add_extension(request.provisioner, critical=False)
    return builder.sign(under.key, signature_hash(under.key))


EXAMPLE = LeafRequest(KEYS["P-256"], [dns("foo.local")], 0)


@given(
    under=st.sampled_from(list(SIGNERS.values())),
    request=requests,
    purpose=purposes,
    serial=st.one_of(st.integers(1, (1 << 159) - 1), st.integers(0, 158).map(lambda bit: 1 << bit)),
    validity=st.tuples(seconds, seconds).map(sorted),
)
@example(SIGNERS["RSA"], EXAMPLE, OF_THE_SERVER, (1 << 159) - 1, [TURN - 1, TURN])
@example(SIGNERS["P-256"], EXAMPLE, OF_THE_SERVER, 127, [FIRST, LAST])
@example(SIGNERS["Ed25519"], EXAMPLE, OF_THE_SERVER, 128, [TURN, TURN])
@settings(deadline=None, max_examples=100)
def test_a_certificate_is_written_as_the_builder_writes_it(
    under: Signer, request: LeafRequest, purpose: x509.ExtendedKeyUsage, serial: int, validity: list[int]
) -> None:
    template = Template(under.certificate, under.key_identifier)
    tbs = template.to_be_signed(request, purpose, serial, *validity)
    expected = built(under, request, purpose, serial, validity)
    assert tbs == expected.tbs_certificate_bytes
    # The whole certificate too, around the same signature, which is another one each time with ECDSA.
    assert template.signed(tbs, expected.signature) == expected.public_bytes(Encoding.DER)
    own = x509.load_der_x509_certificate(template.signed(tbs, sign(under, tbs)))
    own.verify_directly_issued_by(under.certificate)


@pytest.mark.parametrize("when", [FIRST - 1, LAST + 1], ids=["1949", "10000"])
def test_a_time_that_no_certificate_can_name_is_refused(when: int) -> None:
    template = Template(SIGNERS["P-256"].certificate, SIGNERS["P-256"].key_identifier)
    with pytest.raises(ValueError, match=r"before 1950|out of range"):
        template.to_be_signed(EXAMPLE, OF_THE_SERVER, 1, min(when, NOW), max(when, NOW))


@given(number=st.integers(1, MAX_NUMBER))
@example(1)
@example(MAX_NUMBER)
def test_a_serial_number_holds_the_orders_number(number: int) -> None:
    serials = [new_serial(number) for _ in range(3)]
    assert [number_of(serial) for serial in serials] == [number] * 3
    assert len(set(serials)) == 3
    for serial in serials:
        assert 0 < serial < 1 << 159


def test_a_serial_number_with_an_orders_has_95_random_bits() -> None:
    parts = [new_serial(MAX_NUMBER) >> 64 for _ in range(128)]
    ones = zeros = 0
    for part in parts:
        assert part < 1 << 95
        ones, zeros = ones | part, zeros | ~part
    # Each bit is one in some and zero in some: that one of 95 is not happens once in 2^120.
    assert ones & zeros == (1 << 95) - 1


@pytest.mark.parametrize("number", [0, -1, MAX_NUMBER + 1, 1 << 64])
def test_no_serial_number_holds_a_number_out_of_bounds(number: int) -> None:
    with pytest.raises(ValueError, match="an order's number is between 1 and 999999999999999999"):
        new_serial(number)


@pytest.mark.parametrize(
    "serial",
    [0, -1, 1 << 64, (1 << 64) + MAX_NUMBER + 1, (1 << 159) + 5, -(1 << 70) + 5],
    ids=["zero", "negative", "number zero", "number too large", "too long", "negative with a number"],
)
def test_a_serial_number_that_holds_no_number_says_so(serial: int) -> None:
    assert number_of(serial) is None


def openssl(*arguments: str | Path, stdin: bytes | None = None) -> bytes:
    """What OpenSSL writes; it must not fail."""
    done = subprocess.run(["openssl", *arguments], input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def request_with_everything(key: PublicKey) -> LeafRequest:
    return LeafRequest(
        key,
        [dns("foo.local"), dns("*.xn--bcher-kva.local"), ip("10.0.0.1"), ip("2001:db8::1")],
        NOW + DAY,
        provisioner=provisioner_extension.extension(4, "aws", "123456789042"),
        status=StatusURLs("http://ca.local/crl", "http://ca.local/ocsp", "http://ca.local/issuer.cer"),
        number=4711,
    )


@pytest.mark.parametrize("kind", SIGNERS)
@pytest.mark.parametrize("key", KEYS)
def test_openssl_verifies_a_certificate_of_each_kind_of_issuer(kind: str, key: str, tmp_path: Path) -> None:
    issued = Issuer(SIGNERS[kind], ROOT.certificate).issue(request_with_everything(KEYS[key]), Namespace(), NOW)
    assert number_of(issued.serial) == 4711
    (tmp_path / "root").write_bytes(ROOT.certificate.public_bytes(Encoding.PEM))
    (tmp_path / "chain").write_text(issued.chain_pem)
    (tmp_path / "leaf").write_bytes(issued.der)
    for purpose in ("sslserver", "sslclient"):
        openssl(
            "verify", "-attime", str(NOW), "-CAfile", tmp_path / "root", "-purpose", purpose,
            "-untrusted", tmp_path / "chain", tmp_path / "chain",
        )  # fmt: skip
    text = openssl("x509", "-in", tmp_path / "chain", "-noout", "-text", "-serial").decode()
    # Whole octets, and as many as there are.
    octets = issued.serial.to_bytes((issued.serial.bit_length() + 7) // 8, "big")
    assert f"serial={octets.hex().upper()}" in text.splitlines()
    for line in (
        "DNS:foo.local, DNS:*.xn--bcher-kva.local, IP Address:10.0.0.1, IP Address:2001:DB8:0:0:0:0:0:1",
        "URI:http://ca.local/crl",
        "OCSP - URI:http://ca.local/ocsp",
        "CA Issuers - URI:http://ca.local/issuer.cer",
        "1.3.6.1.4.1.37476.9000.64.1:",
    ):
        assert line in text
    assert b"error" not in openssl("asn1parse", "-inform", "DER", "-in", tmp_path / "leaf").lower()


@pytest.mark.parametrize("kind", ["P-256", "P-384", "RSA"])
def test_another_program_can_sign_what_was_prepared(kind: str, tmp_path: Path) -> None:
    under = SIGNERS[kind]
    issuer = Issuer(under, ROOT.certificate)
    unsigned = issuer.prepare(request_with_everything(KEYS["P-256"]), Namespace(), NOW)
    key = tmp_path / "key"
    key.write_bytes(keys.to_pem(under.key))
    signature = openssl("dgst", "-sha256", "-sign", key, stdin=unsigned.tbs)
    issued = issuer.complete(unsigned, signature)
    certificate, above = x509.load_pem_x509_certificates(issued.chain_pem.encode())
    certificate.verify_directly_issued_by(above)
    assert certificate.public_bytes(Encoding.DER) == issued.der
    assert (issued.serial, issued.not_before, issued.not_after) == (
        certificate.serial_number,
        int(certificate.not_valid_before_utc.timestamp()),
        int(certificate.not_valid_after_utc.timestamp()),
    )
