"""Operators at the admin listener are who their own certificates say, under a CA that is not this one."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID
from operators import Answer, OperatorCA, Steered, ask_by_tls, bundle, context, role_table
from running import CA, answer, run_module
from strangers import Ground

from acme_iid.simulator import aws

ALICE = "alice@example.com"


@dataclass
class Listening:
    """A CA with an admin listener.

    :ivar operators: the CA of operators' certificates.
    """

    steered: Steered
    operators: OperatorCA
    folder: Path

    def ask(self, certificate: Path | None, path: str = "/instances", body: object = None) -> Answer:
        return ask_by_tls(self.steered, certificate, path, body)

    def operator(self, *names: str) -> Path:
        return self.operators.operator(self.folder, *names)


@pytest.fixture(scope="module")
def listening(tmp_path_factory: pytest.TempPathFactory, open_ground: Ground) -> Iterator[Listening]:
    folder = tmp_path_factory.mktemp("listening")
    ca = CA(folder / "ca")
    ca.init(in_a_file=True)
    steered = Steered(ca, open_ground.own / "listening.sock")
    operators = OperatorCA()
    steered.configure(
        role_table("viewer", certificates=["bob", "a viewer"]),
        role_table("operator", certificates=[ALICE]),
        listen=operators.write(folder),
    )
    steered.start()
    made = Listening(steered, operators, folder)
    deadline = time.monotonic() + 60
    while made.ask(made.operator("bob")).status != 200:
        assert time.monotonic() < deadline, ca.log
        time.sleep(0.1)
    yield made
    ca.stop()


def test_a_certificates_own_name_gives_its_role(listening: Listening) -> None:
    bob, alice = listening.operator("bob"), listening.operator(ALICE)
    assert listening.ask(bob, "/eab", {}).status == 403
    made = listening.ask(alice, "/eab", {"reason": "by certificate"})
    assert made.status in (200, 201)
    (event,) = listening.ask(bob, "/events?limit=1").json["items"]
    actor = event["detail"]["actor"]
    assert actor == {"via": "tls", "user": ALICE, "host": "127.0.0.1", "role": "operator", "reason": "by certificate"}


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(("Bob",), id="other case"),
        pytest.param(("bob ",), id="a blank more"),
        pytest.param(("bob.example.com",), id="the beginning"),
        pytest.param(("xbob",), id="the end"),
        pytest.param(("bob\0x",), id="a NUL"),
        pytest.param(("b\u043eb",), id="a letter that looks the same"),
        pytest.param(("*",), id="a star"),
        pytest.param(("bob", "mallory"), id="one of two names"),
        pytest.param((), id="no name"),
    ],
)
def test_no_name_but_the_whole_one_gives_a_role(listening: Listening, names: tuple[str, ...]) -> None:
    answered = listening.ask(listening.operator(*names))
    assert (answered.status, answered.json["role"]) == (403, "viewer")


def test_a_name_elsewhere_in_a_certificate_gives_no_role(listening: Listening) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mallory"),
                         x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "bob"),
                         x509.NameAttribute(NameOID.EMAIL_ADDRESS, ALICE)])  # fmt: skip
    leaf = listening.operators.sign(key.public_key(), subject=subject)
    assert listening.ask(bundle(listening.folder, key, leaf)).status == 403


@pytest.mark.parametrize("leaf", ["mallory", None], ids=["another name", "no name"])
def test_a_name_of_the_issuer_above_a_leaf_gives_no_role(listening: Listening, leaf: str | None) -> None:
    above = OperatorCA("a viewer", above=listening.operators)
    certificate = above.operator(listening.folder, *([] if leaf is None else [leaf]))
    answered = listening.ask(certificate)
    assert (answered.status, answered.json["role"]) == (403, "viewer")
    # The chain itself is one to be believed, and a leaf with a name has its role.
    assert listening.ask(above.operator(listening.folder, "bob")).status == 200


def test_a_certificate_of_another_ca_comes_to_no_answer(listening: Listening) -> None:
    stranger = OperatorCA("Operators Root")  # the same name, another key
    assert listening.ask(stranger.operator(listening.folder, ALICE)).status == 0


def test_a_certificate_that_has_ended_comes_to_no_answer(listening: Listening) -> None:
    assert listening.ask(listening.operators.operator(listening.folder, ALICE, days=-1)).status == 0


def test_without_a_certificate_there_is_no_answer(listening: Listening) -> None:
    assert listening.ask(None).status == 0


def test_plain_http_is_not_answered_at_the_listener(listening: Listening) -> None:
    with socket.create_connection(("127.0.0.1", listening.steered.port), timeout=30) as stream:
        stream.sendall(b"GET /instances HTTP/1.1\r\nHost: a\r\n\r\n")
        assert not stream.recv(1000).startswith(b"HTTP")


def test_earlier_versions_of_tls_are_not_spoken(listening: Listening) -> None:
    old = context(listening.steered.ca.root, listening.operator("bob"))
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection(("127.0.0.1", listening.steered.port), timeout=30) as stream,
        pytest.raises(ssl.SSLError),
    ):
        old.wrap_socket(stream, server_hostname="127.0.0.1")


def test_silent_connections_keep_nobody_waiting(listening: Listening) -> None:
    bob = listening.operator("bob")
    silent = [socket.create_connection(("127.0.0.1", listening.steered.port), timeout=30) for _ in range(50)]
    try:
        # One that has begun a handshake and says no more.
        silent[0].sendall(bytes.fromhex("1603010200010001fc0303"))
        began = time.monotonic()
        assert listening.ask(bob).status == 200
        assert time.monotonic() - began < 5, "an operator waited for connections that say nothing"
    finally:
        for stream in silent:
            stream.close()


# A VM's certificate


def vm_certificate(ca: CA, folder: Path) -> Path:
    """A file with the certificate of a VM, which is one for clients, and with its key."""
    issued = ca.account().obtain("bob.local", answer=answer(aws.Instance(account="123456789042")))
    chain = x509.load_pem_x509_certificates(issued.chain.encode())
    return bundle(folder, issued.key.private, *chain)


def test_a_vms_certificate_comes_to_no_answer(listening: Listening) -> None:
    certificate = vm_certificate(listening.steered.ca, listening.folder)
    assert listening.ask(certificate).status == 0


def test_a_leaf_of_this_ca_has_no_role_whoever_has_signed_this_ca(listening: Listening) -> None:
    # The operators' CA has given this CA's issuer a certificate, of which the server knows nothing.
    ca, key = listening.steered.ca, ec.generate_private_key(ec.SECP256R1())
    issuer = x509.load_pem_x509_certificate(ca.intermediate.read_bytes())
    theirs = load_pem_private_key(ca.intermediate_key.read_bytes(), None)
    assert isinstance(theirs, ec.EllipticCurvePrivateKey)
    crossed = listening.operators.sign(theirs.public_key(), is_ca=True, subject=issuer.subject)
    leaf = OperatorCA(key=theirs, subject=issuer.subject).sign(key.public_key(), "bob")
    answered = listening.ask(bundle(listening.folder, key, leaf, crossed))
    assert (answered.status, answered.json["role"]) == (403, "viewer")


@pytest.mark.parametrize("what", ["root", "intermediate"])
def test_this_ca_is_refused_as_the_ca_of_operators(steered: Steered, what: str) -> None:
    steered.configure(role_table("viewer", certificates=["bob"]), listen=getattr(steered.ca, what))
    said = steered.ca.start_refused()
    assert "[admin] client_ca: the certificate of " in said
    assert "is of this CA itself" in said


def test_a_ca_that_has_signed_this_one_is_refused(steered: Steered, tmp_path: Path) -> None:
    ca = steered.ca
    company = OperatorCA("Company Root")
    issuer = x509.load_pem_x509_certificate(ca.intermediate.read_bytes())
    key = issuer.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    crossed = company.sign(key, is_ca=True, subject=issuer.subject)
    ca.replace_intermediate(crossed)
    steered.configure(listen=company.write(tmp_path))
    assert "has signed this CA" in ca.start_refused()


def test_plain_http_and_the_admin_listener_do_not_go_together(steered: Steered, tmp_path: Path) -> None:
    steered.configure(listen=OperatorCA().write(tmp_path))
    outcome = run_module("acme_iid.cli", "--home", steered.ca.home, "serve", "--plain-http")
    assert outcome.code == 1
    assert "with --plain-http the server has no certificate of its own" in outcome.stderr
    assert not steered.socket.exists()
