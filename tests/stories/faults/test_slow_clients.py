"""Clients that keep a server waiting: others are served meanwhile, and afterwards the server is as before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import wire
from crowds import HEADER, Crowd, sockets, until_sockets
from running import ACCOUNT, CA, answer

from acme_iid.simulator import aws

BODY = HEADER + b'Content-Length: 1000\r\n\r\n{"protected": "'
REFUSED = b"HTTP/1.1 408 Request Timeout"


@pytest.fixture
def ca(tmp_path: Path) -> Iterator[CA]:
    made = CA(tmp_path / "ca")
    made.init()
    made.start()
    yield made
    assert "Traceback" not in "".join(made.log)
    if made.process is not None:
        made.kill()


def resident(ca: CA) -> int:
    """The server's memory, octets."""
    (pid,) = ca.workers()
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


def order(ca: CA) -> None:
    """Get a certificate, as a client that came later and leaves."""
    assert ca.account().obtain("foo.local", answer=answer(aws.Instance(account=ACCOUNT))).chain
    while wire.OPEN:
        wire.OPEN.pop().close()


def test_400_bodies_at_an_octet_a_second_keep_nobody_out_and_are_refused(ca: CA) -> None:
    before = sockets(ca)
    with Crowd(ca, 400, said=BODY).drip(b"a") as crowd:
        order(ca)
        answers = crowd.answers(40)
    # Some were cut while they were still sending, and have not read their answer.
    assert set(answers) <= {REFUSED, b""}
    assert answers.count(REFUSED) > 200
    until_sockets(ca, before, 20)
    order(ca)


def test_a_body_that_does_not_come_is_refused_with_408(ca: CA) -> None:
    before = sockets(ca)
    with Crowd(ca, 3, said=BODY) as crowd:
        order(ca)
        assert crowd.answers(30) == [REFUSED] * 3
    until_sockets(ca, before, 20)


def test_400_headers_at_an_octet_a_second_keep_nobody_out_and_are_ended(ca: CA) -> None:
    before = sockets(ca)
    with Crowd(ca, 400, said=HEADER + b"X: ").drip(b"a") as crowd:
        order(ca)
        crowd.answers(40)
    until_sockets(ca, before, 20)
    order(ca)


def test_ten_thousand_connections_on_which_nothing_comes_keep_nobody_out(ca: CA) -> None:
    before, memory = sockets(ca), resident(ca)
    with Crowd(ca, 10_000, tls=False):
        many = sockets(ca)
        assert many > 1_000  # on a loaded machine the first are given up before the last are made
        assert (resident(ca) - memory) / many < 160_000
        order(ca)
        until_sockets(ca, before, 40)  # the server's own doing
    order(ca)


def test_700_tls_connections_without_a_request_keep_nobody_out(ca: CA) -> None:
    before = sockets(ca)
    with Crowd(ca, 700):
        # More than there ever were threads; on a loaded machine the first are given up before the last are made.
        assert sockets(ca) > before + 300
        order(ca)
        until_sockets(ca, before, 40)
    order(ca)


@pytest.mark.parametrize("said", [b"", HEADER, BODY], ids=["nothing", "half a header", "half a body"])
def test_clients_that_vanish_without_a_word_leave_nothing_behind(ca: CA, said: bytes) -> None:
    before = sockets(ca)
    crowd = Crowd(ca, 100, said=said)
    # The last connection of the setting up may have been counted before.
    assert sockets(ca) >= before + 90
    crowd.vanish()
    order(ca)
    until_sockets(ca, before, 60)
    order(ca)


@pytest.mark.parametrize(
    "said",
    [HEADER, BODY, b"GET /acme/directory HTTP/1.1\r\nHost: ca\r\n\r\n" * 50],
    ids=["half a header", "half a body", "fifty requests"],
)
def test_connections_that_are_reset_in_the_middle_leave_nothing_behind(ca: CA, said: bytes) -> None:
    before = sockets(ca)
    for _ in range(3):
        Crowd(ca, 50, said=said).reset()
    until_sockets(ca, before, 30)
    order(ca)
