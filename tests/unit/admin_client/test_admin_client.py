"""The client of the admin API: who is believed, how much is read, and what is said where there is no answer."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hostile import HEAD, Hostile, serving
from operators import OperatorCA
from ports import free_port

from acme_iid.admin_client.client import AdminClient
from acme_iid.admin_client.errors import AdminError, OutcomeUnknownError, UnavailableError
from acme_iid.admin_client.places import Identity, Place, place

Answer = Callable[[Hostile, socket.socket], None]


def sends(body: bytes, head: bytes = HEAD) -> Answer:
    """Answers once, with so many octets."""
    data = head + f"Content-Length: {len(body)}\r\n\r\n".encode() + body
    return lambda server, stream: server.send(stream, data)


def problem(status: str, /, **members: object) -> Answer:
    """Answers with a problem document."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/problem+json\r\n".encode()
    return sends(json.dumps(members).encode(), head)


@contextmanager
def at_a_socket(folder: Path, answer: Answer) -> Iterator[tuple[Hostile, Place]]:
    """A server at a unix socket."""
    server, path = Hostile(folder, answer, tls=False), folder / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=server.serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield server, Place(socket=path)
        finally:
            listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An operator's key and certificate in a file."""
    folder = tmp_path_factory.mktemp("operator")
    return OperatorCA().operator(folder, "desk")


def over_tls(server: Hostile, operator: Path, roots: Path | None = None, host: str = "127.0.0.1") -> AdminClient:
    at = place(server.url.replace("127.0.0.1", host))
    return AdminClient(at, Identity(operator, operator, roots or server.root_file), seconds=20)


def refusal(client: AdminClient, method: str = "GET") -> AdminError:
    with pytest.raises(AdminError) as caught:
        client.ask(method, "/x", {})
    client.close()
    return caught.value


# What is sent


def test_a_read_has_its_parameters_in_the_query_and_no_body(tmp_path: Path) -> None:
    with at_a_socket(tmp_path, sends(b'{"items": []}')) as (server, at):
        given = {"limit": 5, "blocked": True, "name": "*.é&=.local"}
        assert AdminClient(at).ask("GET", "/instances", given) == {"items": []}
    line = server.heads[0].split(b"\r\n")[0]
    assert line == b"GET /instances?limit=5&blocked=true&name=%2A.%C3%A9%26%3D.local HTTP/1.1"
    assert b"content-length" not in server.heads[0].lower()


def test_a_change_is_one_json_object(tmp_path: Path) -> None:
    bodies = []

    def answer(server: Hostile, stream: socket.socket) -> None:
        _, _, body = server.heads[-1].partition(b"\r\n\r\n")
        bodies.append(body or stream.recv(65536))
        sends(b"{}")(server, stream)

    with at_a_socket(tmp_path, answer) as (server, at):
        assert AdminClient(at).ask("POST", "/instances/i-1/block", {"reason": "é"}) == {}
    assert server.heads[0].startswith(b"POST /instances/i-1/block HTTP/1.1\r\n")
    assert b"\r\nContent-Type: application/json\r\n" in server.heads[0]
    assert json.loads(bodies[0]) == {"reason": "é"}


def test_a_connection_is_used_again_and_a_closed_one_is_made_anew(tmp_path: Path) -> None:
    def answer(server: Hostile, stream: socket.socket) -> None:
        sends(b"1")(server, stream)
        if server.connections == 1 and stream.recv(65536):
            sends(b"2")(server, stream)

    with at_a_socket(tmp_path, answer) as (server, at):
        client = AdminClient(at)
        # The third finds a connection that was closed, and is sent once more on another one.
        assert [client.ask("GET", "/x", {}) for _ in range(3)] == [1, 2, 1]
        assert server.connections == 2


# Who is believed


def test_a_server_under_the_roots_is_believed(tmp_path: Path, operator: Path) -> None:
    with serving(tmp_path, sends(b"{}")) as server:
        assert over_tls(server, operator).ask("GET", "/x", {}) == {}


def test_a_server_under_other_roots_gets_no_request(tmp_path: Path, operator: Path) -> None:
    other = OperatorCA(name="Other Root").write(tmp_path)
    with serving(tmp_path, sends(b"{}")) as server:
        error = refusal(over_tls(server, operator, other), "POST")
        assert server.heads == []
    assert "is not the CA's" in error.detail
    assert "--admin-ca has to be the file of the CA's own roots" in error.detail
    assert not isinstance(error, UnavailableError)


def test_a_server_of_another_name_gets_no_request(tmp_path: Path, operator: Path) -> None:
    with serving(tmp_path, sends(b"{}")) as server:
        assert over_tls(server, operator, host="localhost").ask("GET", "/x", {}) == {}
        heads = len(server.heads)
        # The same address, under a name that its certificate does not have.
        error = refusal(over_tls(server, operator, host="127.1"))
        assert len(server.heads) == heads
    assert "is not the CA's" in error.detail


def test_the_machines_own_roots_are_not_believed(
    tmp_path: Path, operator: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = OperatorCA(name="Other Root").write(tmp_path)
    with serving(tmp_path, sends(b"{}")) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(server.root_file))
        assert "is not the CA's" in refusal(over_tls(server, operator, other)).detail


def test_a_server_that_knows_no_tls_1_3_gets_no_request(tmp_path: Path, operator: Path) -> None:
    class Old(Hostile):
        def context(self) -> ssl.SSLContext:
            made = super().context()
            made.maximum_version = ssl.TLSVersion.TLSv1_2
            return made

    server = Old(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server.url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        threading.Thread(target=lambda: server.serve(listener.accept()[0]), daemon=True).start()
        refusal(over_tls(server, operator))
    assert server.heads == []


@pytest.mark.parametrize("missing", ["certificate", "key", "roots"])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, operator: Path, missing: str) -> None:
    files = {"certificate": operator, "key": operator, "roots": operator} | {missing: tmp_path / "none.pem"}
    with pytest.raises(AdminError, match="No such file or directory"):
        AdminClient(place("https://127.0.0.1:1"), Identity(**files))


# How much is read


def test_an_answer_of_too_many_octets_is_not_read(tmp_path: Path) -> None:
    def endless(server: Hostile, stream: socket.socket) -> None:
        server.send(stream, HEAD + b"\r\n")
        while True:
            server.send(stream, b" " * 65536)

    with at_a_socket(tmp_path, endless) as (server, at):
        error = refusal(AdminClient(at, octets=1_000_000))
        assert server.gone.wait(30)
    assert error.detail == f"the answer of {at} has more than 1000000 octets; ask for fewer rows at once (--limit)"
    assert server.sent < 20_000_000


@pytest.mark.parametrize("beginning", [b"", b"HTTP/1.1 200 OK\r\nX-", HEAD + b"Content-Length: 100000\r\n\r\n["])
def test_an_answer_that_trickles_ends_in_time(tmp_path: Path, beginning: bytes) -> None:
    def trickle(server: Hostile, stream: socket.socket) -> None:
        server.send(stream, beginning or b"HTTP")
        for _ in range(200):
            server.send(stream, b"1")
            time.sleep(0.05)

    with at_a_socket(tmp_path, trickle) as (_, at):
        error = refusal(AdminClient(at, seconds=1))
    assert isinstance(error, UnavailableError)
    assert error.detail.startswith(f"{at} did not answer within 1 seconds")


def test_a_handshake_that_does_not_end_ends_in_time(operator: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        at = place(f"https://127.0.0.1:{silent.getsockname()[1]}")
        error = refusal(AdminClient(at, Identity(operator, operator, operator), seconds=1))
    assert "did not answer within 1 seconds" in error.detail


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b"{", b"\xff", b""], ids=["too deep", "cut off", "not a text", "empty"]
)
def test_an_answer_that_is_no_json_is_no_admin_api(tmp_path: Path, body: bytes) -> None:
    with at_a_socket(tmp_path, sends(body)) as (_, at):
        assert "is no admin API of acme-iid" in refusal(AdminClient(at)).detail


@pytest.mark.parametrize("status", ["200 OK", "302 Found", "404 Not Found", "502 Bad Gateway"])
def test_a_page_of_some_other_server_is_no_admin_api(tmp_path: Path, status: str) -> None:
    head = f"HTTP/1.1 {status}\r\nLocation: https://127.0.0.1/\r\n".encode()
    with at_a_socket(tmp_path, sends(b"<html>", head)) as (server, at):
        error = refusal(AdminClient(at))
        assert server.connections == 1
    assert (error.status, "is no admin API" in error.detail) == (int(status[:3]), True)


def test_a_text_is_given_as_it_is(tmp_path: Path) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n"
    with at_a_socket(tmp_path, sends("é\n".encode(), head)) as (_, at):
        assert AdminClient(at).ask("GET", "/events/stream", {}) == "é\n"


# What is said


def test_a_problem_document_is_an_error_with_all_that_it_says(tmp_path: Path) -> None:
    members = {"type": "urn:acme-iid:admin:forbidden", "title": "This takes another role", "status": 403,
               "detail": "it takes the role operator", "role": "operator"}  # fmt: skip
    with at_a_socket(tmp_path, problem("403 Forbidden", **members)) as (_, at):
        error = refusal(AdminClient(at), "POST")
    assert type(error) is AdminError
    assert (error.type, error.title, error.status) == (members["type"], members["title"], 403)
    assert (str(error), error.members) == ("it takes the role operator", {"role": "operator"})


@pytest.mark.parametrize(
    ("status", "word", "kind"),
    [
        ("503 Service Unavailable", "unavailable", UnavailableError),
        ("503 Service Unavailable", "outcomeUnknown", OutcomeUnknownError),
        ("429 Too Many Requests", "tooMany", UnavailableError),
        ("409 Conflict", "conflict", AdminError),
    ],
)
def test_a_problem_says_whether_to_ask_again(tmp_path: Path, status: str, word: str, kind: type[AdminError]) -> None:
    with at_a_socket(tmp_path, problem(status, type=f"urn:acme-iid:admin:{word}", detail="later")) as (_, at):
        error = refusal(AdminClient(at), "POST")
    assert (type(error), str(error)) == (kind, "later")


def test_a_socket_that_is_not_there_is_a_sentence_with_what_to_do(tmp_path: Path) -> None:
    error = refusal(AdminClient(Place(socket=tmp_path / "none.sock")))
    assert isinstance(error, UnavailableError)
    assert str(error).startswith(
        f"there is no admin socket {tmp_path / 'none.sock'}: start the CA's server with socket"
    )


def test_a_socket_that_nobody_listens_at_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "stale.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    error = refusal(AdminClient(Place(socket=path)), "POST")
    assert str(error) == f"nobody answers at the admin socket {path}: start the CA's server"


def test_a_port_that_nobody_listens_at_is_a_sentence(operator: Path) -> None:
    at = place(f"https://127.0.0.1:{free_port()}")
    error = refusal(AdminClient(at, Identity(operator, operator, operator)), "POST")
    assert str(error) == f"{at} does not answer: Connection refused"


def test_a_change_whose_answer_is_lost_may_have_been_made(tmp_path: Path) -> None:
    with at_a_socket(tmp_path, lambda _server, _stream: None) as (server, at):
        changed, read = refusal(AdminClient(at), "POST"), refusal(AdminClient(at), "GET")
        # A change is not asked for twice.
        assert server.connections == 2
    assert isinstance(changed, OutcomeUnknownError)
    assert "Whether this was done is not known" in str(changed)
    assert type(read) is UnavailableError


@pytest.mark.parametrize(
    ("url", "at"),
    [
        ("unix:/run/a.sock", Place(socket=Path("/run/a.sock"))),
        ("https://ca.internal:8443", Place(host="ca.internal", port=8443)),
        ("https://ca.internal/", Place(host="ca.internal", port=443)),
        ("https://[::1]:8443", Place(host="::1", port=8443)),
    ],
)
def test_a_place_is_read_and_written(url: str, at: Place) -> None:
    assert place(url) == at
    assert place(str(at)) == at


@pytest.mark.parametrize(
    "url",
    ["", "unix:", "unix:run/a", "http://ca:1", "https://", "https://ca:0x1", "https://ca:99999", "https://u@ca",
     "https://ca/path", "https://ca?x", "https://ca#x", "ca:8443", "https://ca\n", "https://[::1"],
)  # fmt: skip
def test_what_is_no_place_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="is no place of an admin API"):
        place(url)
