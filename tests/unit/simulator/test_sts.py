from __future__ import annotations

import hashlib
import hmac
import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit
from xml.etree import ElementTree as ET

import forge
import forge_tokens as tokens
import pytest
from forge_tokens import BINDING, ISSUED_AT
from trusting import judged, trusting

from acme_iid.attestation.aws_trust import WebIdentityIssuer
from acme_iid.attestation.identity import Evidence
from acme_iid.attestation.registry import VERIFIERS
from acme_iid.simulator import aws, sts
from acme_iid.simulator.listener import Request, listening
from acme_iid.simulator.server import MetadataService
from acme_iid.simulator.sigv4 import Authorization
from acme_iid.simulator.sts import Issuer, SecurityTokenService

NAMESPACE = "{https://sts.amazonaws.com/doc/2011-06-15/}"
FORM = {"Version": "2011-06-15", "Audience.member.1": BINDING.audience, "SigningAlgorithm": "ES384"}


def test_a_signature_is_the_one_that_awss_documentation_works_out() -> None:
    """The example of "Signature Version 4 signing process": a request of IAM's ListUsers."""
    headers = Message()
    headers["Host"] = "iam.amazonaws.com"
    headers["Content-Type"] = "application/x-www-form-urlencoded; charset=utf-8"
    headers["X-Amz-Date"] = "20150830T123600Z"
    request = Request("GET", "/", "Version=2010-05-08&Action=ListUsers", headers)
    authorization = Authorization.read(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLEAKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, "
        "SignedHeaders=content-type;host;x-amz-date, "
        "Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
    )
    assert authorization.signs(request, "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    assert not authorization.signs(request, "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEX")
    assert not authorization.signs(replace(request, body=b"x"), "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    assert authorization.seconds(request) == 1440938160


@dataclass
class Program:
    """A program on the instance, which signs as an AWS SDK does."""

    url: str
    now: int = ISSUED_AT
    credentials: dict[str, str] = field(default_factory=dict)
    region: str = "us-west-2"
    signed: tuple[str, ...] = ("host", "x-amz-date", "x-amz-security-token")

    def ask(self, method: str, path: str, body: str = "", **headers: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=10)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body or None, named)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def log_in(self) -> None:
        """Take the role's credentials from the metadata service."""
        ttl = {"X_aws_ec2_metadata_token_ttl_seconds": "60"}
        session = {"X_aws_ec2_metadata_token": self.ask("PUT", "/latest/api/token", **ttl)[1]}
        path = "/latest/meta-data/iam/security-credentials/"
        role = self.ask("GET", path, **session)[1]
        self.credentials = json.loads(self.ask("GET", path + role, **session)[1])
        assert self.credentials["Code"] == "Success"

    def call(self, action: str, form: Mapping[str, str] | None = None, **changed: str) -> tuple[int, str]:
        body = urlencode({"Action": action, **(FORM if form is None else form)})
        stamp = datetime.fromtimestamp(self.now, UTC).strftime("%Y%m%dT%H%M%SZ")
        headers = {
            "host": urlsplit(self.url).netloc,
            "x-amz-date": stamp,
            "x-amz-security-token": self.credentials.get("Token", ""),
        }
        signature = self._signature(body, headers, stamp)
        key = self.credentials.get("AccessKeyId", "")
        authorization = (
            f"AWS4-HMAC-SHA256 Credential={key}/{stamp[:8]}/{self.region}/sts/aws4_request, "
            f"SignedHeaders={';'.join(self.signed)}, Signature={signature}"
        )
        sent = {
            "X_Amz_Date": stamp,
            "X_Amz_Security_Token": headers["x-amz-security-token"],
            "Authorization": authorization,
            "Content_Type": "application/x-www-form-urlencoded",
        }
        return self.ask("POST", "/", body, **(sent | changed))

    def _signature(self, body: str, headers: Mapping[str, str], stamp: str) -> str:
        lines = [f"{name}:{headers[name]}" for name in self.signed]
        parts = ["POST", "/", "", *lines, "", ";".join(self.signed), hashlib.sha256(body.encode()).hexdigest()]
        scope = [stamp[:8], self.region, "sts", "aws4_request"]
        digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
        key = ("AWS4" + self.credentials.get("SecretAccessKey", "")).encode()
        for part in scope:
            key = hmac.digest(key, part.encode(), "sha256")
        return hmac.digest(
            key, "\n".join(["AWS4-HMAC-SHA256", stamp, "/".join(scope), digest]).encode(), "sha256"
        ).hex()


@contextmanager
def running(**facts: Any) -> Iterator[tuple[Program, SecurityTokenService]]:
    service = SecurityTokenService(tokens.ec2(), tokens.aws_issuer(), clock=lambda: ISSUED_AT, **facts)
    tree = {**aws.tree(service.instance, forge.keys()), **service.metadata}
    metadata = MetadataService(tree, clock=lambda: ISSUED_AT)
    with listening(sts.InstanceWithRole(metadata, service)) as listener:
        program = Program(listener.url)
        program.log_in()
        yield program, service


def _text(answer: tuple[int, str], path: str) -> str:
    status, body = answer
    assert status == 200, body
    found = ET.fromstring(body).find("/".join(NAMESPACE + part for part in path.split("/")))  # noqa: S314 - it is ours
    assert found is not None
    assert found.text is not None
    return found.text


def _code(answer: tuple[int, str]) -> tuple[int, str]:
    root = ET.fromstring(answer[1])  # noqa: S314 - it is ours
    assert root.tag == NAMESPACE + "ErrorResponse"
    assert root.find(NAMESPACE + "RequestId") is not None
    code = root.find(f"{NAMESPACE}Error/{NAMESPACE}Code")
    assert code is not None
    return answer[0], code.text or ""


@pytest.mark.parametrize("algorithm", ["RS256", "ES384"])
def test_a_token_proves_the_instance_under_the_keys_that_are_served(algorithm: str) -> None:
    with running(organization="o-abcdefghij") as (program, service):
        answer = program.call("GetWebIdentityToken", FORM | {"SigningAlgorithm": algorithm})
        evidence = Evidence(
            "aws-web-identity", {"evidence": _text(answer, "GetWebIdentityTokenResult/WebIdentityToken")}
        )
        issuer = WebIdentityIssuer.of("mine", service.issuer.url, service.instance.account, program.url + sts.KEYS_PATH)
        verifier = VERIFIERS["aws-web-identity"]
        claims = verifier.authenticate(evidence, trusting(google=False, web_identity=[issuer]), ISSUED_AT)
        identity = judged(verifier, claims, BINDING, ISSUED_AT)
        assert identity.id == "aws:aws:123456789042:us-west-2:i-0123456789abcdef0"
        assert identity.facts["organization"] == "o-abcdefghij"
        assert identity.facts["principal"] == "arn:aws:iam::123456789042:role/my-role"
        assert identity.times == {"iat": ISSUED_AT, "exp": ISSUED_AT + 300}
        expires = _text(answer, "GetWebIdentityTokenResult/Expiration")
        assert datetime.fromisoformat(expires).timestamp() == ISSUED_AT + 300
        assert _text(answer, "ResponseMetadata/RequestId")


def test_what_a_caller_adds_to_a_token_stays_apart() -> None:
    with running() as (program, _):
        more = {
            "Audience.member.2": "https://other.example",
            "DurationSeconds": "60",
            "Tags.member.1.Key": "aws_account",
            "Tags.member.1.Value": "999999999999",
        }
        answer = program.call("GetWebIdentityToken", FORM | more)
        text = _text(answer, "GetWebIdentityTokenResult/WebIdentityToken")
    verifier = VERIFIERS["aws-web-identity"]
    claims = verifier.authenticate(Evidence("aws-web-identity", {"evidence": text}), tokens.trust(), ISSUED_AT).document
    assert claims["aud"] == [BINDING.audience, "https://other.example"]
    assert claims["exp"] == ISSUED_AT + 60
    session = claims[tokens.AWS_NAMESPACE]
    assert isinstance(session, dict)
    assert (session["aws_account"], session["request_tags"]) == ("123456789042", {"aws_account": "999999999999"})


def test_a_caller_is_told_who_it_is() -> None:
    with running() as (program, _):
        answer = program.call("GetCallerIdentity", {"Version": "2011-06-15"})
        assert _text(answer, "GetCallerIdentityResult/Account") == "123456789042"
        arn = "arn:aws:sts::123456789042:assumed-role/my-role/i-0123456789abcdef0"
        assert _text(answer, "GetCallerIdentityResult/Arn") == arn


def test_the_issuer_says_where_its_keys_are() -> None:
    with running() as (program, service):
        status, body = program.ask("GET", "/.well-known/openid-configuration")
        said = json.loads(body)
        assert (status, said["issuer"]) == (200, service.issuer.url)
        assert said["jwks_uri"] == service.issuer.url + "/.well-known/jwks.json"
        status, body = program.ask("GET", "/.well-known/jwks.json")
        assert (status, {key["alg"] for key in json.loads(body)["keys"]}) == (200, {"RS256", "ES384"})


def test_the_metadata_service_answers_beside_it_as_ever() -> None:
    with running() as (program, _):
        assert program.ask("GET", "/latest/meta-data/instance-id") == (401, "")
        assert program.ask("POST", "/latest/meta-data/", "x")[0] == 405
        listing = program.ask("GET", "/latest/meta-data/iam/", X_aws_ec2_metadata_token="x")
        assert listing == (401, "")


def test_only_the_roles_own_credentials_are_taken() -> None:
    with running() as (program, _), running() as (other, _):
        whole = program.credentials
        assert program.call("GetCallerIdentity")[0] == 200
        assert _code(program.ask("POST", "/", "Action=GetCallerIdentity")) == (403, "MissingAuthenticationToken")
        assert _code(program.call("GetCallerIdentity", Authorization="Bearer x")) == (400, "IncompleteSignature")
        assert _code(program.call("GetCallerIdentity", X_Amz_Security_Token="x")) == (403, "InvalidClientTokenId")
        program.credentials = other.credentials
        assert _code(program.call("GetCallerIdentity")) == (403, "InvalidClientTokenId")
        program.credentials = whole | {"SecretAccessKey": "x"}
        assert _code(program.call("GetCallerIdentity")) == (403, "SignatureDoesNotMatch")


def test_a_signature_covers_time_place_and_token() -> None:
    with running() as (program, _):
        good = replace(program)
        assert good.call("GetCallerIdentity")[0] == 200
        for bad in (
            replace(good, now=ISSUED_AT - 901),
            replace(good, now=ISSUED_AT + 901),
            replace(good, region="us-east-1"),
            replace(good, signed=("host", "x-amz-date")),
            replace(good, signed=("x-amz-date", "x-amz-security-token")),
        ):
            assert _code(bad.call("GetCallerIdentity")) == (403, "SignatureDoesNotMatch")
        assert _code(good.call("GetCallerIdentity", X_Amz_Date="19700101T000000Z")) == (400, "IncompleteSignature")
        later = datetime.fromtimestamp(ISSUED_AT + 1, UTC).strftime("%Y%m%dT%H%M%SZ")
        assert _code(good.call("GetCallerIdentity", X_Amz_Date=later)) == (403, "SignatureDoesNotMatch")


@pytest.mark.parametrize(
    ("action", "changed", "code"),
    [
        ("AssumeRole", {}, "InvalidAction"),
        ("GetCallerIdentity", {"Version": "2010-01-01"}, "InvalidAction"),
        ("GetWebIdentityToken", {"Audience.member.1": ""}, "ValidationError"),
        ("GetWebIdentityToken", {f"Audience.member.{n}": "x" for n in range(1, 12)}, "ValidationError"),
        ("GetWebIdentityToken", {"SigningAlgorithm": "HS256"}, "ValidationError"),
        ("GetWebIdentityToken", {"SigningAlgorithm": ""}, "ValidationError"),
        ("GetWebIdentityToken", {"DurationSeconds": "59"}, "ValidationError"),
        ("GetWebIdentityToken", {"DurationSeconds": "3601"}, "ValidationError"),
        ("GetWebIdentityToken", {"DurationSeconds": "-60"}, "ValidationError"),
    ],
)
def test_what_sts_does_not_do_is_refused_as_sts_does(action: str, changed: dict[str, str], code: str) -> None:
    with running() as (program, _):
        assert _code(program.call(action, FORM | changed)) == (400, code)


def test_a_body_that_is_too_long_is_not_read() -> None:
    with running() as (program, _):
        status, body = program.ask("POST", "/", "x" * 70_000)
        assert (status, "MissingAuthenticationToken" in body) == (403, True)


def test_an_issuer_in_a_directory_keeps_its_name_and_keys(tmp_path: Path) -> None:
    one, two = Issuer.open(tmp_path / "keys"), Issuer.open(tmp_path / "keys")
    assert (one.url, one.key_set) == (two.url, two.key_set)
    assert one.url != Issuer.generate().url
    assert one.url.startswith("https://")
    assert one.url.endswith(".tokens.sts.global.api.aws")
