"""Azure: attested documents and managed identity tokens from the Instance Metadata Service.

Sources: "Azure Instance Metadata Service" and "How to use managed identities for Azure resources on an Azure VM to
acquire an access token" on Microsoft Learn.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from cryptography.hazmat.primitives.serialization import Encoding

from acme_iid.attestation import cms
from acme_iid.binding import Binding
from acme_iid.iid01 import IID01Response
from acme_iid_client.clouds import azure_issuers
from acme_iid_client.clouds.metadata import (
    LINK_LOCAL,
    BusyError,
    FormatUnavailableError,
    MetadataService,
    NotThisCloudError,
    Response,
)
from acme_iid_client.errors import ClientError

INTERMEDIATES_VARIABLE = "ACME_IID_AZURE_INTERMEDIATES"
MAX_INTERMEDIATES_BYTES = 32 * 1024

_HEADERS: Mapping[str, str] = {"Metadata": "true"}
_ATTESTED = "/metadata/attested/document?api-version=2021-02-01"
_INSTANCE = "/metadata/instance?api-version=2021-02-01"
_IDENTITY = "/metadata/identity/oauth2/token?api-version=2018-02-01"
_PAUSES = (0.0, 0.3, 0.6, 1.0, 1.5, 2.0)
"""Seconds before each try for a document that is not an older one: the service keeps documents for some."""
_SERVERS = ("IMDS/", "Microsoft-IIS/")
"""The service's names for itself, the present and the former one."""

_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\Z")

_FACTS = ("subscriptionId", "vmId", "name", "resourceGroupName", "location", "vmSize", "azEnvironment")


class Azure:
    """The Instance Metadata Service.

    :param env: the environment.
    :param metadata_url: the service's address, if it is not the usual one.
    :param resource: the resource for which managed identity tokens are asked, as ``parse_resource`` of
        :mod:`acme_iid_client.acme.known_ca` returns it; without it, no token is asked for.
    """

    title = "Azure"
    formats: tuple[str, ...] = ("azure-attested", "azure-managed-identity")

    def __init__(self, env: Mapping[str, str], metadata_url: str | None = None, resource: str | None = None) -> None:
        # It has no IPv6 address (Microsoft Learn, "Azure Instance Metadata Service").
        self._service = MetadataService(metadata_url or LINK_LOCAL)
        self._env = env
        self._resource = resource
        self._compute: Mapping[str, object] | None = None
        self._issuers: str | None = None

    @staticmethod
    def named(env: Mapping[str, str]) -> bool:  # noqa: ARG004 - Azure's tools have no variable for it
        """Whether the environment says where this service is."""
        return False

    @property
    def base(self) -> str:
        """The service's address."""
        return self._service.base

    def probe(self, seconds: float) -> None:
        """Ask for the instance's description, which only Azure writes like this, or a busy service of Azure's name."""
        answer = self._service.try_once("GET", _INSTANCE, _HEADERS, seconds)
        if not (answer.busy and answer.server.startswith(_SERVERS)):
            self._compute = self._read_description(answer)

    def instance(self) -> str:
        """``azure:`` and the vmId."""
        return f"azure:{self._vm_id()}"

    def names(self) -> tuple[str, ...]:
        """The vmId: the attested document names nothing else."""
        return (self._vm_id(),)

    def facts(self) -> Mapping[str, str]:
        """The instance as the metadata service describes it."""
        compute = self._described()
        return {name: str(compute[name]) for name in _FACTS if compute.get(name)}

    def evidence(self, kind: str, binding: Binding) -> IID01Response:
        """The attested document with the binding's nonce, and for a managed identity its token beside it."""
        if kind == "azure-managed-identity":
            # The token first: without a token, the document need not be asked for.
            token = self._token()
            document = self._attested(binding.nonce)
            return IID01Response(format=kind, evidence=token, attested=document, **self._intermediates(document))
        document = self._attested(binding.nonce)
        return IID01Response(format=kind, evidence=document, **self._intermediates(document))

    def _vm_id(self) -> str:
        return str(self._described()["vmId"]).lower()

    def _described(self) -> Mapping[str, object]:
        if self._compute is None:
            self._compute = self._read_description(self._service.ask("GET", _INSTANCE, _HEADERS))
        return self._compute

    def _read_description(self, answer: Response) -> Mapping[str, object]:
        match _json(answer):
            case {"compute": {"vmId": str()} as compute} if answer.status == 200:
                return {str(name): value for name, value in compute.items()}
        if answer.busy:
            raise BusyError(f"The metadata service at {self.base} answers with status {answer.status}.")
        raise NotThisCloudError(
            "it does not describe an instance as Azure's does",
            f"The service at {self.base} does not describe an instance as Azure's metadata service does.",
        )

    def _attested(self, nonce: str) -> str:
        """The attested document, base64, with this nonce.

        :raises ClientError: if the service gives none, or only ones that were made for another nonce.
        """
        for pause in _PAUSES:
            time.sleep(pause)
            answer = self._service.ask("GET", f"{_ATTESTED}&nonce={nonce}", _HEADERS)
            if answer.status != 200:
                raise ClientError(
                    f"Azure's metadata service answers with status {answer.status} for an attested document."
                )
            document = _document(answer)
            if document is None:
                raise ClientError(f"{self.base} does not give an attested document.")
            if nonce_of(base64.b64decode(document)) == nonce:
                return document
        raise ClientError(
            f"Azure's metadata service gave {len(_PAUSES)} attested documents that it had made for an earlier "
            "request, and none for this one. It keeps documents for a while; try again in a minute."
        )

    def _token(self) -> str:
        if self._resource is None:
            raise FormatUnavailableError(
                "This machine does not know the resource for which the CA takes managed identity tokens, and "
                "it uses no resource that a server names. Ask the CA's operator, and give the resource with "
                "--azure-resource, here or once with 'acme-iid bootstrap'."
            )
        # As Azure's own libraries have it, for a VM with several identities.
        client = self._env.get("AZURE_CLIENT_ID")
        which = f"&client_id={quote(client, safe='')}" if client else ""
        path = f"{_IDENTITY}&resource={quote(self._resource, safe='')}{which}"
        answer = self._service.ask("GET", path, _HEADERS)
        match _json(answer):
            case {"access_token": str(token)} if answer.status == 200 and _TOKEN.match(token):
                return token
            case {"error_description": str(description)}:
                reason = description[:300]
            case _:
                reason = f"status {answer.status}"
        raise FormatUnavailableError(
            f"The metadata service gives no managed identity token for {self._resource} ({reason.rstrip('.')}). The VM "
            "needs an identity, and the tenant an application with this ID URI."
        )

    def _intermediates(self, document: str) -> dict[str, str]:
        """Certificates between the document's signer and its root, for a CA that does not have them yet."""
        file = self._env.get(INTERMEDIATES_VARIABLE)
        if not file:
            # Documents of one program have one signer, or at most two.
            if self._issuers is None:
                certificates = azure_issuers.issuers(base64.b64decode(document))
                self._issuers = "".join(each.public_bytes(Encoding.PEM).decode("ascii") for each in certificates)
            return {"intermediates": self._issuers} if self._issuers else {}
        content = Path(file).read_bytes()
        if len(content) > MAX_INTERMEDIATES_BYTES or b"-----BEGIN CERTIFICATE" not in content or not content.isascii():
            raise ClientError(f"{file} ({INTERMEDIATES_VARIABLE}) is not a PEM file with a few certificates.")
        return {"intermediates": content.decode("ascii")}


def nonce_of(document: bytes) -> str | None:
    """The nonce in an attested document, which nobody has verified; None if it holds none.

    :param document: SignedData (RFC 5652 section 5.1).
    """
    try:
        content = json.loads(cms.parse(document).content)
    except (ValueError, RecursionError):
        return None
    nonce = content.get("nonce") if isinstance(content, dict) else None
    return nonce if isinstance(nonce, str) else None


def _document(answer: Response) -> str | None:
    match _json(answer):
        case {"signature": str(signature)}:
            try:
                return base64.b64encode(base64.b64decode(signature)).decode("ascii")
            except ValueError:
                return None
    return None


def _json(answer: Response) -> object:
    try:
        value: object = json.loads(answer.content)
    except (ValueError, RecursionError):
        return None
    return value
