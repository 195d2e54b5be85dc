"""A chain that somebody else signed: those that do not fit are refused, each with its sentence."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from acme_iid.issuance import imports, keys
from acme_iid.issuance.keys import CAFileError, PrivateKey

NOW = 1_800_000_000
YEAR = 365 * 86400
KEY = ec.generate_private_key(ec.SECP256R1())
POLICY_KEY = ec.generate_private_key(ec.SECP256R1())
ROOT_KEY = ec.generate_private_key(ec.SECP384R1())

Change = Callable[[x509.CertificateBuilder], x509.CertificateBuilder]


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def usage(*, cert_sign: bool = True, crl_sign: bool = True) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=cert_sign, crl_sign=crl_sign, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def certificate(
    subject: str,
    key: PrivateKey,
    issuer: str,
    issuer_key: PrivateKey,
    *,
    basic: x509.BasicConstraints | None = x509.BasicConstraints(ca=True, path_length=None),  # noqa: B008 - a value
    key_usage: x509.KeyUsage | None = usage(),  # noqa: B008 - a value
    identifier: bool = True,
    begins: int = NOW - 60,
    ends: int = NOW + 5 * YEAR,
    algorithm: hashes.SHA224 | hashes.SHA256 = hashes.SHA256(),  # noqa: B008 - a value
    change: Change = lambda builder: builder,
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(begins, UTC))
        .not_valid_after(datetime.fromtimestamp(ends, UTC))
    )
    if basic is not None:
        builder = builder.add_extension(basic, critical=True)
    if key_usage is not None:
        builder = builder.add_extension(key_usage, critical=True)
    if identifier:
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return change(builder).sign(issuer_key, algorithm)


ROOT = certificate("Root", ROOT_KEY, "Root", ROOT_KEY, ends=NOW + 20 * YEAR)
POLICY = certificate("Policy", POLICY_KEY, "Root", ROOT_KEY, ends=NOW + 10 * YEAR)
ISSUING = certificate("Issuing", KEY, "Policy", POLICY_KEY)


def purposes(*oids: x509.ObjectIdentifier) -> Change:
    return lambda builder: builder.add_extension(x509.ExtendedKeyUsage(oids), critical=False)


def test_a_chain_of_three_and_one_of_two_are_taken() -> None:
    imports.check([ISSUING, POLICY, ROOT], KEY.public_key(), NOW)
    imports.check([certificate("Issuing", KEY, "Root", ROOT_KEY), ROOT], KEY.public_key(), NOW)


def test_certificate_and_list_signing_are_all_that_is_demanded() -> None:
    bare = certificate("Issuing", KEY, "Root", ROOT_KEY, key_usage=None)
    imports.check([bare, ROOT], KEY.public_key(), NOW)
    both = certificate(
        "Issuing", KEY, "Root", ROOT_KEY,
        change=purposes(ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH),
    )  # fmt: skip
    imports.check([both, ROOT], KEY.public_key(), NOW)


OTHER_KEY = ec.generate_private_key(ec.SECP256R1())
SMALL_KEY = rsa.generate_private_key(65537, 1024)  # noqa: S505 - to be refused

WRONG: dict[str, tuple[list[x509.Certificate], str]] = {
    "another key": ([certificate("Issuing", OTHER_KEY, "Policy", POLICY_KEY), POLICY, ROOT], "for another key than"),
    "root first": ([ROOT, POLICY, ISSUING], "wrong order"),
    "policy first": ([POLICY, ISSUING, ROOT], "wrong order"),
    "policy left out": ([ISSUING, ROOT], "was not signed by 'CN=Root'"),
    "root left out": ([ISSUING, POLICY], "the chain ends with 'CN=Policy'"),
    "one that is not in the chain": ([ISSUING, POLICY, POLICY, ROOT], "was not signed by 'CN=Policy'"),
    "a root by itself": ([certificate("Root", KEY, "Root", KEY)], "self-signed"),
    "signed by a stranger of the same name": (
        [certificate("Issuing", KEY, "Policy", OTHER_KEY), POLICY, ROOT],
        "was not signed by 'CN=Policy'",
    ),
    "expired": ([certificate("Issuing", KEY, "Root", ROOT_KEY, ends=NOW - 1), ROOT], "has expired"),
    "not valid yet": ([certificate("Issuing", KEY, "Root", ROOT_KEY, begins=NOW + 60), ROOT], "not valid yet"),
    "longer than its signer": (
        [certificate("Issuing", KEY, "Root", ROOT_KEY, ends=NOW + 30 * YEAR), ROOT],
        "after 'CN=Root'",
    ),
    "an expired policy CA": (
        [
            certificate("Issuing", KEY, "Policy", POLICY_KEY, ends=NOW + 1),
            certificate("Policy", POLICY_KEY, "Root", ROOT_KEY, ends=NOW - 1),
            ROOT,
        ],
        "'CN=Policy' has expired",
    ),
    "a path that is too short": (
        [
            certificate("Issuing", KEY, "Policy", POLICY_KEY),
            certificate("Policy", POLICY_KEY, "Root", ROOT_KEY, basic=x509.BasicConstraints(ca=True, path_length=0)),
            ROOT,
        ],
        "the path length 0, and 1 CA certificates",
    ),
    "no CA": (
        [
            certificate("Issuing", KEY, "Root", ROOT_KEY, basic=x509.BasicConstraints(ca=False, path_length=None)),
            ROOT,
        ],
        "no CA certificate",
    ),
    "no basic constraints": ([certificate("Issuing", KEY, "Root", ROOT_KEY, basic=None), ROOT], "no CA certificate"),
    "no certificate signing": (
        [certificate("Issuing", KEY, "Root", ROOT_KEY, key_usage=usage(cert_sign=False)), ROOT],
        "lacks keyCertSign",
    ),
    "no list signing": (
        [certificate("Issuing", KEY, "Root", ROOT_KEY, key_usage=usage(crl_sign=False)), ROOT],
        "lacks cRLSign",
    ),
    "for servers alone": (
        [certificate("Issuing", KEY, "Root", ROOT_KEY, change=purposes(ExtendedKeyUsageOID.SERVER_AUTH)), ROOT],
        "lack clientAuth",
    ),
    "no key identifier": (
        [certificate("Issuing", KEY, "Root", ROOT_KEY, identifier=False), ROOT],
        "no subject key identifier",
    ),
    "a hash that is broken": (
        [certificate("Issuing", KEY, "Root", ROOT_KEY, algorithm=hashes.SHA224()), ROOT],
        "signed with sha224",
    ),
    "a weak key above": (
        [
            certificate("Issuing", KEY, "Policy", SMALL_KEY),
            certificate("Policy", SMALL_KEY, "Root", ROOT_KEY, ends=NOW + 10 * YEAR),
            ROOT,
        ],
        "1024 bits",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_chain_that_does_not_fit_is_refused(case: str) -> None:
    chain, sentence = WRONG[case]
    with pytest.raises(CAFileError, match=sentence.replace("(", r"\(")):
        imports.check(chain, KEY.public_key(), NOW)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"", "no readable certificates"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "no readable certificates"),
        (ROOT.public_bytes(Encoding.PEM) * 9, "9 certificates; 8 are the limit"),
        (b"x" * (keys.MAX_FILE_BYTES + 1), "larger than"),
    ],
)
def test_a_file_that_is_no_chain_is_refused(tmp_path: Path, text: bytes, sentence: str) -> None:
    path = tmp_path / "chain.pem"
    path.write_bytes(text)
    with pytest.raises(CAFileError, match=sentence):
        imports.read_chain(path)
    with pytest.raises(CAFileError, match="cannot be read"):
        imports.read_chain(tmp_path / "none")
