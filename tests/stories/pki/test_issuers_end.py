"""The end of an issuer: retired in peace, or stolen; and what a server does with files that do not fit."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from certificate_status_requests import fetch, question, turn_on
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.ocsp import OCSPCertStatus, load_der_ocsp_response
from machine import Machine, ec2_machine
from pki.rotating import activate, hang_up, serving, until
from rotating import key_file, pass_time, prepare
from running import CA
from writing import put

from acme_iid.issuance import home
from acme_iid.issuance.issuer import key_id
from acme_iid.issuance.roots import fingerprint
from acme_iid.simulator import aws
from acme_iid.store.database import open_store
from acme_iid.store.writes import Statement


@pytest.fixture
def ca(tmp_path: Path) -> Iterator[CA]:
    made = CA(tmp_path / "ca")
    made.init()
    turn_on(made)
    with serving(made):
        yield made


@pytest.fixture
def vm(ca: CA, tmp_path: Path, instance: aws.Instance) -> Iterator[Machine]:
    """A machine with a certificate of the CA's first issuer."""
    with ec2_machine(tmp_path / "vm", instance) as machine:
        machine.bootstrap(ca)
        machine.order()
        yield machine


def take_up(ca: CA, issuer: str, *options: str) -> str:
    """Have the server take up an issuer's files, and activate it as soon as it has; what the command says."""
    hang_up(ca)
    return activate(ca, issuer, *options)


def issuer_of(vm: Machine) -> str:
    """The issuer of the machine's certificate, by its folder's name."""
    _, above, *_ = x509.load_pem_x509_certificates(vm.crt.read_bytes())
    return home.folder_of(key_id(above.public_key())).name


def until_issued_by(vm: Machine, issuer: str) -> None:
    def issued() -> bool:
        vm.order()
        return issuer_of(vm) == issuer

    until(issued)


def states(ca: CA) -> dict[str, str]:
    rows = json.loads(ca.cli("issuer", "status", "--json").stdout)
    return {row["id"]: row["state"] for row in rows if row["role"] == "issuer"}


def verifies(ca: CA, vm: Machine, folder: Path, crl: bytes) -> bool:
    """Whether OpenSSL takes a machine's certificate with a list."""
    (folder / "crl.pem").write_bytes(x509.load_der_x509_crl(crl).public_bytes(Encoding.PEM))
    done = subprocess.run(
        ["openssl", "verify", "-crl_check", "-CAfile", str(ca.root), "-CRLfile", str(folder / "crl.pem"), "-untrusted",
         str(vm.crt), str(vm.crt)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode == 0


def test_the_key_of_a_former_issuer_can_be_destroyed(ca: CA, vm: Machine, tmp_path: Path) -> None:
    first = ca.issuer_id
    certificate = home.load_certificate(ca.intermediate)
    old = tmp_path / "old"
    old.mkdir()
    former = Machine(old, vm.metadata)
    former.crt.write_bytes(vm.crt.read_bytes())
    second = prepare(ca.home)
    assert f"issuer rotate retire {first}" in take_up(ca, second)
    until_issued_by(vm, second)
    with closing(open_store(ca.store_url)) as database:
        pass_time(database)
    assert "--while-valid" in ca.try_cli("issuer", "rotate", "retire", first).stderr
    said = ca.cli("issuer", "rotate", "retire", first, "--while-valid").stdout
    assert str(key_file(ca.home, first)) in said
    key_file(ca.home, first).unlink()
    assert states(ca) == {first: "retired", second: "signing"}
    leaf = x509.load_pem_x509_certificate(former.crt.read_bytes())
    # Those that run have taken it up within seconds; those that start need no key.
    for _ in range(2):
        until(lambda: fetch(ca, f"/crl/{first}").status_code == 200)
        signed = fetch(ca, f"/crl/{first}").content
        crl = x509.load_der_x509_crl(signed)
        assert crl.next_update_utc is not None
        assert crl.next_update_utc > leaf.not_valid_after_utc
        assert verifies(ca, former, tmp_path, signed)
        assert fetch(ca, f"/issuer/{first}.cer").content == certificate.public_bytes(Encoding.DER)
        ca.stop()
        ca.start()
    asked = ca.wire().session.post(f"{ca.url}/ocsp", data=question(certificate, leaf.serial_number), timeout=30)
    answer = load_der_ocsp_response(asked.content)
    # The responder that the issuer had signed before goes on without it.
    assert answer.certificate_status is OCSPCertStatus.GOOD
    (responder,) = answer.certificates
    responder.verify_directly_issued_by(certificate)
    refused = ca.try_cli("certificate", "revoke", f"{leaf.serial_number:#x}")
    assert (refused.code, "cannot be revoked any more" in refused.stderr) == (1, True), refused.stderr
    vm.order()
    assert issuer_of(vm) == second


def commands(said: str) -> list[list[str]]:
    """The commands that a person is told to run."""
    return [shlex.split(line) for line in said.splitlines() if line.startswith("  ")]


def obey(ca: CA, said: str, folder: Path) -> None:
    """Run the commands that a person is told to run."""
    for command in commands(said):
        assert command[0] == "acme-iid-ca"
        ca.cli(*(str(folder / text) if text == "root.crl" else text for text in command[1:]))


def named_in_the_roots_list(ca: CA) -> list[int]:
    """The serial numbers that the root's list has, as relying parties get it."""
    root = home.load_certificate(ca.root)
    served = x509.load_der_x509_crl(fetch(ca, f"/root-crl/{fingerprint(root)[:16]}").content)
    return [entry.serial_number for entry in served]


def until_renewed_by(vm: Machine, issuer: str) -> None:
    """Have the machine look after its certificate, which it renews once the CA says so."""

    def renewed() -> bool:
        vm.run("renew", vm.crt, vm.key)
        return issuer_of(vm) == issuer

    until(renewed)


def test_a_stolen_issuer_is_left_and_named_in_the_roots_list(ca: CA, vm: Machine, tmp_path: Path) -> None:
    first = ca.issuer_id
    stolen = home.load_certificate(ca.intermediate)
    # One that ends before the stolen one.
    second = prepare(ca.home, 365 * 86400)
    assert "ends before the one that signs" in ca.try_cli("issuer", "rotate", "activate", second).stderr
    said = take_up(ca, second, "--compromised")
    assert f"The issuer {first} is compromised; 1 certificates of it are in force." in said
    assert "by then every client has noticed" in said
    assert states(ca) == {first: "compromised", second: "signing"}
    obey(ca, said, tmp_path)
    assert named_in_the_roots_list(ca) == [stolen.serial_number]
    # The certificate is young, and not due but for the CA's wish; the half hour over which that is spread is over.
    assert vm.try_("needs-renewal", vm.crt).code == 1
    with closing(open_store(ca.store_url)) as database:
        pass_time(database)
        put(database, Statement("UPDATE certificates SET not_before = not_before - 3600", {}))
    until_renewed_by(vm, second)


def test_a_key_stolen_from_a_former_issuer_has_its_certificates_replaced(ca: CA, vm: Machine, tmp_path: Path) -> None:
    first = ca.issuer_id
    stolen = home.load_certificate(ca.intermediate)
    refused = ca.try_cli("issuer", "rotate", "compromised", first)
    assert (refused.code, "issuer rotate activate NEXT --compromised" in refused.stderr) == (1, True), refused.stderr
    second, third = prepare(ca.home), prepare(ca.home)
    take_up(ca, second)
    assert vm.try_("needs-renewal", vm.crt).code == 1
    said = ca.cli("issuer", "rotate", "compromised", first).stdout
    assert f"The issuer {first} is compromised; 1 certificates of it are in force." in said
    assert "refuse the issuer within 24 hours of that" in said
    again = ca.cli("issuer", "rotate", "compromised", first).stdout
    assert again.startswith("It was marked at ")
    assert again.endswith(said)
    obey(ca, said, tmp_path)
    assert named_in_the_roots_list(ca) == [stolen.serial_number]
    with closing(open_store(ca.store_url)) as database:
        pass_time(database)
        # The half hour over which that is spread is over; of the hours that a former issuer's get, most are to come.
        put(database, Statement("UPDATE certificates SET not_before = not_before - 3600", {}))
    until_renewed_by(vm, second)

    said = ca.cli("issuer", "rotate", "compromised", third).stdout
    assert f"The issuer {third} is compromised; 0 certificates of it are in force." in said
    assert "it can never sign" in ca.try_cli("issuer", "rotate", "activate", third).stderr
    assert "-o former.crl" in said  # there is a list by now, which has the first one
    assert states(ca) == {first: "compromised", second: "signing", third: "compromised"}
    ca.cli("issuer", "rotate", "retire", first, "--while-valid")
    key_file(ca.home, first).unlink()
    shutil.rmtree(ca.home / home.folder_of(first))
    said = ca.cli("issuer", "rotate", "compromised", first).stdout
    assert x509.load_pem_x509_certificate(said[said.index("-----BEGIN") :].encode()) == stolen
    assert "--revoke stolen.pem" in said


def test_files_that_do_not_fit_change_nothing(ca: CA, vm: Machine) -> None:
    first, second = ca.issuer_id, prepare(ca.home)
    good = key_file(ca.home, second).read_bytes()
    key_file(ca.home, second).write_bytes(key_file(ca.home, first).read_bytes())
    hang_up(ca)
    ca.until_logged("the running one stays in force")
    assert any("is not the key of" in line for line in ca.log)
    assert "lack the issuer's key" in ca.try_cli("issuer", "rotate", "activate", second).stderr
    vm.order()
    assert issuer_of(vm) == first
    key_file(ca.home, second).write_bytes(good)
    take_up(ca, second)
    until_issued_by(vm, second)


def test_a_certificate_that_is_cut_short_says_so_to_its_client(tmp_path: Path, instance: aws.Instance) -> None:
    ca = CA(tmp_path / "ca")
    ca.init()
    short = prepare(ca.home, 6 * 3600)
    # It is the only one, as it would be at the end of its life.
    for folder in (ca.home / home.FOLDER).iterdir():
        if folder.name != short:
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
    with serving(ca), ec2_machine(tmp_path / "vm", instance) as vm:
        vm.bootstrap(ca)
        assert "The certificate is cut short: it ends at " in vm.order().stderr
