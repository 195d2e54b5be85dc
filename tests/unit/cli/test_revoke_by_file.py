"""``certificate revoke --cert``: a certificate is revoked that a restored store does not know."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from certificate_status_requests import fetch, intermediate, question, turn_on
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from running import CA, answer
from wire import Issued, Key, b64, csr

from acme_iid.issuance import ceremony
from acme_iid.issuance.home import load
from acme_iid.issuance.issuer import Issuer
from acme_iid.issuance.leaf import LeafRequest
from acme_iid.policy.namespace import Namespace
from acme_iid.protocol.identifiers import dns
from acme_iid.simulator import aws

REVOKE = ("certificate", "revoke", "--cert")


@pytest.fixture
def ca(own_ca: CA) -> CA:
    turn_on(own_ca)
    return own_ca


def written(path: Path, certificate: x509.Certificate) -> Path:
    path.write_bytes(certificate.public_bytes(Encoding.PEM))
    return path


def forgotten(ca: CA, folder: Path, instance: aws.Instance) -> Issued:
    """A certificate that a backup was restored from before; its CA serves again."""
    ca.start()
    ca.cli("backup", folder / "backup.tar")
    issued = ca.account().obtain("foo.local", answer=answer(instance))
    ca.stop()
    ca.home.rename(folder / "lost")
    ca.cli("restore", folder / "backup.tar")
    ca.start()
    return issued


def status(ca: CA, leaf: x509.Certificate) -> ocsp.OCSPResponse:
    sent = question(intermediate(ca), leaf.serial_number)
    return ocsp.load_der_ocsp_response(ca.wire().session.post(ca.url + "/ocsp", data=sent, timeout=30).content)


def listed(ca: CA) -> dict[int, x509.ReasonFlags]:
    found = x509.load_der_x509_crl(fetch(ca).content)
    return {
        entry.serial_number: entry.extensions.get_extension_for_class(x509.CRLReason).value.reason for entry in found
    }


def test_list_and_answer_name_a_certificate_that_was_forgotten(tmp_path: Path, instance: aws.Instance) -> None:
    # A store of its own: a restored one is a file, whatever the others are in.
    ca = CA(tmp_path / "ca")
    ca.init(in_a_file=True)
    turn_on(ca)
    try:
        issued = forgotten(ca, tmp_path, instance)
        serial, file = issued.leaf.serial_number, written(tmp_path / "leaf.pem", issued.leaf)
        assert status(ca, issued.leaf).certificate_status is ocsp.OCSPCertStatus.UNKNOWN
        assert "was issued here" in ca.try_cli("certificate", "revoke", str(serial)).stderr
        assert f"Serial Number {serial} has been revoked" in ca.cli(*REVOKE, file, "--reason", "keyCompromise").stdout
        found = status(ca, issued.leaf)
        assert (found.certificate_status, found.revocation_reason) == (
            ocsp.OCSPCertStatus.REVOKED,
            x509.ReasonFlags.key_compromise,
        )
        assert found.next_update_utc is not None
        assert found.next_update_utc <= issued.leaf.not_valid_after_utc
        assert listed(ca) == {serial: x509.ReasonFlags.key_compromise}
        again = ca.try_cli(*REVOKE, file)
        assert (again.code, "was revoked before" in again.stderr) == (1, True)
        kinds = [entry["kind"] for entry in json.loads(ca.cli("events", "--json").stdout)]
        assert {"certificate.revoked", "key.compromised"} <= set(kinds)
    finally:
        ca.kill()


def leaf_of(ca: CA, key: Key) -> x509.Certificate:
    """A certificate that the CA's issuer has signed, and of which the store knows nothing."""
    issuer, now = load(ca.home).current, int(time.time())
    request = LeafRequest(key.private.public_key(), [dns("foo.local")], now + 3600)
    return x509.load_der_x509_certificate(issuer.issue(request, Namespace(("local",), frozenset()), now).der)


def test_a_key_that_was_compromised_so_is_certified_no_more(ca: CA, tmp_path: Path, instance: aws.Instance) -> None:
    key = Key()
    file = written(tmp_path / "leaf.pem", leaf_of(ca, key))
    ca.cli(*REVOKE, file, "--reason", "1")
    ca.start()
    account = ca.account()
    ordered, _ = account.prove("foo.local", answer=answer(instance))
    _, request = csr("foo.local", key=key)
    done = account.post(ordered.json()["finalize"], {"csr": b64(request)})
    assert (done.status_code, "compromise" in done.json()["detail"]) == (400, True), done.text


def test_a_known_certificate_is_revoked_as_by_its_number(ca: CA, tmp_path: Path, instance: aws.Instance) -> None:
    ca.start()
    issued = ca.account().obtain("foo.local", answer=answer(instance))
    ca.cli(*REVOKE, written(tmp_path / "leaf.pem", issued.leaf))
    shown = json.loads(ca.cli("certificate", "show", str(issued.leaf.serial_number), "--json").stdout)
    assert (shown["status"], shown["revoked_by"]) == ("revoked", "operator")
    # Its name is closed to its instance, as a revocation by number has it.
    with pytest.raises(AssertionError):
        ca.account().obtain("foo.local", answer=answer(instance))


def test_what_no_issuer_of_the_ca_has_signed_is_not_revoked(ca: CA, tmp_path: Path) -> None:
    now = int(time.time())
    # The same names, under other keys.
    root = ceremony.create_root("My CA", now, itself=x509.load_pem_x509_certificate(ca.root.read_bytes()).subject)
    other = ceremony.create_intermediate(root, "My CA", now, itself=intermediate(ca).subject)
    request = LeafRequest(ec.generate_private_key(ec.SECP256R1()).public_key(), [dns("foo.local")], now + 3600)
    issuer = Issuer(other, root.certificate, ())
    strange = x509.load_der_x509_certificate(issuer.issue(request, Namespace(("local",), frozenset()), now).der)
    for certificate in (strange, intermediate(ca)):
        refused = ca.try_cli(*REVOKE, written(tmp_path / "leaf.pem", certificate))
        assert (refused.code, "no issuer of this CA has signed the certificate" in refused.stderr) == (1, True)
    kinds = [event["kind"] for event in json.loads(ca.cli("events", "--json").stdout)]
    assert "certificate.revoked" not in kinds


def test_a_number_or_a_file_is_needed_and_not_both(ca: CA, tmp_path: Path) -> None:
    for arguments in ((), ("1", "--cert", tmp_path / "leaf.pem")):
        refused = ca.try_cli("certificate", "revoke", *arguments)
        assert (refused.code, "serial number, or its file with --cert" in refused.stderr) == (2, True)
    missing = ca.try_cli(*REVOKE, tmp_path / "leaf.pem")
    assert (missing.code, "cannot be read: No such file" in missing.stderr) == (1, True)
