"""Key sets whose issuers fail, are slow, lie or are down, and the refresh in the background."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path

import forge_tokens as tokens
import pytest
from publishers import NEW, NOW, OLD, Publisher, has_key, publishing
from trusting import trusting

from acme_iid.attestation.aws_trust import AwsTrust, WebIdentityIssuer
from acme_iid.attestation.keysets import (
    COOLDOWN,
    FETCH_SECONDS,
    MAX_KEY_SET_BYTES,
    REFRESH_AHEAD,
    WAIT_SECONDS,
    FetchedKeySet,
    ScopedKeySet,
    find_keys,
)
from acme_iid.attestation.registry import VERIFIERS
from acme_iid.errors import TrustUnavailableError
from acme_iid.simulator import aws
from acme_iid.simulator.listener import NoAnswer, Response, listening

# Faults


def _too_long() -> Response:
    return Response(HTTPStatus.OK, tokens.key_set(NEW) + b" " * MAX_KEY_SET_BYTES)


FAULTS: dict[str, tuple[Callable[[], Response | NoAnswer], str]] = {
    "an error": (lambda: Response(HTTPStatus.INTERNAL_SERVER_ERROR, tokens.key_set(NEW)), "status 500"),
    "not found": (lambda: Response(HTTPStatus.NOT_FOUND), "status 404"),
    "garbage": (lambda: Response(HTTPStatus.OK, b"<html>"), "not one JSON value"),
    "no keys": (lambda: Response(HTTPStatus.OK, b'{"keys": []}'), "holds no key"),
    "too long": (_too_long, "longer than 65536 bytes"),
    "cut off": (lambda: Response(HTTPStatus.OK, b"", {"Content-Length": "999"}), "no usable answer|no connection"),
    "hung up": (lambda: NoAnswer.CLOSED, "no connection, or one that broke"),
    "a redirect": (lambda: Response(HTTPStatus.FOUND, headers={"Location": "/elsewhere"}), "status 302"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_last_good_set_is_kept_when_a_fetch_fails(fault: str, caplog: pytest.LogCaptureFixture) -> None:
    publisher = Publisher()
    with publishing(publisher) as keys:
        assert has_key(keys, OLD)
        publisher.answers, words = FAULTS[fault]
        with caplog.at_level(logging.WARNING):
            assert has_key(keys, OLD, NOW + 3600)
            # Whether a key is new nobody can say now: that is our trouble, not the token's.
            with pytest.raises(TrustUnavailableError):
                has_key(keys, NEW, NOW + 3601)
        assert publisher.asked == ["/keys", "/keys"]
        (record,) = caplog.records
        assert "the last good one stays in use" in record.getMessage()
        assert any(word in record.getMessage() for word in words.split("|"))
        publisher.answers, publisher.keys = None, [NEW]
        assert has_key(keys, NEW, NOW + 3600 + COOLDOWN)


@pytest.mark.parametrize("fault", FAULTS)
def test_without_any_set_tokens_are_put_off_and_then_taken(fault: str) -> None:
    publisher = Publisher(answers=FAULTS[fault][0])
    verifier, evidence = VERIFIERS["gcp-identity"], tokens.gcp_identity()
    with listening(publisher) as running:
        trust = trusting(gcp_keys={"mine": f"{running.url}/keys"}, google=False)
        for second in range(3):
            with pytest.raises(TrustUnavailableError, match="is not available now"):
                verifier.authenticate(evidence, trust, NOW + second)
        assert publisher.asked == ["/keys"]
        publisher.answers, publisher.keys = None, [tokens.google()]
        claims = verifier.authenticate(evidence, trust, NOW + COOLDOWN)
        assert claims.scope == frozenset({"mine"})


def test_a_server_that_is_down_puts_tokens_off() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    keys = FetchedKeySet(f"http://127.0.0.1:{port}/keys")
    with pytest.raises(TrustUnavailableError):
        has_key(keys, OLD)


def test_a_silent_server_holds_nobody_up_for_longer_than_two_seconds() -> None:
    publisher = Publisher(answers=lambda: NoAnswer.SILENT)
    other = Publisher(answers=lambda: NoAnswer.SILENT)
    with publishing(publisher) as keys, publishing(other) as more:
        begun = time.monotonic()
        with pytest.raises(TrustUnavailableError):
            find_keys([ScopedKeySet(keys), *[ScopedKeySet(more)] * 9], OLD.kid, "ES384", NOW)
        # The pause is shared: each by itself would take ten times as long.
        assert WAIT_SECONDS - 0.5 < time.monotonic() - begun < 8 * WAIT_SECONDS


def test_an_answer_that_comes_late_is_taken_all_the_same() -> None:
    publisher, late = Publisher(), threading.Event()

    def slowly() -> Response:
        late.wait(10)
        return Response(HTTPStatus.OK, tokens.key_set(NEW))

    with publishing(publisher) as keys:
        assert has_key(keys, OLD)
        publisher.answers = slowly
        fetch = keys.request(NEW.kid, "ES384", NOW + COOLDOWN)
        assert fetch is not None
        # Until it is here nobody knows whether the key is a new one.
        with pytest.raises(TrustUnavailableError):
            keys.find(NEW.kid, "ES384")
        assert keys.find(OLD.kid, "ES384") is not None
        late.set()
        assert fetch.wait(10)
        assert has_key(keys, NEW, NOW + COOLDOWN)
        assert len(publisher.asked) == 2


@pytest.mark.parametrize("part", ["header", "body"])
def test_an_answer_that_trickles_is_given_up(part: str, caplog: pytest.LogCaptureFixture) -> None:
    body = tokens.key_set(OLD) + b" " * 1000
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nX-Padding: {'x' * 1000}\r\n\r\n".encode()
    stop = threading.Event()

    def trickle(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(head if part == "body" else b"")
            for byte in body if part == "body" else head + body:
                if stop.wait(0.1):
                    return
                connection.sendall(bytes([byte]))

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        serving = pool.submit(trickle, listener)
        keys = FetchedKeySet(f"http://127.0.0.1:{listener.getsockname()[1]}/keys")
        fetch = keys.request(OLD.kid, "ES384", NOW)
        assert fetch is not None
        assert fetch.wait(FETCH_SECONDS + 1)
        stop.set()
        assert isinstance(serving.exception(10), OSError | None)
        with pytest.raises(TrustUnavailableError):
            keys.find(OLD.kid, "ES384")
    assert "did not end within 5 seconds" in caplog.text


def test_what_this_machine_serves_goes_through_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with publishing(Publisher()) as keys:
        assert has_key(keys, OLD)


def test_a_server_with_a_certificate_of_its_own_making_is_not_believed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    aws.Keys.open(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "rsa2048.pem")

    def serve(listener: socket.socket) -> bytes:
        connection, _ = listener.accept()
        with connection, context.wrap_socket(connection, server_side=True) as encrypted:
            return encrypted.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        serving = pool.submit(serve, listener)
        with caplog.at_level(logging.WARNING), pytest.raises(TrustUnavailableError):
            has_key(FetchedKeySet(f"https://127.0.0.1:{listener.getsockname()[1]}/keys"), OLD)
        assert isinstance(serving.exception(10), ssl.SSLError)
    assert "its TLS certificate is not accepted" in caplog.text


# In the background


def test_the_background_refresh_replaces_a_set_before_it_is_stale() -> None:
    publisher = Publisher()
    with listening(publisher) as running:
        trust = trusting(
            google=False,
            web_identity=[
                WebIdentityIssuer.of("mine", "https://issuer.example", "123456789042", f"{running.url}/keys")
            ],
        )
        (issuer,) = trust.part(AwsTrust).web_identity
        trust.refresh_if_due(NOW)
        assert publisher.asked == []
        assert has_key(issuer.keys, OLD)
        publisher.keys = [NEW]
        trust.refresh_if_due(NOW + 3600 - REFRESH_AHEAD - 1)
        assert len(publisher.asked) == 1
        trust.refresh_if_due(NOW + 3600 - REFRESH_AHEAD)
        assert len(publisher.asked) == 2
        assert issuer.keys.find(NEW.kid, "ES384") is not None


def test_the_background_refresh_tries_again_after_the_cooldown() -> None:
    publisher = Publisher(answers=FAULTS["garbage"][0])
    with publishing(publisher) as keys:
        with pytest.raises(TrustUnavailableError):
            has_key(keys, OLD)
        keys.refresh_if_due(NOW + COOLDOWN - 1)
        assert len(publisher.asked) == 1
        publisher.answers = None
        keys.refresh_if_due(NOW + COOLDOWN)
        assert keys.find(OLD.kid, "ES384") is not None
