"""The example for AWS KMS signs: it sends digests, however long the text is, and passes on what KMS says."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from signing import kms
from signing.kms import KMS
from signing.programs import answers_soon

from acme_iid.errors import SignerError
from acme_iid.signing import signers
from acme_iid.signing.keys import ForeignKey
from acme_iid.signing.places import PlaceError, ProgramPlace

NOW, LATER = datetime(2030, 1, 1, tzinfo=UTC), datetime(2030, 1, 2, tzinfo=UTC)
NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "A CA")])


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KMS]:
    with kms.serve(tmp_path_factory.mktemp("kms") / "service") as service:
        service.make_key("ECC_NIST_P256")
        service.make_key("RSA_3072", "alias/rsa")
        service.make_key("ECC_SECG_P256K1", "alias/coin")
        yield service


@pytest.fixture
def service(running: KMS, monkeypatch: pytest.MonkeyPatch) -> KMS:
    for name, value in running.environment.items():
        monkeypatch.setenv(name, value)
    (running.folder / "requests").write_text("")
    running.recover()
    return running


@pytest.fixture
def key(service: KMS) -> Iterator[ForeignKey]:
    opened = signers.open_key(service.place, signers.public_key(service.place))
    yield opened
    signers.close(opened)


def revocation_list(entries: int, key: ForeignKey) -> x509.CertificateRevocationList:
    builder = x509.CertificateRevocationListBuilder(NAME, NOW, LATER)
    for serial in range(entries):
        entry = x509.RevokedCertificateBuilder(2**150 + serial, NOW - timedelta(hours=serial)).build()
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(key, hashes.SHA256())


@pytest.mark.parametrize(("entries", "least"), [(0, 0), (200, 4_096), (1_000, 16 * 1024), (30_000, 1_000_000)])
def test_kms_gets_a_digest_however_long_the_list_is(service: KMS, key: ForeignKey, entries: int, least: int) -> None:
    """Whole texts were sent once, until the list had more than 4,096 bytes (serverless-ca/terraform-aws-ca #606)."""
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    crl = revocation_list(entries, key)
    assert len(crl.tbs_certlist_bytes) > least
    assert crl.is_signature_valid(key.public_key())
    for asked in service.asked():
        assert (asked["MessageType"], asked["length"], asked["SigningAlgorithm"]) == ("DIGEST", 32, "ECDSA_SHA_256")


def test_kms_signs_with_an_rsa_key(service: KMS, tmp_path: Path) -> None:
    place = ProgramPlace(service.place.command, "alias/rsa")
    public_key = signers.public_key(place)
    assert isinstance(public_key, rsa.RSAPublicKey)
    key = signers.open_key(place, public_key)
    certificate = x509.CertificateBuilder(NAME, NAME, public_key, 1, NOW, LATER).sign(key, hashes.SHA256())
    crl = revocation_list(1_000, key)
    signers.close(key)
    assert crl.is_signature_valid(public_key)
    (tmp_path / "certificate").write_bytes(certificate.public_bytes(Encoding.PEM))
    file = str(tmp_path / "certificate")
    command = ["openssl", "verify", "-check_ss_sig", "-attime", str(int(NOW.timestamp()) + 1), "-CAfile", file, file]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert {asked["SigningAlgorithm"] for asked in service.asked()} == {"RSASSA_PKCS1_V1_5_SHA_256"}
    assert {(asked["MessageType"], asked["length"]) for asked in service.asked()} == {("DIGEST", 32)}


def test_what_kms_refuses_is_passed_on_and_the_program_goes_on(service: KMS, key: ForeignKey) -> None:
    for fault, words in (("refuses", "the role may not sign with this key"), ("is busy", "ThrottlingException")):
        service.fail(fault)
        with pytest.raises(SignerError, match=words):
            signers.answers(key)
        service.recover()
        signers.answers(key)


def test_a_key_that_kms_has_not_is_named(service: KMS) -> None:
    with pytest.raises(SignerError, match=r"alias/nobody.* gives no signature: .*NotFoundException"):
        signers.public_key(ProgramPlace(service.place.command, "alias/nobody"))


def test_a_key_of_another_kind_is_not_used(service: KMS) -> None:
    with pytest.raises(PlaceError, match="alias/coin cannot be used: "):
        signers.public_key(ProgramPlace(service.place.command, "alias/coin"))


def test_a_service_that_hangs_costs_no_more_than_the_deadline(service: KMS, key: ForeignKey) -> None:
    service.fail("hangs")
    begun = time.monotonic()
    with pytest.raises(SignerError, match=r"timeout|no answer in time"):
        signers.answers(key)
    assert time.monotonic() - begun < 10
    service.recover()
    answers_soon(key)


def test_the_example_is_short_and_ends_with_its_input(service: KMS) -> None:
    assert len(kms.EXAMPLE.read_text().splitlines()) <= 45
    question = {"id": 7, "key": kms.ALIAS, "algorithm": "ecdsa-sha256", "tbs": ""}
    done = subprocess.run(
        [service.program], input=json.dumps(question) + "\n", capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    (answer,) = map(json.loads, done.stdout.splitlines())
    assert set(answer) == {"id", "signature"}
    assert answer["id"] == 7
