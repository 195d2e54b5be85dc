"""pkilint and zlint read all that the CA signs; what they find is explained in findings.toml, or mended."""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from pki import linters, signed
from pki.linters import Finding
from pki.signed import Signed

ALLOWED = tomllib.loads(Path(__file__).with_name("findings.toml").read_text())["finding"]
MOST = 5


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Signed:
    return signed.everything(tmp_path_factory.mktemp("signed"))


@pytest.fixture(scope="module")
def zlint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return linters.built_zlint(tmp_path_factory.mktemp("zlint"))


@pytest.fixture(scope="module")
def findings(everything: Signed, zlint: Path) -> list[Finding]:
    return [*linters.pkilint(everything), *linters.zlint(everything, zlint)]


def explains(entry: dict[str, str], finding: Finding) -> bool:
    same = (entry["linter"], entry["rule"]) == (finding.linter, finding.rule)
    return same and re.fullmatch(entry["files"], finding.file) is not None


def test_the_linters_find_nothing_that_is_not_explained(findings: list[Finding]) -> None:
    assert [finding for finding in findings if not any(explains(entry, finding) for entry in ALLOWED)] == []


def test_each_explained_finding_is_still_found(findings: list[Finding]) -> None:
    assert [entry for entry in ALLOWED if not any(explains(entry, finding) for finding in findings)] == []
    assert len(ALLOWED) <= MOST
    assert all(entry["why"].strip() for entry in ALLOWED)


def test_both_linters_find_what_is_wrong_on_purpose(tmp_path: Path, zlint: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    now, name = datetime.now(UTC).replace(microsecond=0), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Bad")])
    end = now + timedelta(days=1)
    without_identifiers = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=False)
        .sign(key, hashes.SHA256())
    )
    # zlint looks at the reason, pkilint at the missing number.
    entry = x509.RevokedCertificateBuilder().serial_number(1).revocation_date(now)
    entry = entry.add_extension(x509.CRLReason(x509.ReasonFlags.unspecified), critical=False)
    without_number = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(name)
        .last_update(now)
        .next_update(end)
        .add_revoked_certificate(entry.build())
        .sign(key, hashes.SHA256())
    )
    wrong = Signed(tmp_path)
    wrong.certificate("bad", without_identifiers)
    wrong.revocation_list("bad", without_number.public_bytes(Encoding.DER))
    for found in (linters.pkilint(wrong), linters.zlint(wrong, zlint)):
        assert {finding.file for finding in found} == {"bad.crt", "bad.crl"}
