"""A stand-in for Google Compute Engine's metadata server, and for the keys that its identity tokens are signed with.

Source: Compute Engine documentation, "View and query VM metadata" and "Verify the identity of instances". It refuses
the same as Google's: requests without ``Metadata-Flavor: Google`` or through a proxy (403), other methods (405),
unknown paths (404), a token without an audience (400).
"""

from __future__ import annotations

import html
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Self
from urllib.parse import parse_qs

from acme_iid.protocol import strict_json
from acme_iid.simulator import tokens
from acme_iid.simulator.listener import Request, Response
from acme_iid.simulator.tokens import TokenKey

FLAVOR = {"Metadata-Flavor": "Google"}
KEYS_PATH = "/oauth2/v3/certs"
"""The path of the key set, on this listener as at www.googleapis.com."""
LIFETIME = 3600
"""Seconds for which a token is good."""

_ROOT = "/computeMetadata/v1/"
_ACCOUNT = "instance/service-accounts/default/"
_IDENTITY = _ACCOUNT + "identity"
_ISSUER = "https://accounts.google.com"


def _fresh_instance_id() -> str:
    return str(secrets.randbelow(9 * 10**18) + 10**18)


def _fresh_subject() -> str:
    return str(secrets.randbelow(9 * 10**20) + 10**20)


def _now() -> int:
    return int(time.time())


@dataclass(frozen=True, slots=True)
class Instance:
    """A VM's facts. ``created`` is the time of its making, in seconds; ``subject`` is its service account's number."""

    project: str = "my-project"
    project_number: int = 123456789012
    zone: str = "us-central1-a"
    instance_name: str = "instance-1"
    instance_id: str = field(default_factory=_fresh_instance_id)
    service_account: str = "123456789012-compute@developer.gserviceaccount.com"
    subject: str = field(default_factory=_fresh_subject)
    created: int = field(default_factory=_now)

    @property
    def hostname(self) -> str:
        """The VM's zonal name in internal DNS."""
        domain, _, own = self.project.rpartition(":")
        return f"{self.instance_name}.{self.zone}.c.{own}{'.' + domain if domain else ''}.internal"

    def claims(self, audience: str, now: int) -> dict[str, object]:
        """The claims of a token with ``format=full``."""
        return {
            **self.standard_claims(audience, now),
            "email": self.service_account,
            "email_verified": True,
            "google": {
                "compute_engine": {
                    "instance_creation_timestamp": self.created,
                    "instance_id": self.instance_id,
                    "instance_name": self.instance_name,
                    "project_id": self.project,
                    "project_number": self.project_number,
                    "zone": self.zone,
                }
            },
        }

    def standard_claims(self, audience: str, now: int) -> dict[str, object]:
        """The claims of another token, which say nothing of the VM."""
        return {
            "aud": audience,
            "azp": self.subject,
            "exp": now + LIFETIME,
            "iat": now,
            "iss": _ISSUER,
            "sub": self.subject,
        }

    @property
    def values(self) -> dict[str, str]:
        """The metadata server's values about the VM, by path."""
        return {
            "instance/hostname": self.hostname,
            "instance/id": self.instance_id,
            "instance/name": self.instance_name,
            _ACCOUNT + "email": self.service_account,
            "instance/zone": f"projects/{self.project_number}/zones/{self.zone}",
            "project/numeric-project-id": str(self.project_number),
            "project/project-id": self.project,
        }


@dataclass(frozen=True, slots=True)
class MetadataServer:
    """The metadata server of one VM, without the sockets.

    :ivar values: path below ``/computeMetadata/v1/`` -> value.
    :ivar token: the identity token for an audience; the second argument says whether ``format=full`` was asked for.
    :ivar key_set: the contents of :data:`KEYS_PATH`.
    """

    values: Mapping[str, str]
    token: Callable[[str, bool], str]
    key_set: bytes
    banner: str = "Metadata Server for VM"
    reads: frozenset[str] = frozenset()

    @classmethod
    def of(cls, instance: Instance, key: TokenKey, clock: Callable[[], float] = time.time) -> Self:
        """The metadata server of ``instance``, whose tokens ``key`` signs when they are asked for."""

        def token(audience: str, full: bool) -> str:
            claims = instance.claims if full else instance.standard_claims
            return key.sign(claims(audience, int(clock())))

        return cls(instance.values, token, tokens.key_set([key.jwk]))

    @classmethod
    def recorded(cls, recording: bytes) -> Self:
        """A metadata server that has one recorded token for every audience.

        :param recording: a JSON object: ``cloud`` is "gcp", ``signature`` the token and ``jwk``, if there is one,
            the key that verifies it.
        :raises ValueError: with a sentence, if it is not that.
        """
        match strict_json.loads(recording):
            case {"cloud": "gcp", "signature": str(text), **rest} if text.count(".") == 2 and text.isascii():
                jwk = rest.get("jwk")
            case _:
                raise ValueError("the recording is not one of a GCP token with 'signature'")
        return cls({}, lambda _audience, _full: text, tokens.key_set([jwk] if isinstance(jwk, dict) else []))

    def answer(self, request: Request) -> Response:
        """Answer as Google does: the key set to all, the rest to the VM's own programs."""
        if request.method not in ("GET", "HEAD"):
            return _page(HTTPStatus.METHOD_NOT_ALLOWED, f"The request method {request.method} is not appropriate.")
        if request.path == KEYS_PATH:
            headers = {"Cache-Control": f"public, max-age={LIFETIME}, must-revalidate, no-transform"}
            return Response(HTTPStatus.OK, self.key_set, headers, "application/json; charset=UTF-8")
        if request.path == "/":
            return _values(["computeMetadata/"])
        if "X-Forwarded-For" in request.headers:
            return _page(HTTPStatus.FORBIDDEN, "Requests with X-Forwarded-For are not answered.")
        if request.headers.get("Metadata-Flavor") != "Google":
            return _page(HTTPStatus.FORBIDDEN, "Missing Metadata-Flavor:Google header.")
        if request.path == _ROOT.rstrip("/"):
            return _page(HTTPStatus.MOVED_PERMANENTLY, "It has moved.", {"Location": _ROOT})
        below = request.path.removeprefix(_ROOT)
        if below == request.path:
            return _not_found(request.path)
        if below == _IDENTITY:
            return self._identity(request.query)
        if below in self.values:
            return Response(HTTPStatus.OK, self.values[below].encode(), FLAVOR, "application/text")
        return self._folder(below) or _not_found(request.path)

    def _identity(self, text: str) -> Response:
        query = parse_qs(text[:8192])
        audience = query.get("audience", [""])[0]
        if not audience:
            return _page(HTTPStatus.BAD_REQUEST, "non-empty audience parameter required")
        token = self.token(audience, query.get("format") == ["full"])
        # Google's own answers to this path say text/html, though a token is not HTML.
        return Response(HTTPStatus.OK, token.encode(), FLAVOR, "text/html")

    def _folder(self, below: str) -> Response | None:
        folder = below.rstrip("/") + "/" if below else ""
        inside = {path.removeprefix(folder) for path in (*self.values, _IDENTITY) if path.startswith(folder)}
        if not inside:
            return None
        if below and not below.endswith("/"):
            return _page(HTTPStatus.MOVED_PERMANENTLY, "It has moved.", {"Location": f"{_ROOT}{below}/"})
        return _values(sorted({first + slash for first, slash, _ in (path.partition("/") for path in inside)}))


def _values(lines: list[str]) -> Response:
    return Response(HTTPStatus.OK, "".join(f"{line}\n" for line in lines).encode(), FLAVOR, "application/text")


def _not_found(path: str) -> Response:
    return _page(HTTPStatus.NOT_FOUND, f"The requested URL {html.escape(path)} was not found on this server.")


def _page(status: HTTPStatus, text: str, headers: Mapping[str, str] | None = None) -> Response:
    title = f"Error {status.value} ({status.phrase})"
    body = f"<!DOCTYPE html>\n<html lang=en>\n<meta charset=utf-8>\n<title>{title}</title>\n<p>{text}\n"
    return Response(status, body.encode(), {**FLAVOR, **(headers or {})}, "text/html; charset=UTF-8")
