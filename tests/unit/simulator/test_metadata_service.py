from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import forge
import pytest
from trusting import judged, trusting

from acme_iid.attestation.identity import Evidence
from acme_iid.attestation.registry import VERIFIERS
from acme_iid.binding import Binding
from acme_iid.simulator import aws
from acme_iid.simulator.aws import Instance
from acme_iid.simulator.server import TokenAnswers, serve

TOKEN = "/latest/api/token"
IDENTITY = "/latest/dynamic/instance-identity/"


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = float(forge.SIGNED_AT)

    def __call__(self) -> float:
        return self.now


class Caller:
    """A client with one connection to a metadata service."""

    def __init__(self, url: str, timeout: float = 10) -> None:
        self.connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def ask(self, method: str, path: str, **headers: str) -> tuple[int, bytes]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(method, path, headers=named)
        response = self.connection.getresponse()
        return response.status, response.read()

    def token(self, ttl: int = 60) -> str:
        status, body = self.ask("PUT", TOKEN, X_aws_ec2_metadata_token_ttl_seconds=str(ttl))
        assert status == 200
        return body.decode()

    def get(self, path: str) -> tuple[int, bytes]:
        return self.ask("GET", path, X_aws_ec2_metadata_token=self.token())

    def text(self, path: str) -> str:
        status, body = self.get(path)
        assert status == 200, path
        return body.decode()


@contextmanager
def calling(
    instance: Instance | None = None,
    *,
    imdsv1: bool = False,
    tokens: TokenAnswers = "served",
    clock: Clock | None = None,
    timeout: float = 10,
) -> Iterator[Caller]:
    clock = clock or Clock()
    tree = aws.tree(instance or forge.instance(), forge.keys(), clock)
    with serve(tree, imdsv1=imdsv1, tokens=tokens, clock=clock) as service, Caller(service.url, timeout) as caller:
        yield caller


def _evidence(caller: Caller) -> list[Evidence]:
    document = caller.text(IDENTITY + "document").encode()
    return [
        Evidence("aws-rsa2048", {"evidence": caller.text(IDENTITY + "rsa2048")}),
        Evidence("aws-pkcs7", {"evidence": caller.text(IDENTITY + "pkcs7")}),
        Evidence(
            "aws-signature",
            {"document": forge.base64url(document), "signature": caller.text(IDENTITY + "signature")},
        ),
    ]


def test_what_is_served_proves_the_instance_in_every_format() -> None:
    instance = forge.instance(account="210987654321", region="eu-north-1")
    with calling(instance) as caller:
        for evidence in _evidence(caller):
            verifier = VERIFIERS[evidence.format]
            claims = verifier.authenticate(evidence, forge.trust(), forge.SIGNED_AT)
            assert claims.content == instance.document
            identity = judged(verifier, claims, Binding(bytes(32)), forge.SIGNED_AT)
            assert identity.id == "aws:aws:210987654321:eu-north-1:i-0123456789abcdef0"
            assert identity.facts["private_name"] == caller.text("/latest/meta-data/local-hostname")
            assert identity.facts["private_ip"] == caller.text("/latest/meta-data/local-ipv4")
            assert identity.facts["region"] == caller.text("/latest/meta-data/placement/region")
            assert identity.instance_id == caller.text("/latest/meta-data/instance-id")


def test_nobody_believes_it_without_being_told_to() -> None:
    with calling() as caller:
        for evidence in _evidence(caller):
            with pytest.raises(Exception, match="not signed by AWS's key"):
                VERIFIERS[evidence.format].authenticate(evidence, trusting(), forge.SIGNED_AT)


def test_base64_comes_in_lines_of_76_characters_without_a_last_newline() -> None:
    with calling() as caller:
        for name in ("signature", "rsa2048", "pkcs7"):
            *lines, last = caller.text(IDENTITY + name).split("\n")
            assert {len(line) for line in lines} == {76}
            assert 0 < len(last) <= 76


def test_a_request_without_a_good_token_is_unauthorized() -> None:
    with calling() as caller, calling() as other:
        foreign = other.token()
        assert caller.ask("GET", "/latest/meta-data/instance-id") == (401, b"")
        for token in ("", "x", "AAAA" * 14, foreign, foreign[:-4], caller.token()[:-1] + "A"):
            assert caller.ask("GET", "/latest/meta-data/", X_aws_ec2_metadata_token=token) == (401, b"")


def test_a_token_lives_as_long_as_it_was_asked_to() -> None:
    clock = Clock()
    with calling(clock=clock) as caller:
        token = caller.token(ttl=5)
        clock.now += 4.5
        assert caller.ask("GET", "/latest/meta-data/", X_aws_ec2_metadata_token=token)[0] == 200
        clock.now += 0.5
        assert caller.ask("GET", "/latest/meta-data/", X_aws_ec2_metadata_token=token)[0] == 401


def test_version_1_is_answered_only_where_it_is_switched_on() -> None:
    with calling(imdsv1=True) as caller:
        assert caller.ask("GET", "/latest/meta-data/instance-id") == (200, b"i-0123456789abcdef0")
        assert caller.ask("GET", "/latest/meta-data/instance-id", X_aws_ec2_metadata_token="x")[0] == 401
        assert caller.text("/latest/meta-data/instance-id") == "i-0123456789abcdef0"


@pytest.mark.parametrize("ttl", ["", "0", "21601", "-1", "+5", "1.5", "x", "\u00b2", "9" * 50])
def test_a_time_to_live_out_of_range_gets_no_token(ttl: str) -> None:
    with calling() as caller:
        assert caller.ask("PUT", TOKEN, X_aws_ec2_metadata_token_ttl_seconds=ttl) == (400, b"")
        assert caller.ask("PUT", TOKEN) == (400, b"")
        assert caller.token(ttl=1)
        assert caller.token(ttl=21600)


def test_no_token_is_given_through_a_proxy() -> None:
    with calling() as caller:
        answer = caller.ask("PUT", TOKEN, X_aws_ec2_metadata_token_ttl_seconds="60", X_Forwarded_For="10.0.0.1")
        assert answer == (403, b"")


@pytest.mark.parametrize("method", ["POST", "DELETE", "PATCH", "OPTIONS"])
def test_other_methods_are_not_allowed(method: str) -> None:
    with calling() as caller:
        assert caller.ask(method, "/latest/meta-data/", X_aws_ec2_metadata_token=caller.token())[0] == 405


def test_each_path_has_its_own_methods() -> None:
    with calling() as caller:
        assert caller.ask("GET", TOKEN)[0] == 405
        assert caller.ask("PUT", "/latest/meta-data/", X_aws_ec2_metadata_token_ttl_seconds="60")[0] == 405


def test_head_says_what_get_would_without_a_body() -> None:
    with calling(imdsv1=True) as caller:
        host, port = caller.connection.host, caller.connection.port
        with socket.create_connection((host, port), timeout=10) as connection, connection.makefile("rb") as answer:
            connection.sendall(b"HEAD /latest/dynamic/instance-identity/document HTTP/1.1\r\nConnection: close\r\n\r\n")
            head, _, body = answer.read().partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 200 OK"
    assert f"Content-Length: {len(forge.instance().document)}" in lines
    assert "Server: EC2ws" in lines
    assert body == b""


def test_a_connection_serves_many_requests() -> None:
    with calling() as caller:
        assert caller.text(IDENTITY + "document")
        first = caller.connection.sock
        assert caller.get("/latest/nothing")[0] == 404
        assert caller.text(IDENTITY + "document")
        assert caller.connection.sock is first


def test_a_body_that_nobody_asked_for_is_not_read_as_a_request() -> None:
    with calling() as caller:
        smuggled = b"GET /latest/ HTTP/1.1\r\n\r\n"
        caller.connection.request("PUT", TOKEN, smuggled, {"X-aws-ec2-metadata-token-ttl-seconds": "60"})
        response = caller.connection.getresponse()
        assert (response.status, response.headers["Connection"]) == (200, "close")
        assert len(response.read()) == 56


@pytest.mark.parametrize(
    ("path", "listing"),
    [
        ("/", "latest"),
        ("/latest", "dynamic/\nmeta-data/"),
        ("/latest/", "dynamic/\nmeta-data/"),
        ("/latest/dynamic/", "instance-identity/"),
        ("/latest/dynamic/instance-identity", "document\npkcs7\nrsa2048\nsignature"),
        ("/latest/meta-data/placement/?x=y", "availability-zone\nregion"),
    ],
)
def test_folders_list_what_is_in_them(path: str, listing: str) -> None:
    with calling() as caller:
        assert caller.text(path) == listing


@pytest.mark.parametrize(
    "path",
    [
        "/2021-03-23/meta-data/",
        "/latest/user-data",
        "/latest/meta-data/instance-id/",
        "/latest/meta-data/instance",
        "/latest/dynamic/instance-identity/rsa4096",
        "/latest/../latest/",
        "/latest/meta-data/%69nstance-id",
    ],
)
def test_other_paths_are_not_found(path: str) -> None:
    with calling() as caller:
        assert caller.get(path) == (404, b"")


def test_a_closed_connection_is_what_a_hop_limit_can_look_like() -> None:
    with calling(tokens="closed", imdsv1=True) as caller:
        with pytest.raises(http.client.RemoteDisconnected):
            caller.token()
        caller.connection.close()
        assert caller.ask("GET", "/latest/meta-data/instance-id")[0] == 200


def test_silence_is_what_a_hop_limit_can_look_like() -> None:
    with calling(tokens="silent", timeout=0.2) as caller, pytest.raises(TimeoutError):
        caller.token()


def test_a_service_that_ended_answers_nobody_and_lets_go_of_who_waits() -> None:
    waiting = ThreadPoolExecutor(1)
    with calling(tokens="silent", imdsv1=True) as caller:
        host, port = caller.connection.host, caller.connection.port
        assert caller.ask("GET", "/latest/meta-data/instance-id")[0] == 200
        kept = socket.create_connection((host, port), timeout=10)
        kept.sendall(b"PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n\r\n")
        silence = waiting.submit(kept.recv, 1)
        assert caller.ask("GET", "/latest/meta-data/instance-id")[0] == 200
    assert silence.result(timeout=5) == b""
    kept.close()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((host, port), timeout=10)


def test_it_listens_on_ipv6_too() -> None:
    with serve(aws.tree(forge.instance(), forge.keys()), listen=("::1", 0)) as service:
        assert service.url.startswith("http://[::1]:")
        with Caller(service.url) as caller:
            assert caller.text("/latest/meta-data/instance-id") == "i-0123456789abcdef0"


# Recordings


@pytest.mark.parametrize(
    ("kind", "path", "name"),
    [
        ("rsa2048-pkcs7-sha256", "rsa2048", "aws-rsa2048"),
        ("pkcs7-dsa-sha1", "pkcs7", "aws-pkcs7"),
        ("signature-rsa1024-sha256-pkcs1v15", "signature", "aws-signature"),
    ],
)
def test_a_recording_is_served_as_it_was_and_nothing_else(kind: str, path: str, name: str) -> None:
    content = forge.document()
    sign = {"aws-rsa2048": forge.aws_rsa2048, "aws-pkcs7": forge.aws_pkcs7, "aws-signature": forge.aws_signature}
    served = sign[name](content).fields["signature" if path == "signature" else "evidence"]
    record = {"cloud": "aws", "format": kind, "document": content.decode(), "signature": served.replace("\n", "")}
    with serve(aws.recorded(json.dumps(record).encode())) as service, Caller(service.url) as caller:
        assert caller.text(IDENTITY + "document").encode() == content
        assert caller.text(IDENTITY + path) == served
        assert caller.text(IDENTITY).split() == ["document", path]
        for absent in {"rsa2048", "pkcs7", "signature"} - {path}:
            assert caller.get(IDENTITY + absent)[0] == 404
        assert caller.get("/latest/meta-data/instance-id")[0] == 404


def test_a_real_document_that_is_replayed_authenticates_under_aws_own_key(samples: Path) -> None:
    tree = aws.recorded((samples / "aws-rsa2048-flaws.json").read_bytes())
    with serve(tree) as service, Caller(service.url) as caller:
        evidence = Evidence("aws-rsa2048", {"evidence": caller.text(IDENTITY + "rsa2048")})
    claims = VERIFIERS["aws-rsa2048"].authenticate(evidence, trusting(), 0)
    assert claims.document["accountId"] == "975426262029"


@pytest.mark.parametrize(
    ("recording", "sentence"),
    [
        (b"", "not one JSON value"),
        (b"[]", "not one of an AWS document"),
        (b'{"cloud": "gcp", "format": "jwt", "document": "", "signature": ""}', "not one of an AWS document"),
        (b'{"cloud": "aws", "format": "rsa2048-pkcs7-sha256", "document": {}}', "not one of an AWS document"),
        (b'{"cloud": "aws", "format": "jwt", "document": "", "signature": ""}', "the recording's format is 'jwt'"),
        (b'{"cloud": "aws", "format": "pkcs7-dsa-sha1", "document": "", "signature": "?"}', "is not base64"),
    ],
)
def test_what_is_no_recording_is_refused(recording: bytes, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        aws.recorded(recording)
