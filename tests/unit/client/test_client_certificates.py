from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from scripted_ca import Issuer, issue, new_issuer

from acme_iid.issuance import provisioner_extension
from acme_iid_client.x509 import certificates
from acme_iid_client.x509.certificates import Provisioner

Run = Callable[..., subprocess.CompletedProcess[str]]

AWS = provisioner_extension.extension(4, "AWS IID Provisioner", "807492473263")


def _leaf(
    names: list[str], common_name: str = "", extension: x509.UnrecognizedExtension | None = AWS
) -> x509.Certificate:
    issuer = new_issuer("My Intermediate CA")
    key = ec.generate_private_key(ec.SECP256R1())
    return issue(
        issuer, common_name, key, names, extension=extension, start=datetime(2019, 7, 8, 21, 39, 40, tzinfo=UTC)
    )


def _write(path: Path, certificate: x509.Certificate, encoding: Encoding = Encoding.PEM) -> Path:
    path.write_bytes(certificate.public_bytes(encoding))
    return path


def test_short_inspection_has_the_layout_that_people_know(acme_iid: Run, tmp_path: Path) -> None:
    leaf = _leaf(["foo.local"], "foo.local")
    serial = str(leaf.serial_number)
    _write(tmp_path / "foo.crt", leaf)
    done = acme_iid("inspect", "--short", "foo.crt")
    assert done.stdout == (
        f"X.509v3 TLS Certificate (ECDSA P-256) [Serial: {serial[:4]}...{serial[-4:]}]\n"
        "  Subject:     foo.local\n"
        "  Issuer:      My Intermediate CA\n"
        "  Provisioner: AWS IID Provisioner [ID: 8074...3263]\n"
        "  Valid from:  2019-07-08T21:39:40Z\n"
        "          to:  2019-07-09T21:39:40Z\n"
    )


def test_more_names_stand_on_lines_of_their_own() -> None:
    text = certificates.short_text(_leaf(["foo.local", "bar.local", "10.0.0.1"], "foo.local"))
    assert text.splitlines()[1:4] == [
        "  Subject:     foo.local",
        "               bar.local",
        "               10.0.0.1",
    ]


def test_without_a_common_name_the_first_name_is_the_subject() -> None:
    text = certificates.short_text(_leaf(["10.0.0.1", "foo.local"]))
    assert text.splitlines()[1:3] == ["  Subject:     10.0.0.1", "               foo.local"]


def test_a_certificate_without_the_extension_has_no_provisioner_line() -> None:
    assert "Provisioner" not in certificates.short_text(_leaf(["foo.local"], "foo.local", None))


def test_a_damaged_extension_is_no_provisioner() -> None:
    damaged = x509.UnrecognizedExtension(certificates.PROVISIONER_OID, AWS.value[:-1])
    assert certificates.provisioner_of(_leaf(["foo.local"], "foo.local", damaged)) is None


@pytest.mark.parametrize(
    ("key", "called"),
    [
        (ec.generate_private_key(ec.SECP384R1()).public_key(), "ECDSA P-384"),
        (ed25519.Ed25519PrivateKey.generate().public_key(), "Ed25519"),
        (rsa.generate_private_key(65537, 2048).public_key(), "RSA 2048"),
    ],
)
def test_keys_are_called_what_people_call_them(
    key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey, called: str
) -> None:
    leaf = issue(new_issuer("My CA"), "foo.local", key, ["foo.local"])
    assert certificates.short_text(leaf).startswith(f"X.509v3 TLS Certificate ({called}) ")


def test_authorities_are_told_from_servers() -> None:
    root = new_issuer("My Root CA")
    assert "X.509v3 Root CA Certificate" in certificates.short_text(root.certificate)
    below = new_issuer("My Intermediate CA", root)
    assert "X.509v3 Intermediate CA Certificate" in certificates.short_text(below.certificate)


def test_the_long_inspection_names_what_the_short_one_shortens(acme_iid: Run) -> None:
    leaf = _leaf(["foo.local", "bar.local"], "foo.local")
    done = acme_iid("inspect", "-", stdin=leaf.public_bytes(Encoding.DER))
    for fact in (str(leaf.serial_number), "807492473263", "bar.local", certificates.fingerprint(leaf)):
        assert fact in done.stdout


def test_the_fingerprint_is_that_of_openssl(acme_iid: Run, tmp_path: Path) -> None:
    leaf = _leaf(["foo.local"], "foo.local")
    _write(tmp_path / "foo.crt", leaf)
    command = ["openssl", "x509", "-in", "foo.crt", "-noout", "-fingerprint", "-sha256"]
    theirs = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    ours = acme_iid("fingerprint", "foo.crt").stdout
    assert ours.strip() == theirs.strip().partition("=")[2].replace(":", "").lower()
    assert acme_iid("fingerprint", _write(tmp_path / "foo.der", leaf, Encoding.DER)).stdout == ours


def test_what_is_no_certificate_is_said_to_be_none(acme_iid: Run) -> None:
    for content in (b"", b"hello", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        done = acme_iid("inspect", "-", stdin=content)
        assert done.returncode >= 10
        assert "No certificate was found" in done.stderr


def test_control_characters_in_names_do_not_reach_the_terminal(acme_iid: Run) -> None:
    hostile = provisioner_extension.extension(4, "\x1b[2Jevil", "1")
    done = acme_iid(
        "inspect", "--short", "-", stdin=_leaf(["foo.local"], "foo.local", hostile).public_bytes(Encoding.PEM)
    )
    assert "?[2Jevil" in done.stdout
    assert "\x1b" not in done.stdout


PROVISIONERS = st.sampled_from([(3, "GCP"), (4, "AWS"), (5, "Azure"), (6, "ACME")])


@given(PROVISIONERS, st.text(max_size=300), st.text(max_size=300))
def test_the_provisioner_is_read_as_the_ca_writes_it(of: tuple[int, str], name: str, credential_id: str) -> None:
    value = provisioner_extension.extension(of[0], name, credential_id).value
    assert certificates.parse_provisioner(value) == Provisioner(of[1], name, credential_id)


def test_the_provisioner_is_read_where_pairs_follow_it() -> None:
    # step-ca adds SEQUENCE OF UTF8String for some kinds of provisioner.
    inner = AWS.value[2:] + bytes([0x30, 4, 0x0C, 2]) + b"ab"
    assert certificates.parse_provisioner(bytes([0x30, len(inner)]) + inner).name == "AWS IID Provisioner"


@given(st.binary(max_size=80))
def test_what_is_no_provisioner_is_refused_or_read(data: bytes) -> None:
    try:
        found = certificates.parse_provisioner(data)
    except ValueError:
        return
    assert isinstance(found, Provisioner)


@given(st.data())
def test_no_cut_and_no_addition_passes_for_the_extension(data: st.DataObject) -> None:
    length = data.draw(st.integers(0, len(AWS.value) - 1))
    for other in (AWS.value[:length], AWS.value + b"\0" * (length + 1)):
        with pytest.raises(ValueError, match=r"ends within|longer|length|follow"):
            certificates.parse_provisioner(other)


def test_a_certificate_is_cut_short_by_whichever_ends_with_it() -> None:
    now = datetime.now(UTC)
    key, names = ec.generate_private_key(ec.SECP256R1()), ["foo.local"]
    root_key, above_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    other = new_issuer("Another Root CA").certificate
    for root_days, above_days, leaf_days, culprit in ((9, 5, 1, None), (9, 5, 5, "above"), (5, 9, 5, "root")):
        root = issue(None, "Root CA", root_key, start=now, days=root_days)
        above = issue(Issuer(root, root_key), "Intermediate CA", above_key, start=now, days=above_days)
        leaf = issue(Issuer(above, above_key), "foo.local", key, names, start=now, days=leaf_days)
        ended = {"above": above, "root": root, None: None}[culprit]
        # A root that the chain does not lead to has no say, whenever it ends.
        assert certificates.cut_short_by([leaf, above], (other, root)) == ended
    assert other.not_valid_after_utc < now + timedelta(days=3)
