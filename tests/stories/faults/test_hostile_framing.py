"""Bodies that are too large, in chunks, or said to end in two places: a clear answer, and no request that nobody sent.

Each test sends octets on a connection of its own, and a last request that has the server close it. What comes back is
read to its end: it may end early, but nothing that stands in a body is ever answered (RFC 9112 section 11.2).
"""

from __future__ import annotations

import json
import time

import pytest
from framing import LAST, OVERSIZED, Response, exchange
from running import CA
from wire import JOSE, Key

from acme_iid.serving.messages import MAX_REQUEST_BYTES

HIDDEN = b"GET /acme/directory HTTP/1.1\r\nHost: ca\r\n\r\n"
"""What would be answered if it were taken for a request."""


def post(path: str = "/acme/new-order", *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: ca", f"Content-Type: {JOSE}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def signed(ca: CA) -> bytes:
    """A request that is right: newAccount, with a key of its own."""
    wire = ca.wire()
    return json.dumps(wire.body(wire.directory["newAccount"], {"termsOfServiceAgreed": True}, Key(), None)).encode()


def chunks(*parts: bytes, extension: bytes = b"", trailer: bytes = b"") -> bytes:
    sized = b"".join(b"%x%s\r\n%s\r\n" % (len(part), extension, part) for part in parts)
    return sized + b"0" + extension + b"\r\n" + trailer + b"\r\n"


CHUNKED = "Transfer-Encoding: chunked"


@pytest.mark.parametrize("extension", [b"", b";a=b", b';name="quoted; \\"text\\""'])
@pytest.mark.parametrize("trailer", [b"", b"X-Late: yes\r\n"])
def test_a_body_in_chunks_is_read_as_any_other(shared_ca: CA, extension: bytes, trailer: bytes) -> None:
    body = signed(shared_ca)
    sent = chunks(body[:10], body[10:11], body[11:], extension=extension, trailer=trailer)
    made, last = exchange(shared_ca, post("/acme/new-account", CHUNKED) + sent)
    assert (made.status, last.status) == (201, 200)


def test_a_length_behind_the_chunks_is_refused_and_ends_the_connection(shared_ca: CA) -> None:
    sent = chunks(signed(shared_ca), trailer=b"Content-Length: 5\r\n")
    (refused,) = exchange(shared_ca, post("/acme/new-account", CHUNKED) + sent + HIDDEN)
    check_refused([refused], 400)


def test_requests_that_are_sent_at_once_are_answered_in_their_order(shared_ca: CA) -> None:
    body = signed(shared_ca)
    request = post("/acme/new-account", f"Content-Length: {len(body)}") + body
    nothing = b"GET /acme/nothing HTTP/1.1\r\nHost: ca\r\n\r\n"
    found = exchange(shared_ca, HIDDEN + request + nothing + HIDDEN + request)
    # The second time its nonce is spent.
    assert [response.status for response in found] == [200, 201, 404, 200, 400, 200]


def check_refused(found: list[Response], *statuses: int) -> None:
    """The first answer is a refusal, and nothing but the last request is answered after it."""
    assert found[0].status in statuses, found
    assert len(found) <= 2, found
    if found[0].headers.get("content-type") == "application/problem+json":
        assert json.loads(found[0].body)["status"] == found[0].status
    for response in found[1:]:
        assert response.status == 200
        assert b"newNonce" not in response.body


@pytest.mark.parametrize("size", [MAX_REQUEST_BYTES + 1, 1024 * 1024])
def test_a_body_that_is_too_large_is_413(shared_ca: CA, size: int) -> None:
    filler = (HIDDEN * (size // len(HIDDEN) + 1))[:size]
    check_refused(exchange(shared_ca, post("/acme/new-order", f"Content-Length: {size}") + filler), 413)
    check_refused(exchange(shared_ca, post("/acme/new-order", CHUNKED) + chunks(filler)), 413)


def test_a_client_that_only_sends_megabytes_may_find_itself_cut_off(shared_ca: CA) -> None:
    filler = HIDDEN * (3 * 1024 * 1024 // len(HIDDEN))
    for request in (
        post("/acme/new-order", f"Content-Length: {len(filler)}") + filler,
        post("/acme/new-order", CHUNKED) + chunks(filler),
    ):
        found = exchange(shared_ca, request)
        assert [response.status for response in found] in ([], [413])


def test_chunks_without_an_end_are_413_or_end_the_connection(shared_ca: CA) -> None:
    endless = b"%x\r\n%s\r\n" % (len(HIDDEN), HIDDEN) * 60_000
    found = exchange(shared_ca, post("/acme/new-order", CHUNKED) + endless)
    assert [response.status for response in found] in ([], [413])


def test_a_length_beyond_all_bounds_is_refused_without_waiting_for_it(shared_ca: CA) -> None:
    for length, status in (("10000000000", 413), ("18446744073709551614", 413), ("9" * 40, 400)):
        began = time.monotonic()
        check_refused(exchange(shared_ca, post("/acme/new-order", f"Content-Length: {length}"), last=b""), status)
        assert time.monotonic() - began < 60


@pytest.mark.parametrize(
    "body",
    [
        b"FFFFFFFFFFFFFFFF1\r\n" + HIDDEN,
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"\r\n0\r\n\r\n" + HIDDEN,
        b"5\r\nhelloX\r\n0\r\n\r\n" + HIDDEN,
        b"5\r\nhello0\r\n\r\n" + HIDDEN,
        b"5" + b";x" * 50_000 + b"\r\nhello\r\n0\r\n\r\n" + HIDDEN,
        b"0\r\nX: " + b"y" * 200_000 + b"\r\n\r\n" + HIDDEN,
        b"5\nhello\n0\n\n" + HIDDEN,
    ],
    ids=["huge", "negative", "hexadecimal", "plus", "none", "too long", "no end", "extensions", "trailer", "bare LF"],
)
def test_chunks_that_are_none_are_refused_and_end_the_connection(shared_ca: CA, body: bytes) -> None:
    found = exchange(shared_ca, post("/acme/new-order", CHUNKED) + body)
    # Who still sends when the server closes may miss the answer.
    assert len(found) == 1 or (found == [] and len(body) > 65536)
    for refused in found:
        check_refused([refused], 400, 408, 413)


@pytest.mark.parametrize(
    "headers",
    [
        ("Content-Length: 5", "Content-Length: 6"),
        ("Content-Length: 5, 6",),
        ("Content-Length: +5",),
        ("Content-Length: -5",),
        ("Content-Length: 5x",),
        ("Content-Length : 5",),
        ("Transfer-Encoding : chunked",),
        ("Transfer-Encoding: identity",),
        ("Transfer-Encoding: chunked, identity",),
        ("Transfer-Encoding: xchunked",),
        ("Transfer-Encoding: gzip",),
        ("X: y\r\n Transfer-Encoding: chunked",),
    ],
)
def test_a_body_without_a_clear_end_is_refused_and_ends_the_connection(shared_ca: CA, headers: tuple[str, ...]) -> None:
    (refused,) = exchange(shared_ca, post("/acme/new-order", *headers) + b"hello" + HIDDEN)
    check_refused([refused], 400, 411, 501)


def test_of_a_length_and_chunks_the_chunks_count_and_nothing_is_smuggled(shared_ca: CA) -> None:
    body = signed(shared_ca)
    for length in (5, len(chunks(body)), len(chunks(body)) + len(HIDDEN)):
        for order in ((CHUNKED, f"Content-Length: {length}"), (f"Content-Length: {length}", CHUNKED)):
            found = exchange(shared_ca, post("/acme/new-account", *order) + chunks(body))
            assert found[0].status in (200, 201, 400), found
            assert len(found) <= 2
    # By its length this would be one request, with another in its body.
    found = exchange(shared_ca, post("/acme/new-order", CHUNKED, "Content-Length: 100") + b"0\r\n\r\n", last=b"G")
    assert [response.status for response in found][:1] == [400]
    assert len(found) <= 2


@pytest.mark.parametrize("path", ["/acme/nothing", "/acme/directory", "/health", "/"])
@pytest.mark.parametrize("method", [b"GET", b"POST", b"PUT", b"DELETE"])
def test_a_body_that_nobody_reads_is_no_request(shared_ca: CA, path: str, method: bytes) -> None:
    request = method + b" " + path.encode() + b" HTTP/1.1\r\nHost: ca\r\nContent-Length: %d\r\n\r\n" % len(HIDDEN)
    found = exchange(shared_ca, request + HIDDEN)
    assert len(found) <= 2
    if len(found) == 2:
        assert found[1].status == 200
        assert b"newNonce" not in found[1].body


def test_http_1_0_has_no_chunks(shared_ca: CA) -> None:
    request = post("/acme/new-order", CHUNKED).replace(b"HTTP/1.1", b"HTTP/1.0")
    found = exchange(shared_ca, request + b"5\r\nhello\r\n0\r\n\r\n" + HIDDEN)
    check_refused(found, 400, 411)
    assert len(found) == 1


@pytest.mark.parametrize("part", OVERSIZED)
def test_a_header_that_is_too_large_is_refused_and_ends_the_connection(shared_ca: CA, part: str) -> None:
    began = time.monotonic()
    (refused,) = exchange(shared_ca, OVERSIZED[part], last=b"" if part == "unended" else LAST)
    check_refused([refused], 400)
    # Long before the time that a header may take is over.
    assert time.monotonic() - began < 10
