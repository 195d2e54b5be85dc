"""The listener for plain HTTP: what relying parties fetch, and nothing else (RFC 5280 section 8)."""

from __future__ import annotations

import base64
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from certificate_status_requests import intermediate, listen_by_plain_http, question, revoke
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID
from running import CA, answer
from wire import Issued

from acme_iid.issuance.root_crl import short_id
from acme_iid.simulator import aws

CIRCLES = ("/acme/directory", "/acme/new-nonce", "/health", "/roots.pem", "/", "/crl/..", "/crl/")
REQUEST = {"Content-Type": "application/ocsp-request"}


class Plain:
    """A CA with the listener, which a relying party speaks to without any trust."""

    def __init__(self, ca: CA) -> None:
        self.ca = ca
        self.url = listen_by_plain_http(ca)
        self.session = requests.Session()
        self.session.trust_env = False

    def get(self, path: str) -> requests.Response:
        return self.session.get(self.url + path, timeout=30, allow_redirects=False)

    def ask(self, serial: int) -> ocsp.OCSPResponse:
        sent = question(intermediate(self.ca), serial)
        posted = self.session.post(f"{self.url}/ocsp", data=sent, headers=REQUEST, timeout=30)
        got = self.get("/ocsp/" + base64.b64encode(sent).decode())
        by_get, by_post = (ocsp.load_der_ocsp_response(found.content) for found in (got, posted))
        assert by_get.certificate_status == by_post.certificate_status
        return by_post


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plain]:
    ca = CA(tmp_path_factory.mktemp("plain") / "ca")
    ca.init()
    plain = Plain(ca)
    ca.start("--workers", "2")
    yield plain
    ca.stop()


@pytest.fixture
def own(own_ca: CA) -> Plain:
    """A CA with the listener, of the test's own; not started."""
    return Plain(own_ca)


def issue(ca: CA, instance: aws.Instance) -> Issued:
    return ca.account().obtain("foo.local", answer=answer(instance))


def serials(found: requests.Response) -> set[int]:
    return {entry.serial_number for entry in x509.load_der_x509_crl(found.content)}


def test_a_certificate_names_urls_that_need_no_tls(plain: Plain, instance: aws.Instance) -> None:
    leaf = issue(plain.ca, instance).leaf
    (point,) = leaf.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    assert point.full_name is not None
    assert [name.value for name in point.full_name] == [f"{plain.url}/crl/{plain.ca.issuer_id}"]
    access = leaf.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    assert {entry.access_method: entry.access_location.value for entry in access} == {
        AuthorityInformationAccessOID.OCSP: f"{plain.url}/ocsp",
        AuthorityInformationAccessOID.CA_ISSUERS: f"{plain.url}/issuer/{plain.ca.issuer_id}.cer",
    }


def test_a_revocation_is_seen_by_plain_http_at_once(plain: Plain, instance: aws.Instance) -> None:
    account = plain.ca.account()
    issued = account.obtain("foo.local", answer=answer(instance))
    path, serial = f"/crl/{plain.ca.issuer_id}", issued.leaf.serial_number
    assert serial not in serials(plain.get(path))
    assert plain.ask(serial).certificate_status is ocsp.OCSPCertStatus.GOOD
    revoke(account, issued, 4)
    assert serial in serials(plain.get(path))
    assert plain.ask(serial).certificate_status is ocsp.OCSPCertStatus.REVOKED


def test_the_issuers_certificate_is_served(plain: Plain) -> None:
    found = plain.get(f"/issuer/{plain.ca.issuer_id}.cer")
    assert found.headers["Content-Type"] == "application/pkix-cert"
    assert found.content == intermediate(plain.ca).public_bytes(Encoding.DER)


def test_a_delegated_responder_signs_and_is_in_the_answer(plain: Plain, instance: aws.Instance) -> None:
    found = plain.ask(issue(plain.ca, instance).leaf.serial_number)
    (responder,) = found.certificates
    responder.verify_directly_issued_by(intermediate(plain.ca))
    digest = responder.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert (found.responder_key_hash, found.responder_name) == (digest, None)
    # All processes of the server have one.
    assert {plain.ask(serial).certificates[0].serial_number for serial in range(1, 20)} == {responder.serial_number}


def test_the_roots_list_is_served(plain: Plain, tmp_path: Path) -> None:
    root = x509.load_pem_x509_certificate(plain.ca.root.read_bytes())
    path = f"/root-crl/{short_id(root)}"
    assert plain.get(path).status_code == 404
    files = ("--root-cert", plain.ca.root, "--root-key", plain.ca.root_key, "--out", tmp_path / "list")
    plain.ca.cli("issuer", "root-crl", "sign", *files)
    plain.ca.cli("issuer", "root-crl", "import", tmp_path / "list")
    found = plain.get(path)
    assert (found.headers["Content-Type"], found.content) == ("application/pkix-crl", (tmp_path / "list").read_bytes())


@pytest.mark.parametrize("path", CIRCLES)
def test_nothing_else_is_there_and_nothing_leads_elsewhere(plain: Plain, path: str) -> None:
    for method in ("GET", "HEAD", "POST", "PUT", "OPTIONS"):
        found = plain.session.request(method, plain.url + path, timeout=30, allow_redirects=False)
        assert (found.status_code in (404, 405), "Location" in found.headers) == (True, False), (method, path)
        assert not {"Replay-Nonce", "Link"} & set(found.headers)


def test_no_acme_request_is_answered(plain: Plain) -> None:
    jose = {"Content-Type": "application/jose+json"}
    for path in ("/acme/new-account", "/acme/new-order", "/acme/revoke-cert"):
        assert plain.session.post(plain.url + path, data=b"{}", headers=jose, timeout=30).status_code == 404


def address(plain: Plain) -> tuple[str, int]:
    return "127.0.0.1", int(plain.url.rpartition(":")[2])


def test_a_body_has_the_same_limit_as_elsewhere(plain: Plain) -> None:
    found = plain.session.post(f"{plain.url}/ocsp", data=b"\0" * (128 * 1024 + 1), headers=REQUEST, timeout=30)
    assert found.status_code == 413
    malformed = plain.session.post(f"{plain.url}/ocsp", data=b"\0" * 4096, headers=REQUEST, timeout=30)
    status = ocsp.load_der_ocsp_response(malformed.content).response_status
    assert status is ocsp.OCSPResponseStatus.MALFORMED_REQUEST


def test_it_speaks_no_tls_and_the_acme_server_nothing_else(plain: Plain) -> None:
    context = ssl.create_default_context(cafile=plain.ca.root)
    with (
        socket.create_connection(address(plain), timeout=30) as stream,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        context.wrap_socket(stream, server_hostname="127.0.0.1")
    with pytest.raises(requests.ConnectionError):
        plain.session.get(f"http://127.0.0.1:{plain.ca.port}/crl", timeout=30)


def test_a_reload_keeps_the_listener_and_says_what_takes_a_restart(own: Plain, instance: aws.Instance) -> None:
    own.ca.start("--workers", "2")
    leaf = issue(own.ca, instance).leaf
    assert own.ca.process is not None
    file = own.ca.home / "ca.toml"
    text = file.read_text()
    for _ in range(3):
        own.ca.log.clear()
        own.ca.process.send_signal(signal.SIGHUP)
        own.ca.until_logged("The configuration was reloaded.")
        assert own.get(f"/crl/{own.ca.issuer_id}").status_code == 200
    assert own.ask(leaf.serial_number).certificate_status is ocsp.OCSPCertStatus.GOOD
    file.write_text(text[: text.index("\n[status]\nlisten")])
    own.ca.process.send_signal(signal.SIGHUP)
    own.ca.until_logged("The address to listen on has changed; that takes a restart.")
    with socket.create_connection(address(own), timeout=30):
        pass


def test_an_address_that_is_taken_is_named_with_its_setting(own: Plain) -> None:
    with socket.create_server(address(own)):
        said = own.ca.start_refused()
    assert "another process is listening there; stop it, or choose another address with listen in [status]" in said


def test_a_socket_that_is_named_status_is_served_by_plain_http(own: Plain) -> None:
    shell = 'LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=acme:status exec "$@" 3<&"$A" 4<&"$B"'
    with socket.create_server(("127.0.0.1", own.ca.port)) as acme, socket.create_server(address(own)) as status:
        passed = (acme.fileno(), status.fileno())
        with subprocess.Popen(
            ["bash", "-c", shell, "server", sys.executable, "-m", "acme_iid.cli", "--home", own.ca.home, "serve"],
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=passed,
            env={**os.environ, "A": str(passed[0]), "B": str(passed[1])},
        ) as process:
            try:
                assert own.get(f"/crl/{own.ca.issuer_id}").status_code == 200
                assert own.ca.wire().directory["newNonce"]
            finally:
                process.terminate()
