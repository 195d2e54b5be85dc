"""A stand-in for AWS's Security Token Service: the two calls of it that prove an EC2 instance's role.

Source: Security Token Service API Reference, ``GetWebIdentityToken`` and ``GetCallerIdentity``; EC2 User Guide,
"Retrieve security credentials from instance metadata"; IAM User Guide, "Understanding token claims". It shares
a listener with the metadata service that hands out the role's credentials, and serves its issuer's key set there.
"""

from __future__ import annotations

import json
import secrets
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from acme_iid.simulator import tokens
from acme_iid.simulator.aws import Instance, Tree
from acme_iid.simulator.listener import NoAnswer, Request, Response
from acme_iid.simulator.server import MetadataService
from acme_iid.simulator.sigv4 import Authorization
from acme_iid.simulator.tokens import TokenKey

KEYS_PATH = "/.well-known/jwks.json"
"""The path of the key set, below the issuer's URL and on this listener."""
VERSION = "2011-06-15"

_CONFIGURATION_PATH = "/.well-known/openid-configuration"
_XMLNS = f"https://sts.amazonaws.com/doc/{VERSION}/"
_MAX_SKEW = 900
_CREDENTIALS_LIFETIME = 6 * 3600


class _RefusedError(Exception):
    """A call that ends with an error: its status, AWS's code for it, and a sentence."""

    def __init__(self, status: HTTPStatus, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class Issuer:
    """An account's issuer of web identity tokens: a key for each algorithm, and the URL that tokens name."""

    rs256: TokenKey
    es384: TokenKey

    @classmethod
    def generate(cls) -> Self:
        """Make keys that live in memory only."""
        return cls(TokenKey.generate("RS256"), TokenKey.generate("ES384"))

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Read the keys in ``directory``, or make those that are missing there.

        :raises OSError, ValueError: as :meth:`TokenKey.open`.
        """
        return cls(TokenKey.open(directory / "sts-rs256.pem"), TokenKey.open(directory / "sts-es384.pem", "ES384"))

    @property
    def url(self) -> str:
        """``iss``: a host name of AWS's kind that is these keys' own."""
        return f"https://{uuid.uuid5(uuid.NAMESPACE_URL, self.rs256.kid)}.tokens.sts.global.api.aws"

    @property
    def key_set(self) -> bytes:
        """The JWK Set."""
        return tokens.key_set([self.es384.jwk, self.rs256.jwk])


@dataclass(frozen=True, slots=True)
class Credentials:
    """A role's credentials on one instance, as the metadata service hands them out."""

    access_key_id: str = field(default_factory=lambda: "ASIA" + secrets.token_hex(8).upper())
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(30), repr=False)
    token: str = field(default_factory=lambda: secrets.token_urlsafe(240), repr=False)


@dataclass(frozen=True, slots=True)
class SecurityTokenService:
    """STS in one account, which knows the role of one instance.

    :ivar organization: the account's organization; None for an account without one.
    :ivar clock: seconds.
    """

    instance: Instance
    issuer: Issuer
    role: str = "my-role"
    vpc: str = "vpc-0123456789abcdef0"
    organization: str | None = None
    clock: Callable[[], float] = time.time
    credentials: Credentials = field(default_factory=Credentials)

    @property
    def role_arn(self) -> str:
        """The role, as tokens name it."""
        return f"arn:aws:iam::{self.instance.account}:role/{self.role}"

    @property
    def metadata(self) -> Tree:
        """The values that the metadata service adds for an instance with a role."""
        return {
            f"meta-data/iam/security-credentials/{self.role}": self._credentials,
            "meta-data/iam/info": lambda: json.dumps({"Code": "Success", "InstanceProfileArn": self.role_arn}).encode(),
        }

    def _credentials(self) -> bytes:
        now = int(self.clock())
        members = {
            "Code": "Success",
            "LastUpdated": _iso(now),
            "Type": "AWS-HMAC",
            "AccessKeyId": self.credentials.access_key_id,
            "SecretAccessKey": self.credentials.secret,
            "Token": self.credentials.token,
            "Expiration": _iso(now + _CREDENTIALS_LIFETIME),
        }
        return json.dumps(members, indent=2, separators=(",", " : ")).encode()

    def answer(self, request: Request) -> Response:
        """Answer a call, or a request for the issuer's configuration or key set."""
        if request.path == KEYS_PATH:
            return _json(self.issuer.key_set)
        if request.path == _CONFIGURATION_PATH:
            return _json(self._configuration())
        try:
            return self._call(request)
        except _RefusedError as error:
            body = _element("Type", "Sender") + _element("Code", error.code) + _element("Message", str(error))
            request_id = _element("RequestId", str(uuid.uuid4()))
            return _xml(error.status, "ErrorResponse", f"<Error>{body}</Error>{request_id}")

    def _configuration(self) -> bytes:
        members = {
            "issuer": self.issuer.url,
            "jwks_uri": self.issuer.url + KEYS_PATH,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "ES384"],
        }
        return json.dumps(members).encode()

    def _call(self, request: Request) -> Response:
        self._authenticate(request)
        form = {name: values[0] for name, values in parse_qs(request.body.decode("latin-1")).items()}
        if form.get("Version") != VERSION:
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "InvalidAction", "Could not find operation for that version")
        match form.get("Action"):
            case "GetCallerIdentity":
                result = self._caller_identity()
            case "GetWebIdentityToken":
                result = self._web_identity_token(form)
            case action:
                raise _RefusedError(HTTPStatus.BAD_REQUEST, "InvalidAction", f"Could not find operation {action}")
        action = form["Action"]
        meta = f"<ResponseMetadata>{_element('RequestId', str(uuid.uuid4()))}</ResponseMetadata>"
        return _xml(HTTPStatus.OK, f"{action}Response", f"<{action}Result>{result}</{action}Result>{meta}")

    def _authenticate(self, request: Request) -> None:
        """Refuse a request that is not signed with the role's credentials, for STS in the instance's region."""
        header = request.headers.get("Authorization")
        if header is None:
            raise _RefusedError(
                HTTPStatus.FORBIDDEN, "MissingAuthenticationToken", "Request is missing Authentication Token"
            )
        try:
            authorization = Authorization.read(header)
            signed_at = authorization.seconds(request)
        except ValueError as error:
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "IncompleteSignature", str(error)) from error
        session = request.headers.get("X-Amz-Security-Token")
        if (authorization.access_key_id, session) != (self.credentials.access_key_id, self.credentials.token):
            raise _RefusedError(
                HTTPStatus.FORBIDDEN, "InvalidClientTokenId", "The security token included in the request is invalid."
            )
        if (authorization.region, authorization.service) != (self.instance.region, "sts"):
            raise _RefusedError(
                HTTPStatus.FORBIDDEN, "SignatureDoesNotMatch", "Credential should be scoped to a valid region."
            )
        if abs(self.clock() - signed_at) > _MAX_SKEW:
            raise _RefusedError(HTTPStatus.FORBIDDEN, "SignatureDoesNotMatch", "Signature expired or not yet current")
        signs_all = {"host", "x-amz-date", "x-amz-security-token"} <= set(authorization.signed_headers)
        if not signs_all or not authorization.signs(request, self.credentials.secret):
            raise _RefusedError(
                HTTPStatus.FORBIDDEN,
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided.",
            )

    def _caller_identity(self) -> str:
        arn = f"arn:aws:sts::{self.instance.account}:assumed-role/{self.role}/{self.instance.instance_id}"
        user = f"AROAEXAMPLEEXAMPLE000:{self.instance.instance_id}"
        return _element("Arn", arn) + _element("UserId", user) + _element("Account", self.instance.account)

    def _web_identity_token(self, form: Mapping[str, str]) -> str:
        audiences = [form[name] for name in (f"Audience.member.{number}" for number in range(1, 12)) if name in form]
        if not 1 <= len(audiences) <= 10:
            raise _invalid("'audience' must have between 1 and 10 members")
        keys = {"RS256": self.issuer.rs256, "ES384": self.issuer.es384}
        key = keys.get(form.get("SigningAlgorithm", ""))
        if key is None:
            raise _invalid("'signingAlgorithm' must be one of RS256, ES384")
        lifetime = form.get("DurationSeconds", "300")
        if not (lifetime.isascii() and lifetime.isdigit() and len(lifetime) <= 4 and 60 <= int(lifetime) <= 3600):
            raise _invalid("'durationSeconds' must be between 60 and 3600")
        expires = int(self.clock()) + int(lifetime)
        token = key.sign(self.claims(audiences, int(self.clock()), int(lifetime), _tags(form)))
        return _element("WebIdentityToken", token) + _element("Expiration", _iso(expires))

    def claims(
        self, audiences: list[str], now: int, lifetime: int = 300, tags: Mapping[str, str] | None = None
    ) -> dict[str, object]:
        """The claims of a token for these audiences."""
        instance = self.instance
        session: dict[str, object] = {
            "aws_account": instance.account,
            "source_region": instance.region,
            "ec2_source_instance_arn": f"arn:aws:ec2:{instance.region}:{instance.account}:instance/"
            f"{instance.instance_id}",
            "ec2_instance_source_vpc": self.vpc,
            "ec2_instance_source_private_ipv4": instance.private_ip,
        }
        if self.organization is not None:
            session["org_id"] = self.organization
        if tags:
            session["request_tags"] = dict(tags)
        return {
            "iss": self.issuer.url,
            "aud": audiences[0] if len(audiences) == 1 else audiences,
            "sub": self.role_arn,
            "iat": now,
            "exp": now + lifetime,
            "jti": str(uuid.uuid4()),
            "https://sts.amazonaws.com/": session,
        }


@dataclass(frozen=True, slots=True)
class InstanceWithRole:
    """The metadata service and STS on one listener: POSTs to ``/`` and well-known paths are STS's."""

    metadata: MetadataService
    sts: SecurityTokenService
    banner: str = "EC2ws"
    reads: frozenset[str] = frozenset({"POST"})

    def answer(self, request: Request) -> Response | NoAnswer:
        """Hand a request to the service that it is for."""
        if request.path in (KEYS_PATH, _CONFIGURATION_PATH) or (request.method, request.path) == ("POST", "/"):
            return self.sts.answer(request)
        return self.metadata.answer(request)


def _tags(form: Mapping[str, str]) -> dict[str, str]:
    numbers = (number for number in range(1, 51) if f"Tags.member.{number}.Key" in form)
    return {form[f"Tags.member.{number}.Key"]: form.get(f"Tags.member.{number}.Value", "") for number in numbers}


def _invalid(message: str) -> _RefusedError:
    return _RefusedError(HTTPStatus.BAD_REQUEST, "ValidationError", f"1 validation error detected: {message}")


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _element(name: str, text: str) -> str:
    return f"<{name}>{escape(text)}</{name}>"


def _xml(status: HTTPStatus, root: str, inside: str) -> Response:
    return Response(status, f'<{root} xmlns="{_XMLNS}">{inside}</{root}>\n'.encode(), content_type="text/xml")


def _json(body: bytes) -> Response:
    headers = {"Cache-Control": "public, max-age=3600"}
    return Response(HTTPStatus.OK, body, headers, "application/json")
