"""Answers that do not end, come slowly or grow when they are decompressed, to every kind of request of the client."""

from __future__ import annotations

import ast
import gzip
import os
import re
import socket
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from hostile import HEAD, MOST_SECONDS, Hostile, serving
from running import Run

import acme_iid_client
import certbot_acme_iid
from acme_iid import bounded
from acme_iid_client.clouds.metadata import FormatUnavailableError, MetadataService, NoAnswerError
from acme_iid_client.clouds.sigv4 import Credentials
from acme_iid_client.clouds.sts import web_identity_token
from acme_iid_client.deadline import Deadline
from acme_iid_client.errors import ClientError
from acme_iid_client.transport.session import MAX_BYTES, TooLargeError
from acme_iid_client.transport.trust import PinnedSession, fetch_unverified

Answer = Callable[[Hostile, socket.socket], None]

LIBRARIES = re.compile(r"(requests|urllib3|urllib\.request|http|socket|aiohttp|httpx)\b")
CONNECTS = re.compile(
    LIBRARIES.pattern + r"\S*\.(get|post|put|head|request|urlopen|socket|create_connection|HTTPResponse|HTTPAdapter|"
    r"\w*[Ss]ession|\w*Manager|\w*Pool|\w*Connection)\Z"
)
"""What makes a connection or reads from one, by its name in a call or before a class."""

KEPT = 16 * MAX_BYTES
"""More than the system keeps of what a program does not read."""


def endlessly(head: bytes, piece: bytes) -> Answer:
    """An answer that goes on until the client leaves."""

    def answer(server: Hostile, connection: socket.socket) -> None:
        server.send(connection, head)
        while server.sent < 64 * KEPT:
            server.send(connection, piece)

    return answer


def slowly(head: bytes, piece: bytes = b"x") -> Answer:
    """An answer that goes on for minutes, an octet at a time."""

    def answer(server: Hostile, connection: socket.socket) -> None:
        server.send(connection, head)
        end = time.monotonic() + MOST_SECONDS
        while time.monotonic() < end:
            server.send(connection, piece)
            time.sleep(0.05)

    return answer


def whole(body: bytes, coding: str) -> Answer:
    """One answer."""
    head = HEAD + f"Content-Encoding: {coding}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    return lambda server, connection: server.send(connection, head + body)


CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
ENDLESS = {
    "a length": endlessly(HEAD + b"Content-Length: 1099511627776\r\n\r\n", b" " * 65536),
    "no length": endlessly(HEAD + b"\r\n", b" " * 65536),
    "chunks": endlessly(CHUNKED, b"10000\r\n" + b" " * 65536 + b"\r\n"),
    "small chunks": endlessly(CHUNKED, b"1\r\n \r\n" * 8192),
    "a chunk's extension": endlessly(CHUNKED + b"1;", b"x" * 65536),
    "trailers": endlessly(CHUNKED + b"0\r\n", b"A: b\r\n" * 8192),
    "interim answers": endlessly(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 2048),
}
BOMB = zlib.compress(bytes(64 * MAX_BYTES), 9)
BOMBS = {
    "gzip": whole(gzip.compress(bytes(64 * MAX_BYTES), 9), "gzip"),
    "gzip, named as of old": whole(gzip.compress(bytes(64 * MAX_BYTES), 9), "x-gzip"),
    "deflate": whole(BOMB, "deflate"),
    "gzip twice": whole(gzip.compress(gzip.compress(bytes(64 * MAX_BYTES), 9)), "gzip, gzip"),
    "a redirect": lambda server, connection: server.send(
        connection,
        b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Encoding: deflate\r\n"
        + f"Content-Length: {len(BOMB)}\r\n\r\n".encode()
        + BOMB,
    ),
}
SLOW = {
    "a body": slowly(HEAD + b"Content-Length: 100000\r\n\r\n"),
    "chunks": slowly(CHUNKED, b"1\r\nx\r\n"),
    "a status line": slowly(b"HTTP/1.1 2"),
    "a header": slowly(HEAD + b"A: "),
    "headers": slowly(HEAD, b"A: b\r\n"),
    "interim answers": slowly(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.parametrize("answer", ENDLESS.values(), ids=ENDLESS)
def test_an_answer_that_does_not_end_is_left(answer: Answer, tmp_path: Path) -> None:
    with serving(tmp_path, answer) as server, PinnedSession(server.root_file, Deadline(60)) as session:
        with pytest.raises((TooLargeError, requests.ConnectionError)):
            session.get(server.url)
        assert server.gone.wait(60), "the client has not hung up"
        assert server.sent < KEPT


@pytest.mark.parametrize("answer", BOMBS.values(), ids=BOMBS)
def test_an_answer_that_grows_when_decompressed_is_refused(answer: Answer, tmp_path: Path) -> None:
    peak()
    before = peak()
    with (
        serving(tmp_path, answer) as server,
        PinnedSession(server.root_file, Deadline(60)) as session,
        pytest.raises((ClientError, requests.RequestException)),
    ):
        session.get(server.url)
    assert peak() - before < 16 * 1024, "KiB"


def peak() -> int:
    """The most memory that this process has had since it was last asked, KiB (proc(5), clear_refs)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    Path("/proc/self/clear_refs").write_text("5")
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


@pytest.mark.parametrize("answer", SLOW.values(), ids=SLOW)
def test_an_answer_that_trickles_ends_with_the_time(answer: Answer, tmp_path: Path) -> None:
    with serving(tmp_path, answer) as server, PinnedSession(server.root_file, Deadline(1)) as session:
        with pytest.raises(requests.Timeout):
            session.get(server.url)
        assert server.gone.wait(60), "the client has not hung up"


def test_a_largest_answer_is_taken_and_one_octet_more_is_not(tmp_path: Path) -> None:
    def answer(server: Hostile, connection: socket.socket) -> None:
        size = MAX_BYTES + (b"/more" in server.heads[-1])
        server.send(connection, HEAD + f"Content-Length: {size}\r\n\r\n".encode() + b" " * size)

    with serving(tmp_path, answer) as server, PinnedSession(server.root_file, Deadline(60)) as session:
        assert len(session.get(server.url).content) == MAX_BYTES
        with pytest.raises(TooLargeError):
            session.get(server.url + "/more")


@pytest.mark.parametrize(
    ("coding", "body"),
    [("gzip", gzip.compress(b"ok", mtime=0)), ("deflate", zlib.compress(b"ok")), ("identity", b"ok")],
)
def test_what_a_proxy_has_compressed_is_read(coding: str, body: bytes, tmp_path: Path) -> None:
    with serving(tmp_path, whole(body, coding)) as server, PinnedSession(server.root_file, Deadline(60)) as session:
        assert session.get(server.url).content == b"ok"
    assert b"accept-encoding: identity\r\n" in server.heads[0].lower()


def test_a_root_that_does_not_end_is_left_before_it_is_verified(tmp_path: Path) -> None:
    with serving(tmp_path, ENDLESS["a length"]) as server:
        with pytest.raises(ClientError, match="larger than any root certificate"):
            fetch_unverified(f"{server.url}/root/00", Deadline(60), print)
        assert server.sent < KEPT


def test_a_metadata_services_answer_that_trickles_ends_with_the_time(tmp_path: Path) -> None:
    with serving(tmp_path, SLOW["a header"], tls=False) as server:
        with pytest.raises(NoAnswerError):
            MetadataService(server.url).try_once("GET", "/latest/meta-data/", {}, seconds=1)
        assert server.gone.wait(60), "the client has not hung up"


def test_a_metadata_services_answer_that_is_too_large_is_left(tmp_path: Path) -> None:
    with (
        serving(tmp_path, whole(b" " * (128 * 1024), "identity"), tls=False) as server,
        pytest.raises(ClientError, match="larger than 65536 octets"),
    ):
        MetadataService(server.url).try_once("GET", "/latest/meta-data/", {}, seconds=60)


def test_an_answer_of_sts_that_is_larger_than_any_token_is_left(tmp_path: Path) -> None:
    body = b" " * (128 * 1024)
    with serving(tmp_path, whole(body, "identity"), tls=False) as server:
        env = {**os.environ, "AWS_ENDPOINT_URL_STS": server.url}
        with pytest.raises(FormatUnavailableError, match="larger than any token"):
            web_identity_token(Credentials("AKIDEXAMPLE", "secret", "token"), "us-east-1", "acme-iid-01:x", env)


def test_health_ends_with_its_time(acme_iid: Run, tmp_path: Path) -> None:
    with serving(tmp_path, SLOW["a body"]) as server:
        done = acme_iid("health", "--ca-url", server.url, "--root", server.root_file, "--timeout", "2")
    assert done.returncode != 0
    assert "did not answer in time" in done.stderr


def test_all_http_of_the_client_goes_through_the_bounded_session() -> None:
    nodes = [
        (file.name, node)
        for package in (acme_iid_client, certbot_acme_iid, bounded)
        for file in Path(package.__file__ or "").parent.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
    ]
    calls = {(file, ast.unparse(node.func)) for file, node in nodes if isinstance(node, ast.Call)}
    bases = {(file, ast.unparse(base)) for file, node in nodes if isinstance(node, ast.ClassDef) for base in node.bases}
    # It reads from a connection that there is.
    assert {(file, name) for file, name in calls if CONNECTS.match(name)} == {
        ("reading.py", "http.client.HTTPResponse"),
    }
    assert {(file, name) for file, name in bases if CONNECTS.match(name)} == {
        ("session.py", "requests.Session"),
        ("adapter.py", "requests.adapters.HTTPAdapter"),
    }
    imported = {
        (file, node.module, alias.name)
        for file, node in nodes
        if isinstance(node, ast.ImportFrom) and LIBRARIES.match(node.module or "")
        for alias in node.names
    }
    assert imported == {
        ("adapter.py", "urllib3.connection", "HTTPConnection"),
        ("trust.py", "requests", "RequestException"),
        ("trust.py", "requests.utils", "DEFAULT_CA_BUNDLE_PATH"),
    }
