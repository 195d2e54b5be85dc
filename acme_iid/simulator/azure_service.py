"""A stand-in for Azure's Instance Metadata Service: its HTTP.

Source: Microsoft Learn, "Azure Instance Metadata Service" (usage, errors, attested data) and "How to use managed
identities for Azure resources on an Azure VM to acquire an access token". Requests need ``Metadata: true``,
must not come through a proxy, and name a version of the interface; refusals are in JSON.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qs

from acme_iid.protocol import strict_json
from acme_iid.simulator.azure import TOKEN_LIFETIME, Keys, Signer, Vm, signed_data
from acme_iid.simulator.listener import Request, Response

ATTESTED = "/metadata/attested/document"
INSTANCE = "/metadata/instance"
TOKEN = "/metadata/identity/oauth2/token"  # noqa: S105 - a path
KEY_SET = "/common/discovery/v2.0/keys"
"""Entra's path, served here as well so that one stand-in is enough."""

NEWEST_VERSIONS = ("2021-02-01", "2021-01-01", "2020-12-01")
"""The versions that the service's errors name; it takes :data:`SUPPORTED_VERSIONS`."""
SUPPORTED_VERSIONS = frozenset({*NEWEST_VERSIONS, "2020-10-01", "2020-09-01"})
TOKEN_VERSION = "2018-02-01"  # noqa: S105 - a version

_JSON = "application/json; charset=utf-8"
_NONCE = re.compile(r"[0-9A-Za-z]{1,32}\Z")


@dataclass(slots=True)
class AzureService:
    """The metadata service of one VM.

    :ivar stale_nonces: the number of requests for a document that get an older one with another nonce.
    :ivar clock: seconds.
    """

    vm: Vm
    keys: Keys
    stale_nonces: int = 0
    clock: Callable[[], float] = time.time
    banner: str = "Microsoft-IIS/10.0"
    reads: frozenset[str] = frozenset()
    _signer: Signer | None = None
    _tokens: dict[str, tuple[int, str]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, request: Request) -> Response:
        """Answer a request."""
        if request.path == KEY_SET and request.method in ("GET", "HEAD"):
            return Response(HTTPStatus.OK, self.keys.key_set, {"Cache-Control": "max-age=86400, private"}, _JSON)
        error = _request_error(request)
        if error is not None:
            return error
        match request.path.rstrip("/"):
            case "/metadata/attested/document":
                return _versioned(request, self._attested)
            case "/metadata/instance":
                return _versioned(request, lambda _: _json(self._instance()))
            case "/metadata/identity/oauth2/token":
                return self._token(_query(request))
            case _:
                return _error(HTTPStatus.NOT_FOUND, "Not found")

    def _attested(self, query: Mapping[str, str]) -> Response:
        nonce = query.get("nonce")
        if nonce is not None and not _NONCE.match(nonce):
            return _error(HTTPStatus.BAD_REQUEST, "Bad request. nonce must be at most 32 letters and digits")
        now = int(self.clock())
        with self._lock:
            if self._signer is None:
                self._signer = self.keys.signer(self.vm, now)
            signer, stale = self._signer, self.stale_nonces > 0
            self.stale_nonces -= stale
        content = self.vm.document("0123456789" if stale else nonce, now - 60 * stale)
        return _json({"encoding": "pkcs7", "signature": base64.b64encode(signed_data(content, signer)).decode()})

    def _instance(self) -> dict[str, object]:
        vm = self.vm
        environments = {
            "public": "AzurePublicCloud",
            "government": "AzureUSGovernmentCloud",
            "china": "AzureChinaCloud",
        }
        address = {"privateIpAddress": vm.private_ip, "publicIpAddress": ""}
        return {
            "compute": {
                "azEnvironment": environments[vm.environment],
                "location": vm.location,
                "name": vm.name,
                "resourceGroupName": vm.resource_group,
                "resourceId": vm.resource_id,
                "sku": vm.sku,
                "subscriptionId": vm.subscription,
                "vmId": vm.vm_id,
                "vmScaleSetName": vm.scale_set or "",
                "vmSize": vm.size,
            },
            "network": {"interface": [{"ipv4": {"ipAddress": [address]}, "ipv6": {"ipAddress": []}}]},
        }

    def _token(self, query: Mapping[str, str]) -> Response:
        if query.get("api-version") != TOKEN_VERSION:
            return _identity_error("The api-version is missing or not supported; use 2018-02-01")
        resource = query.get("resource")
        if not resource:
            return _identity_error("Required query variable 'resource' is missing")
        now = int(self.clock())
        with self._lock:
            issued, token = self._tokens.get(resource, (now - TOKEN_LIFETIME, ""))
            if now - issued >= TOKEN_LIFETIME:
                issued, token = now, self.keys.tokens.sign(self.vm.claims(resource, now))
                self._tokens[resource] = issued, token
        expires = issued + TOKEN_LIFETIME
        return _json(
            {
                "access_token": token,
                "client_id": self.vm.client_id,
                "expires_in": str(expires - now),
                "expires_on": str(expires),
                "ext_expires_in": str(expires - now),
                "not_before": str(issued - 300),
                "resource": resource,
                "token_type": "Bearer",
            }
        )


@dataclass(frozen=True, slots=True)
class Recorded:
    """A metadata service that has one recorded document and hands it out for every nonce."""

    signature: str
    banner: str = "Microsoft-IIS/10.0"
    reads: frozenset[str] = frozenset()

    def answer(self, request: Request) -> Response:
        """Answer a request."""
        error = _request_error(request)
        if error is not None:
            return error
        if request.path.rstrip("/") != ATTESTED:
            return _error(HTTPStatus.NOT_FOUND, "Not found")
        return _versioned(request, lambda _: _json({"encoding": "pkcs7", "signature": self.signature}))


def recorded(recording: bytes) -> Recorded:
    """A service that serves a recorded document.

    :param recording: a JSON object: ``cloud`` is "azure", ``format`` "attested-document-pkcs7", and ``signature`` the
        base64 text of the CMS.
    :raises ValueError: with a sentence, if it is not that.
    """
    match strict_json.loads(recording):
        case {"cloud": "azure", "format": "attested-document-pkcs7", "signature": str(signature)}:
            pass
        case _:
            raise ValueError("the recording is not one of Azure's attested documents with 'format' and 'signature'")
    try:
        base64.b64decode(signature, validate=True)
    except binascii.Error as error:
        raise ValueError("the recording's signature is not base64") from error
    return Recorded(signature)


def _request_error(request: Request) -> Response | None:
    if request.method not in ("GET", "HEAD"):
        return Response(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": "GET, HEAD"})
    # A request through a proxy may come from elsewhere.
    if "X-Forwarded-For" in request.headers:
        return _error(HTTPStatus.BAD_REQUEST, "Bad request. Requests must not contain an X-Forwarded-For header")
    if request.headers.get("Metadata", "").lower() != "true":
        return _error(HTTPStatus.BAD_REQUEST, "Bad request. Required metadata header not specified")
    return None


def _query(request: Request) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(request.query, keep_blank_values=True).items()}


def _versioned(request: Request, answer: Callable[[Mapping[str, str]], Response]) -> Response:
    query = _query(request)
    version = query.get("api-version")
    if version in SUPPORTED_VERSIONS:
        return answer(query)
    what = "was not specified in the request" if version is None else "is invalid or was not specified in the request"
    return _json(
        {
            "error": f"Bad request. api-version {what}. For more information refer to aka.ms/azureimds",
            "newest-versions": list(NEWEST_VERSIONS),
        },
        HTTPStatus.BAD_REQUEST,
    )


def _identity_error(description: str) -> Response:
    return _json({"error": "invalid_request", "error_description": description}, HTTPStatus.BAD_REQUEST)


def _error(status: HTTPStatus, text: str) -> Response:
    return _json({"error": text}, status)


def _json(value: object, status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(status, json.dumps(value, separators=(",", ":")).encode(), content_type=_JSON)
