from __future__ import annotations

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http import HTTPStatus

import forge_tokens as tokens
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from publishers import NEW, NOW, OLD, Publisher, has_key, publishing
from trusting import trusting

from acme_iid.attestation.aws_trust import WebIdentityIssuer
from acme_iid.attestation.fetching import MAX_LIFETIME, MIN_LIFETIME, USUAL_LIFETIME
from acme_iid.attestation.gcp_trust import GcpTrust
from acme_iid.attestation.keysets import (
    COOLDOWN,
    FETCH_SECONDS,
    MAX_KEY_SET_BYTES,
    FetchedKeySet,
    PinnedKeySet,
    ScopedKeySet,
    fetched,
    find_keys,
    key_set,
    parse,
)
from acme_iid.attestation.registry import VERIFIERS
from acme_iid.attestation.trust import KeyReference, TrustStore
from acme_iid.errors import TrustUnavailableError
from acme_iid.simulator.listener import Response, listening
from acme_iid.simulator.tokens import TokenKey

# Reading a set


def test_a_set_holds_the_keys_that_sign_tokens_and_passes_over_others() -> None:
    small, curve = rsa.generate_private_key(65537, 1536).public_key(), ec.generate_private_key(ec.SECP256R1())  # noqa: S505 - it is to be passed over
    costly = rsa.RSAPublicNumbers((1 << 2047) - 1, (1 << 2047) + 1).public_key()
    usable = [tokens.google().jwk, OLD.jwk]
    others: list[dict[str, object]] = [
        {"kty": "oct", "k": "AAAA", "kid": "secret"},
        {"kty": "OKP", "crv": "Ed25519", "x": "AAAA", "kid": "edwards"},
        {"kid": "kindless"},
        {**RSAAlgorithm.to_jwk(small, as_dict=True), "kid": "short"},
        {**RSAAlgorithm.to_jwk(costly, as_dict=True), "kid": "an exponent as long as the modulus"},
        {**ECAlgorithm.to_jwk(curve.public_key(), as_dict=True), "kid": "another curve"},
        {**NEW.jwk, "use": "enc"},
        {**NEW.jwk, "alg": "ECDH-ES"},
        {**tokens.google().jwk, "alg": "PS256", "kid": "pss"},
        {name: value for name, value in NEW.jwk.items() if name != "kid"},
        {**NEW.jwk, "kid": 7},
    ]
    content = json.dumps({"keys": [*others, *usable], "more": 1}).encode()
    assert parse(content) == {
        (tokens.google().kid, "RS256"): tokens.google().key.public_key(),
        (OLD.kid, "ES384"): OLD.key.public_key(),
    }


def test_two_kinds_of_key_may_share_an_id_as_rfc_7517_has_it() -> None:
    content = json.dumps({"keys": [tokens.renamed(OLD, "a"), tokens.renamed(tokens.google(), "a")]}).encode()
    assert set(parse(content)) == {("a", "ES384"), ("a", "RS256")}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "not one JSON value"),
        (b"[]", "not a JWK Set"),
        (b'{"keys": {}}', "not a JWK Set"),
        (b'{"keys": [1]}', "not a JWK Set"),
        (b'{"keys": []}', "holds no key"),
        (b'{"keys": [], "keys": []}', "twice"),
        (json.dumps({"keys": [{**OLD.jwk, "d": "AAAA"}]}).encode(), "private key"),
        (json.dumps({"keys": [OLD.jwk, tokens.renamed(NEW, OLD.kid)]}).encode(), "two keys with the id"),
        (json.dumps({"keys": [{**OLD.jwk, "x": "AAAA"}]}).encode(), "not the EC key that it says"),
        (json.dumps({"keys": [{**OLD.jwk, "x": 5}]}).encode(), "not the EC key that it says"),
        (json.dumps({"keys": [{**tokens.google().jwk, "e": "AA"}]}).encode(), "not the RSA key that it says"),
        (json.dumps({"keys": [{"kty": "RSA", "kid": "a"}]}).encode(), "not the RSA key that it says"),
        (b" " * (MAX_KEY_SET_BYTES + 1), "is the limit"),
    ],
    ids=range(13),
)
def test_what_is_no_set_of_usable_keys_is_refused_with_a_sentence(content: bytes, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse(content)


@settings(deadline=None)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["kty", "kid", "crv", "x", "y", "n", "e", "alg", "use"]),
            st.none() | st.integers() | st.text(max_size=12) | st.sampled_from(["RSA", "EC", "P-384", "AQAB", "ES384"]),
        ),
        max_size=3,
    )
)
def test_no_set_crashes_the_reader(members: list[dict[str, object]]) -> None:
    try:
        found = parse(json.dumps({"keys": members}).encode())
    except ValueError:
        return
    assert found


# Where sets come from


@pytest.mark.parametrize(
    "url",
    [
        "",
        "keys.json",
        "file:///etc/passwd",
        "ftp://127.0.0.1/keys",
        "http://www.googleapis.com/oauth2/v3/certs",
        "http://169.254.169.254/keys",
        "http://127.0.0.1.evil.example/keys",
        "http://localhost.evil.example/keys",
        "https://user:password@example.com/keys",
        "https://user@example.com/keys",
        "https://example.com/keys#part",
        "https:///keys",
        "https://example.com:port/keys",
        "https://[::1/keys",
        "https://example.com/\nkeys",
        "https://ex\u00e4mple.com/keys",
    ],
)
def test_keys_are_fetched_over_https_or_from_this_machine_itself(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        key_set(url)
    with pytest.raises(ValueError, match="provisioner 'mine'"):
        trusting(gcp_keys={"mine": url})
    for good in ("https://example.com/keys", "http://127.0.0.1:1/k", "http://[::1]:1/k", "http://localhost/k"):
        assert isinstance(key_set(good), FetchedKeySet)


def test_a_file_pins_a_set_and_nothing_is_fetched() -> None:
    pinned = key_set(tokens.key_set(OLD))
    assert isinstance(pinned, PinnedKeySet)
    assert (has_key(pinned, OLD), has_key(pinned, NEW)) == (True, False)
    pinned.refresh_if_due(NOW)


def test_a_configuration_that_is_read_again_keeps_what_is_held() -> None:
    with listening(Publisher()) as running:
        url = f"{running.url}/keys"
        assert fetched(url) is fetched(url)
        first, second = (trusting(gcp_keys={"mine": url}, google=False) for _ in range(2))
        assert first == second
        assert find_keys(first.part(GcpTrust).sets, OLD.kid, "ES384", NOW)
    assert find_keys(second.part(GcpTrust).sets, OLD.kid, "ES384", NOW)


def test_issuers_of_aws_publish_their_keys_below_their_url() -> None:
    issuer = WebIdentityIssuer.of("mine", "https://x.tokens.sts.global.api.aws", "123456789042")
    assert isinstance(issuer.keys, FetchedKeySet)
    assert issuer.keys.url == "https://x.tokens.sts.global.api.aws/.well-known/jwks.json"


# Fetching


def test_a_set_is_fetched_when_it_is_first_needed_and_then_held() -> None:
    publisher = Publisher()
    with publishing(publisher) as keys:
        assert publisher.asked == []
        keys.refresh_if_due(NOW)
        assert publisher.asked == []
        for _ in range(3):
            assert has_key(keys, OLD)
        assert publisher.asked == ["/keys"]


@pytest.mark.parametrize(
    ("headers", "lifetime"),
    [
        ({"Cache-Control": "public, max-age=3600, must-revalidate"}, 3600),
        ({"Cache-Control": "max-age=21600", "Age": "600"}, 21000),
        ({"Cache-Control": "MAX-AGE=3600", "Age": "x"}, 3600),
        ({"Cache-Control": 'private,max-age="900"'}, 900),
        ({"Cache-Control": "max-age=0"}, MIN_LIFETIME),
        ({"Cache-Control": "max-age=600", "Age": "99999"}, MIN_LIFETIME),
        ({"Cache-Control": "no-store, max-age=3600"}, MIN_LIFETIME),
        ({"Cache-Control": "no-cache"}, MIN_LIFETIME),
        ({"Cache-Control": "max-age=9999999999"}, MAX_LIFETIME),
        ({"Cache-Control": "s-maxage=5, x-max-age=5"}, USUAL_LIFETIME),
        ({}, USUAL_LIFETIME),
    ],
)
def test_a_key_set_is_fresh_as_long_as_cache_control_says_within_bounds(headers: dict[str, str], lifetime: int) -> None:
    publisher = Publisher(headers=headers)
    with publishing(publisher) as keys:
        assert has_key(keys, OLD)
        assert has_key(keys, OLD, NOW + lifetime - 1)
        assert len(publisher.asked) == 1
        assert has_key(keys, OLD, NOW + lifetime)
        assert len(publisher.asked) == 2


def test_a_rotated_key_is_found_by_one_fetch_and_the_old_one_is_gone() -> None:
    publisher = Publisher()
    with publishing(publisher) as keys:
        assert has_key(keys, OLD)
        publisher.keys = [NEW]
        assert has_key(keys, NEW, NOW + COOLDOWN)
        assert len(publisher.asked) == 2
        assert not has_key(keys, OLD, NOW + COOLDOWN)


def test_unknown_keys_cause_one_fetch_in_the_cooldown() -> None:
    publisher = Publisher()
    with publishing(publisher) as keys:
        assert has_key(keys, OLD)
        for second in range(COOLDOWN):
            assert not has_key(keys, NEW, NOW + second)
        assert len(publisher.asked) == 1
        assert not has_key(keys, NEW, NOW + COOLDOWN)
        assert len(publisher.asked) == 2


def test_a_clock_that_is_set_back_stretches_no_cooldown_and_no_freshness() -> None:
    publisher = Publisher()
    with publishing(publisher) as keys:
        assert has_key(keys, OLD, NOW + 10**6)
        publisher.keys = [NEW]
        assert has_key(keys, NEW, NOW)


@pytest.mark.parametrize("kinds", ["one key", "a key each"])
def test_many_threads_that_meet_unknown_keys_share_one_fetch(kinds: str) -> None:
    publisher, threads = Publisher(), 16
    strangers = [TokenKey.generate("ES384") for _ in range(threads)] if kinds == "a key each" else [NEW] * threads
    with publishing(publisher) as keys, ThreadPoolExecutor(threads) as pool:
        assert has_key(keys, OLD)
        publisher.keys, arrived, waiting = strangers, threading.Event(), threading.Event()

        def slowly() -> Response:
            arrived.set()
            waiting.wait(10)
            return Response(HTTPStatus.OK, tokens.key_set(*publisher.keys[: 1 if kinds == "one key" else None]))

        publisher.answers, start = slowly, threading.Barrier(threads + 1)

        def ask(key: TokenKey) -> bool:
            start.wait(10)
            return has_key(keys, key, NOW + COOLDOWN)

        asking = [pool.submit(ask, key) for key in strangers]
        start.wait(10)
        assert arrived.wait(10)
        waiting.set()
        assert [found.result(10) for found in asking] == [True] * threads
        assert len(publisher.asked) == 2


def test_a_header_that_is_too_long_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    def pour(listener: socket.socket) -> int:
        connection, _ = listener.accept()
        sent, line = 0, b"X-Padding: " + b"x" * 8000 + b"\r\n"
        with connection, suppress(OSError):
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            while sent < 90 * len(line):
                connection.sendall(line)
                sent += len(line)
            connection.sendall(b"\r\n")
        return sent

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        serving = pool.submit(pour, listener)
        keys = FetchedKeySet(f"http://127.0.0.1:{listener.getsockname()[1]}/keys")
        fetch = keys.request(OLD.kid, "ES384", NOW)
        assert fetch is not None
        assert fetch.wait(FETCH_SECONDS + 1)
        assert serving.result(10) > MAX_KEY_SET_BYTES
    assert "longer than 65536 bytes" in caplog.text


# Several sets


def test_a_key_that_everybody_believes_is_nobodys_own() -> None:
    pinned = parse(tokens.key_set(OLD))
    sets = [
        ScopedKeySet(PinnedKeySet(pinned), frozenset({"one"})),
        ScopedKeySet(PinnedKeySet(pinned), frozenset({"two"})),
        ScopedKeySet(PinnedKeySet(parse(json.dumps({"keys": [tokens.renamed(NEW, OLD.kid)]}).encode()))),
    ]
    own, other = (
        find_keys(sets, OLD.kid, "ES384", NOW),
        find_keys([*sets, ScopedKeySet(sets[0].keys)], OLD.kid, "ES384", NOW),
    )
    assert [(found.key, found.scope) for found in own] == [
        (NEW.key.public_key(), None),
        (OLD.key.public_key(), frozenset({"one", "two"})),
    ]
    assert [found.scope for found in other] == [None, None]


def test_a_pinned_set_serves_while_another_cannot_be_had() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    down = ScopedKeySet(FetchedKeySet(f"http://127.0.0.1:{port}/keys"))
    pinned = ScopedKeySet(key_set(tokens.key_set(OLD)), frozenset({"mine"}))
    (found,) = find_keys([down, pinned], OLD.kid, "ES384", NOW)
    assert found.scope == frozenset({"mine"})
    with pytest.raises(TrustUnavailableError):
        find_keys([down, pinned], NEW.kid, "ES384", NOW)


def test_google_is_asked_for_nothing_before_it_is_needed() -> None:
    (google,) = trusting().part(GcpTrust).sets
    assert google.scope is None
    assert isinstance(google.keys, FetchedKeySet)
    assert google.keys.url == "https://www.googleapis.com/oauth2/v3/certs"
    trusting().refresh_if_due(NOW)
    with pytest.raises(TrustUnavailableError):
        google.keys.find(OLD.kid, "RS256")


# What was believed by a key is asked for it again


def _believed(trust: TrustStore) -> tuple[tuple[KeyReference, ...], ...]:
    """The trusted keys behind a token of Google's."""
    evidence = tokens.gcp_identity()
    return VERIFIERS["gcp-identity"].authenticate(evidence, trust, NOW).believed_by


def _google(*keys: TokenKey, provisioner: str = "test") -> TrustStore:
    return trusting(gcp_keys={provisioner: tokens.key_set(*keys)}, google=False)


def test_a_still_trusted_key_is_believed_for_its_provisioner_alone() -> None:
    believed_by = _believed(tokens.trust())
    assert tokens.trust().still_believes(believed_by, "test", NOW)
    assert not tokens.trust().still_believes(believed_by, "another", NOW)
    assert _google(tokens.stranger(), tokens.google()).still_believes(believed_by, "test", NOW)


def test_a_key_that_was_withdrawn_is_not_believed() -> None:
    believed_by = _believed(tokens.trust())
    assert not _google(tokens.stranger()).still_believes(believed_by, "test", NOW)
    assert not _google(tokens.google(), provisioner="another").still_believes(believed_by, "test", NOW)
    assert not trusting(google=False).still_believes(believed_by, "test", NOW)


def test_another_key_under_the_same_name_is_not_believed() -> None:
    believed_by = _believed(tokens.trust())
    impostor = json.dumps({"keys": [tokens.renamed(tokens.stranger(), tokens.google().kid)]}).encode()
    trust = trusting(gcp_keys={"test": impostor}, google=False)
    assert not trust.still_believes(believed_by, "test", NOW)


def test_a_key_set_that_is_not_held_is_fetched_and_not_waited_for() -> None:
    believed_by = _believed(tokens.trust())
    release = threading.Event()

    def wait() -> Response:
        release.wait(30)
        return Response(HTTPStatus.OK, tokens.key_set(tokens.google()), content_type="application/json")

    with listening(Publisher(answers=wait)) as running:
        trust = trusting(gcp_keys={"test": f"{running.url}/keys"}, google=False)
        with pytest.raises(TrustUnavailableError):
            trust.still_believes(believed_by, "test", NOW)
        release.set()
        deadline = time.monotonic() + 30
        while True:
            try:
                assert trust.still_believes(believed_by, "test", NOW)
            except TrustUnavailableError:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            else:
                break
