"""To whom the client sends anything: only to servers with the CA's mark, and no password of another program."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import requests
import scripted_ca
from cryptography.hazmat.primitives.asymmetric import ec
from hostile import HEAD, Hostile, serving, tunnel
from running import Run

from acme_iid.issuance import ceremony
from acme_iid.issuance.issuer import Issuer
from acme_iid.issuance.leaf import LeafRequest
from acme_iid.policy.namespace import Namespace
from acme_iid.protocol.identifiers import dns
from acme_iid_client.clouds.metadata import MetadataService
from acme_iid_client.clouds.sigv4 import Credentials
from acme_iid_client.clouds.sts import web_identity_token
from acme_iid_client.deadline import Deadline
from acme_iid_client.transport.session import Session
from acme_iid_client.transport.trust import PinnedSession, UnmarkedServerError, fetch_unverified, require_mark


def ok(server: Hostile, connection: socket.socket) -> None:
    """Answer a request, and end the connection."""
    server.send(connection, HEAD + b"Connection: close\r\nContent-Length: 2\r\n\r\nok")


def test_a_server_without_the_mark_is_sent_nothing(tmp_path: Path) -> None:
    with serving(tmp_path, ok) as server, PinnedSession(server.root_file, Deadline(60)) as session:
        assert session.get(server.url).content == b"ok"
        server.marked = False
        with pytest.raises(UnmarkedServerError) as refused:
            session.get(server.url)
        assert server.gone.wait(60) or server.heads[1:] == [b""]
    assert [head for head in server.heads if head] == server.heads[:1]
    for word in ("127.0.0.1", "Hostile Root CA", "pose as the CA", "acme-iid-ca serving-certificate"):
        assert word in str(refused.value)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_server_behind_a_proxy_needs_the_mark_too(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = tmp_path / "proxy"
    beside.mkdir()
    with serving(tmp_path, ok) as server, serving(beside, tunnel, tls=scheme == "https") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "")
        proxy.root = server.root
        with PinnedSession(server.root_file, Deadline(60)) as session:
            assert session.get(server.url).content == b"ok"
            server.marked = False
            with pytest.raises(UnmarkedServerError):
                session.get(server.url)
    assert [head.split(b" ")[0] for head in proxy.heads] == [b"CONNECT"] * 2
    assert [head for head in server.heads if head] == server.heads[:1]


def test_bootstrap_demands_the_mark_once_the_root_is_the_right_one(acme_iid: Run, tmp_path: Path) -> None:
    with scripted_ca.serve(tmp_path, marked=False) as ca:
        digest = acme_iid("fingerprint", _file(tmp_path, ca.root.pem)).stdout.strip()
        refused = acme_iid("bootstrap", "--ca-url", ca.url, "--fingerprint", digest)
    assert refused.returncode != 0
    assert "lacks the mark" in refused.stderr
    assert ca.paths() == [f"/root/{digest}"]
    assert not (tmp_path / "config").exists()


def _file(folder: Path, content: bytes) -> Path:
    path = folder / "root.pem"
    path.write_bytes(content)
    return path


def _netrc(home: Path) -> None:
    home.mkdir(exist_ok=True)
    file = home / ".netrc"
    file.write_text("machine 127.0.0.1 login deploy password s3cret\nmachine localhost login deploy password s3cret\n")
    file.chmod(0o600)


def test_passwords_in_netrc_are_sent_to_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _netrc(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    beside = tmp_path / "plain"
    beside.mkdir()
    with serving(tmp_path, ok) as ca, serving(beside, ok, tls=False) as plain:
        with PinnedSession(ca.root_file, Deadline(60)) as session:
            session.get(ca.url)
        fetch_unverified(f"{ca.url}/root/00", Deadline(60), print)
        MetadataService(plain.url).try_once("GET", "/latest/meta-data/", {}, seconds=60)
        with pytest.raises(Exception, match="gives no web identity token"):
            web_identity_token(
                Credentials("AKIDEXAMPLE", "secret", "token"),
                "us-east-1",
                "acme-iid-01:x",
                {**os.environ, "AWS_ENDPOINT_URL_STS": plain.url},
            )
    heads = [*ca.heads, *plain.heads]
    assert len(heads) == 4
    assert not any(b"authorization: basic" in head.lower() for head in heads)
    assert b"authorization: aws4-hmac-sha256" in heads[3].lower()


def test_passwords_in_netrc_are_not_sent_by_commands(acme_iid: Run, tmp_path: Path) -> None:
    _netrc(tmp_path / "home")
    with serving(tmp_path, ok) as server:
        done = acme_iid("bootstrap", "--ca-url", server.url, "--fingerprint", "00" * 32)
    assert done.returncode != 0
    assert len(server.heads) == 1
    assert b"authorization" not in server.heads[0].lower()


def test_a_proxys_own_credentials_are_sent_to_it_and_to_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = tmp_path / "proxy"
    beside.mkdir()
    with serving(tmp_path, ok) as server, serving(beside, tunnel, tls=False) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("//", "//deploy:pass@"))
        monkeypatch.setenv("NO_PROXY", "")
        with PinnedSession(server.root_file, Deadline(60)) as session:
            assert session.get(server.url).content == b"ok"
    assert b"Proxy-Authorization: Basic ZGVwbG95OnBhc3M=" in proxy.heads[0]
    assert b"authorization" not in server.heads[0].lower()


def test_a_connection_that_is_closed_in_the_handshake_is_tried_again(tmp_path: Path) -> None:
    with serving(tmp_path, ok) as server, PinnedSession(server.root_file, Deadline(60)) as session:
        server.cut = 2
        assert session.get(server.url).content == b"ok"
    assert server.connections == 3


def test_a_connection_that_is_closed_before_an_answer_is_tried_again(tmp_path: Path) -> None:
    def answer(server: Hostile, connection: socket.socket) -> None:
        if len(server.heads) > 1:
            ok(server, connection)

    with serving(tmp_path, answer) as server, PinnedSession(server.root_file, Deadline(60)) as session:
        assert session.get(server.url).content == b"ok"
    assert len(server.heads) == 2


def test_a_new_connection_is_made_after_a_server_was_busy(tmp_path: Path) -> None:
    def answer(server: Hostile, connection: socket.socket) -> None:
        if server.connections == 1:
            server.send(connection, b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
            connection.recv(1)
            server.gone.set()
        else:
            ok(server, connection)

    with serving(tmp_path, answer) as server, PinnedSession(server.root_file, Deadline(60)) as session:
        assert session.get(server.url).status_code == 503
        assert server.gone.wait(60), "the connection is still open"
        assert session.get(server.url).content == b"ok"
    assert server.connections == 2


def test_a_certificate_that_the_ca_gives_to_anybody_has_no_mark() -> None:
    now = int(time.time())
    root = ceremony.create_root("My CA", now)
    issuer = Issuer(ceremony.create_intermediate(root, "My CA", now), root.certificate)
    key, names = ec.generate_private_key(ec.SECP256R1()).public_key(), [dns("ca.local")]
    require_mark(issuer.issue_serving(key, names, now + 3600, now).der)
    # It is for TLS servers, and under the same root.
    for usages in (("server",), ("server", "client"), ("client",)):
        request = LeafRequest(key, names, now + 3600, usages=usages)
        with pytest.raises(
            UnmarkedServerError, match=r"for ca\.local, issued by .serialNumber=[0-9a-f]{8},CN=My Intermediate CA."
        ):
            require_mark(issuer.issue(request, Namespace(), now).der)


@pytest.mark.parametrize("certificate", [b"", b"0", b"\x30\x03\x02\x01\x01"], ids=["none", "cut off", "another thing"])
def test_what_is_no_certificate_has_no_mark(certificate: bytes) -> None:
    with pytest.raises(UnmarkedServerError, match="which cannot be read"):
        require_mark(certificate)


def test_an_answer_that_comes_when_the_time_is_up_is_none(tmp_path: Path) -> None:
    def late(_: Sequence[bytes]) -> None:
        time.sleep(1.5)

    with serving(tmp_path, ok) as server, Session(Deadline(1), check=late) as session, pytest.raises(requests.Timeout):
        session.get(server.url, verify=str(server.root_file))


def test_a_request_is_not_sent_again_once_there_is_no_time(tmp_path: Path) -> None:
    def hang_up(_: Hostile, connection: socket.socket) -> None:
        connection.close()

    # The pause before the next try is longer than what there is of a tenth of a second.
    with serving(tmp_path, hang_up, tls=False) as server, Session(Deadline(0.25), again=5) as session:
        with pytest.raises(requests.ConnectionError):
            session.get(server.url)
        assert server.connections <= 1


def test_a_request_is_sent_again_as_often_as_it_may_be(tmp_path: Path) -> None:
    def hang_up(_: Hostile, connection: socket.socket) -> None:
        connection.close()

    with serving(tmp_path, hang_up, tls=False) as server, Session(Deadline(60), again=1) as session:
        with pytest.raises(requests.ConnectionError):
            session.get(server.url)
        with pytest.raises(requests.ConnectionError):
            session.post(server.url)
    assert [head.split(b" ")[0] for head in server.heads] == [b"GET", b"GET", b"POST"]


def test_an_answer_that_breaks_off_is_not_asked_for_again(tmp_path: Path) -> None:
    def break_off(server: Hostile, connection: socket.socket) -> None:
        server.send(connection, HEAD + b"Content-Length: 9\r\n\r\nok")

    with (
        serving(tmp_path, break_off, tls=False) as server,
        Session(Deadline(60), again=3) as session,
        pytest.raises(requests.ConnectionError),
    ):
        session.get(server.url)
    assert len(server.heads) == 1
