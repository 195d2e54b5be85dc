"""Clients of the listener for plain HTTP that take too much: it has the limits of the ACME server, and fewer places."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack

import pytest
import requests
import wire
from certificate_status_requests import listen_by_plain_http
from crowds import Crowd, sockets, until_sockets
from framing import LAST, OVERSIZED, exchange
from running import ACCOUNT, CA, answer
from serving import wait_until

from acme_iid.app import MOST_STATUS
from acme_iid.serving.process import MOST_STATUS_CONNECTIONS
from acme_iid.simulator import aws

HEADER = b"POST /ocsp HTTP/1.1\r\nHost: ca\r\nContent-Type: application/ocsp-request\r\n"
BODY = HEADER + b"Content-Length: 1000\r\n\r\n0"
REFUSED = b"HTTP/1.1 408 Request Timeout"


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CA]:
    made = CA(tmp_path_factory.mktemp("plain") / "ca")
    made.init()
    listen_by_plain_http(made)
    made.start()
    yield made
    assert "Traceback" not in "".join(made.log)
    made.stop()


@pytest.fixture
def port(ca: CA) -> int:
    return int((ca.home / "ca.toml").read_text().rpartition(":")[2].partition('"')[0])


def fetch(ca: CA, port: int) -> int:
    """Fetch the list as a relying party that leaves then; the status."""
    with requests.Session() as session:
        session.trust_env = False
        return session.get(f"http://127.0.0.1:{port}/crl/{ca.issuer_id}", timeout=60).status_code


def order(ca: CA) -> None:
    """Get a certificate, as a client of the ACME server that leaves then."""
    assert ca.account().obtain("foo.local", answer=answer(aws.Instance(account=ACCOUNT))).chain
    while wire.OPEN:
        wire.OPEN.pop().close()


@pytest.mark.parametrize("part", OVERSIZED)
def test_a_header_that_is_too_large_is_refused_and_ends_the_connection(ca: CA, port: int, part: str) -> None:
    began = time.monotonic()
    (refused,) = exchange(ca, OVERSIZED[part], last=b"" if part == "unended" else LAST, plain=port)
    assert refused.status == 400
    assert time.monotonic() - began < 10


def test_headers_and_bodies_at_an_octet_a_second_keep_nobody_out(ca: CA, port: int) -> None:
    before = sockets(ca)
    with ExitStack() as stack:
        silent, headers, bodies = (
            stack.enter_context(Crowd(ca, 150, tls=False, port=port, said=said))
            for said in (b"", HEADER + b"X: ", BODY)
        )
        headers.drip(b"a")
        bodies.drip(b"a")
        order(ca)
        assert fetch(ca, port) == 200
        # Some were cut while they were still sending, and have not read their answer.
        answers = bodies.answers(40)
        assert set(answers) <= {REFUSED, b""}
        assert answers.count(REFUSED) > 75
        assert {*silent.answers(10), *headers.answers(10)} == {b""}
    until_sockets(ca, before, 20)
    assert fetch(ca, port) == 200


def test_connections_beyond_its_places_wait_and_take_nothing_from_acme(ca: CA, port: int) -> None:
    before = sockets(ca)
    with Crowd(ca, MOST_STATUS_CONNECTIONS + 300, tls=False, port=port), ThreadPoolExecutor(1) as pool:
        wait_until(lambda: sockets(ca) > before + MOST_STATUS_CONNECTIONS // 2)
        order(ca)
        # It is its turn when others have been given up.
        asked = pool.submit(fetch, ca, port)
        seen = [sockets(ca)]
        while wait([asked], 0.01).not_done:
            seen.append(sockets(ca))
        assert asked.result() == 200
        assert max(seen) <= before + MOST_STATUS_CONNECTIONS + 20
    until_sockets(ca, before, 20)


def test_requests_beyond_its_room_are_told_to_come_later(ca: CA, port: int) -> None:
    (server,) = ca.workers()
    before, count = sockets(ca), 4 * MOST_STATUS
    with Crowd(ca, count, tls=False, port=port) as crowd:
        wait_until(lambda: sockets(ca) >= before + count)
        # All of them are there in one turn of its loop.
        os.kill(server, signal.SIGSTOP)
        try:
            for stream in crowd.streams:
                stream.sendall(b"GET /crl/%s HTTP/1.1\r\nHost: ca\r\nConnection: close\r\n\r\n" % ca.issuer_id.encode())
        finally:
            os.kill(server, signal.SIGCONT)
        answers = crowd.answers(60)
    later = answers.count(b"HTTP/1.1 503 Service Unavailable")
    assert (later > 0, answers.count(b"HTTP/1.1 200 OK")) == (True, count - later)
    order(ca)
