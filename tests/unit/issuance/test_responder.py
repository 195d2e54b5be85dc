"""OCSP responders: one for each issuer, renewed by itself, and never one that clients refuse."""

from __future__ import annotations

import logging
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from acme_iid.issuance import ceremony, keys, responder
from acme_iid.issuance.issuer import Signer
from acme_iid.issuance.responder import LIFETIME, ResponderError, Responders

NOW = 1_800_000_000
DAY = 86400
ROOT = ceremony.create_root("My CA", NOW)
ISSUER = ceremony.create_intermediate(ROOT, "My CA", NOW)
OTHER = ceremony.create_intermediate(ROOT, "My CA", NOW)


@dataclass
class Home:
    """A home with one issuer's responder."""

    path: Path

    @property
    def file(self) -> Path:
        (found,) = (self.path / "secrets").iterdir()
        return found

    def responders(self) -> Responders:
        """Those of a process of its own."""
        return Responders(self.path, None)

    def swap(self, certificate: x509.Certificate, key: keys.PrivateKey) -> None:
        self.file.write_bytes(keys.to_pem(key) + certificate.public_bytes(Encoding.PEM))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    (tmp_path / "secrets").mkdir()
    home = Home(tmp_path)
    home.responders().of(ISSUER.certificate, ISSUER, NOW)
    return home


def test_the_certificate_says_what_a_responders_has_to(home: Home) -> None:
    found = home.responders().of(ISSUER.certificate, ISSUER, NOW)
    certificate = found.signer.certificate
    extensions = certificate.extensions
    assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.OCSP_SIGNING]
    assert extensions.get_extension_for_class(x509.OCSPNoCheck)
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert (usage.critical, usage.value.digital_signature, usage.value.key_cert_sign) == (True, True, False)
    with pytest.raises(x509.ExtensionNotFound):
        extensions.get_extension_for_class(x509.BasicConstraints)
    assert (found.begins, found.ends) == (NOW - 60, NOW + LIFETIME)
    assert certificate.public_key() == found.signer.key.public_key() != ISSUER.key.public_key()


def test_the_file_is_private_and_all_processes_use_it(home: Home) -> None:
    assert stat.S_IMODE(home.file.stat().st_mode) == 0o600
    first, second = (home.responders().of(ISSUER.certificate, ISSUER, NOW + DAY) for _ in range(2))
    assert first.signer.certificate == second.signer.certificate


def test_it_is_renewed_when_half_of_its_life_is_left(home: Home) -> None:
    responders = home.responders()
    first = responders.of(ISSUER.certificate, ISSUER, NOW)
    assert responders.of(ISSUER.certificate, ISSUER, NOW + LIFETIME // 2 - 60) == first
    second = responders.of(ISSUER.certificate, ISSUER, NOW + LIFETIME // 2)
    assert second.ends == NOW + LIFETIME // 2 + LIFETIME
    # A process that had the former one takes up the new one.
    other = home.responders()
    assert other.of(ISSUER.certificate, ISSUER, NOW + LIFETIME // 2).signer.certificate == second.signer.certificate


def test_another_processs_renewal_is_seen_at_once(home: Home) -> None:
    mine, others = home.responders(), home.responders()
    before = mine.of(ISSUER.certificate, ISSUER, NOW)
    renewed = others.of(ISSUER.certificate, ISSUER, NOW, NOW + 30 * DAY)
    assert before.ends < renewed.ends
    assert mine.of(ISSUER.certificate, ISSUER, NOW).signer.certificate == renewed.signer.certificate


def test_processes_that_need_one_at_once_make_one(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    processes = [Responders(tmp_path, None) for _ in range(8)]

    def ask(one: Responders) -> x509.Certificate:
        one.of(ISSUER.certificate, ISSUER, NOW)
        return one.of(ISSUER.certificate, ISSUER, NOW).signer.certificate

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(ask, processes))) == 1


def test_it_ends_with_its_issuer_and_is_not_made_anew_then(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    short = ceremony.create_intermediate(ROOT, "My CA", NOW, lifetime=2 * DAY)
    responders = Responders(tmp_path, None)
    first = responders.of(short.certificate, short, NOW)
    assert first.ends == short.certificate.not_valid_after_utc.timestamp()
    assert responders.of(short.certificate, short, NOW + 2 * DAY - 120) == first
    with pytest.raises(ResponderError, match="has ended, and so have all that it has signed"):
        responders.of(short.certificate, short, NOW + 2 * DAY)


def test_it_lasts_as_long_as_is_needed_without_the_issuers_key_too(home: Home) -> None:
    until = NOW + 90 * DAY
    assert home.responders().of(ISSUER.certificate, ISSUER, NOW, until).ends == until
    for now in (NOW, until - 1):
        assert home.responders().of(ISSUER.certificate, None, now, until + DAY).ends == until
    with pytest.raises(ResponderError, match=r"whose key is not here: .*: its certificate has ended, at 2027"):
        home.responders().of(ISSUER.certificate, None, until)


def made(
    issuer: Signer = ISSUER,
    *,
    begins: int = NOW - 60,
    nocheck: bool = True,
    purpose: bool | None = True,
    usage: bool = True,
) -> Signer:
    """A responder that is in order, but for what a test changes in it."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Responder")]))
        .issuer_name(issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(begins, UTC))
        .not_valid_after(datetime.fromtimestamp(begins + LIFETIME, UTC))
    )
    if nocheck:
        builder = builder.add_extension(x509.OCSPNoCheck(), critical=False)
    if purpose is not None:
        of = ExtendedKeyUsageOID.OCSP_SIGNING if purpose else ExtendedKeyUsageOID.SERVER_AUTH
        builder = builder.add_extension(x509.ExtendedKeyUsage([of]), critical=False)
    signing = x509.KeyUsage(usage, not usage, False, False, False, False, False, False, False)
    builder = builder.add_extension(signing, critical=True)
    return Signer(builder.sign(issuer.key, hashes.SHA256()), key)


BAD: dict[str, tuple[Callable[[], Signer], str]] = {
    "without nocheck": (lambda: made(nocheck=False), "lacks id-pkix-ocsp-nocheck"),
    "ended": (lambda: made(begins=NOW - LIFETIME), "has ended, at 2027-01-15"),
    "to come": (lambda: made(begins=NOW + DAY), "is not valid yet: it begins at"),
    "of another issuer": (lambda: made(OTHER), "was signed by"),
    "for TLS": (lambda: made(purpose=False), "lacks OCSPSigning"),
    "for no purpose": (lambda: made(purpose=None), "lacks OCSPSigning"),
    "without digitalSignature": (lambda: made(usage=False), "lacks digitalSignature"),
    "the issuer itself": (lambda: ISSUER, "was signed by"),
}


def test_one_that_is_in_order_is_used_whoever_made_it(home: Home) -> None:
    swapped = made()
    home.swap(*swapped)
    assert home.responders().of(ISSUER.certificate, ISSUER, NOW).signer.certificate == swapped.certificate


@pytest.mark.parametrize("bad", BAD)
def test_one_that_clients_refuse_is_replaced_with_a_line_in_the_log(
    home: Home, caplog: pytest.LogCaptureFixture, bad: str
) -> None:
    make, reason = BAD[bad]
    responders = home.responders()
    responders.of(ISSUER.certificate, ISSUER, NOW)
    swapped = make()
    home.swap(*swapped)
    certificate, said = responder.look(home.path, ISSUER.certificate, NOW)
    assert (certificate, reason in (said or "")) == (swapped.certificate, True)
    found = responders.of(ISSUER.certificate, ISSUER, NOW).signer
    assert found.certificate not in (swapped.certificate, ISSUER.certificate)
    assert responder.refusal(found.certificate, ISSUER.certificate, NOW) is None
    (line,) = caplog.records
    assert (line.levelno, reason in line.getMessage()) == (logging.ERROR, True)
    assert responder.look(home.path, ISSUER.certificate, NOW) == (found.certificate, None)


@pytest.mark.parametrize("bad", BAD)
def test_without_the_issuers_key_there_is_no_answer_by_another_one(home: Home, bad: str) -> None:
    make, reason = BAD[bad]
    home.swap(*make())
    with pytest.raises(ResponderError, match=reason):
        home.responders().of(ISSUER.certificate, None, NOW)
    home.file.unlink()
    with pytest.raises(ResponderError, match="there is none"):
        home.responders().of(ISSUER.certificate, None, NOW)


def test_a_key_that_is_not_the_certificates_is_not_used(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    home.swap(made().certificate, made().key)
    assert home.responders().of(ISSUER.certificate, ISSUER, NOW)
    assert "its key is not its certificate's" in caplog.text


@pytest.mark.parametrize("content", [b"", b"nonsense", keys.to_pem(ISSUER.key)])
def test_a_file_that_cannot_be_read_is_replaced(home: Home, caplog: pytest.LogCaptureFixture, content: bytes) -> None:
    home.file.write_bytes(content)
    found = home.responders().of(ISSUER.certificate, ISSUER, NOW)
    assert responder.look(home.path, ISSUER.certificate, NOW) == (found.signer.certificate, None)
    assert "A new one was made." in caplog.text


def test_a_file_that_others_can_read_is_replaced(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    before = home.responders().of(ISSUER.certificate, ISSUER, NOW)
    home.file.chmod(0o644)
    after = home.responders().of(ISSUER.certificate, ISSUER, NOW)
    assert (after.signer.certificate == before.signer.certificate, stat.S_IMODE(home.file.stat().st_mode)) == (
        False,
        0o600,
    )
    assert "is open to other users" in caplog.text


def test_where_nothing_can_be_written_a_process_has_its_own(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    responders = Responders(tmp_path / "nowhere", None)
    first = responders.of(ISSUER.certificate, ISSUER, NOW)
    assert responders.of(ISSUER.certificate, ISSUER, NOW + DAY) == first
    assert "cannot be kept" in caplog.text
    assert not (tmp_path / "nowhere").exists()


def test_its_key_is_stored_under_the_password_of_the_others(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    first = Responders(tmp_path, "secret").of(ISSUER.certificate, ISSUER, NOW)
    assert "BEGIN ENCRYPTED PRIVATE KEY" in Home(tmp_path).file.read_text()
    assert Responders(tmp_path, "secret").of(ISSUER.certificate, ISSUER, NOW).signer.certificate == (
        first.signer.certificate
    )
