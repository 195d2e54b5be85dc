"""Google Compute Engine: identity tokens from the metadata server.

Sources: "View and query VM metadata" and "Verify the identity of instances" in the Compute Engine documentation; the
environment variable is that of Google's client libraries.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

from acme_iid.binding import Binding
from acme_iid.iid01 import IID01Response
from acme_iid_client.clouds.metadata import (
    LINK_LOCAL,
    FormatUnavailableError,
    MetadataService,
    NotThisCloudError,
    Response,
    text_of,
)
from acme_iid_client.errors import ClientError

_HOST = "GCE_METADATA_HOST"
IPV6 = "http://[fd20:ce::254]"
"""The server's address for instances without IPv4."""
_ROOT = "/computeMetadata/v1/"
_FLAVOR = "Metadata-Flavor"
_HEADERS: Mapping[str, str] = {_FLAVOR: "Google"}
_ACCOUNT = "instance/service-accounts/default/"
_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\Z")

_FACTS = {
    "project": "project/project-id",
    "project_number": "project/numeric-project-id",
    "zone": "instance/zone",
    "instance_id": "instance/id",
    "instance_name": "instance/name",
    "service_account": f"{_ACCOUNT}email",
}


class GCP:
    """The metadata server of Compute Engine.

    :param env: the environment.
    :param metadata_url: the server's address, if it is not the usual one.
    """

    title = "GCP"
    formats: tuple[str, ...] = ("gcp-identity",)

    def __init__(
        self,
        env: Mapping[str, str],
        metadata_url: str | None = None,
        resource: str | None = None,  # noqa: ARG002 - a word of other clouds
    ) -> None:
        # Google's own libraries take a host name or address there, with or without a port. The server's name,
        # metadata.google.internal, is not used: somebody else may answer for it elsewhere.
        host = env.get(_HOST)
        self._service = MetadataService(metadata_url or (f"http://{host}" if host else LINK_LOCAL))

    @staticmethod
    def named(env: Mapping[str, str]) -> bool:
        """Whether the environment says where this server is."""
        return bool(env.get(_HOST))

    @property
    def base(self) -> str:
        """The server's address."""
        return self._service.base

    def probe(self, seconds: float) -> None:
        """Ask for the instance's id; Google's server is recognized by any answer."""
        self._require_google(self._service.try_once("GET", f"{_ROOT}instance/id", _HEADERS, seconds))

    def instance(self) -> str:
        """``gcp:`` and the instance's number."""
        return f"gcp:{self._value('instance/id')}"

    def names(self) -> tuple[str, ...]:
        """The host names of internal DNS: the zonal one, and the global one that older projects use."""
        name, zone = self._value("instance/name"), self._value("instance/zone").rpartition("/")[2]
        # A project of the time when projects belonged to domains is domain:project.
        domain, _, project = self._value("project/project-id").rpartition(":")
        suffix = f"c.{project}.{domain}.internal" if domain else f"c.{project}.internal"
        return f"{name}.{zone}.{suffix}", f"{name}.{suffix}"

    def facts(self) -> Mapping[str, str]:
        """The instance as the metadata server describes it."""
        facts = {}
        for name, path in _FACTS.items():
            answer = self._get(path)
            if answer.status == 200:
                facts[name] = text_of(answer.content, name).rpartition("/")[2]
        return facts

    def evidence(self, kind: str, binding: Binding) -> IID01Response:
        """An identity token for the binding's audience and no other."""
        answer = self._get(f"{_ACCOUNT}identity?audience={quote(binding.audience, safe='')}&format=full")
        if answer.status == 404:
            raise FormatUnavailableError(
                "The metadata server has no identity token: this VM has no service account. Attach one; it needs "
                "no roles."
            )
        if answer.status != 200:
            raise ClientError(f"The metadata server answers with status {answer.status} for an identity token.")
        token = answer.content.decode("latin-1").strip()
        if not _TOKEN.match(token):
            raise ClientError(f"{self.base} does not give an identity token.")
        return IID01Response(format=kind, evidence=token)

    def _value(self, path: str) -> str:
        answer = self._get(path)
        if answer.status != 200:
            raise ClientError(f"The metadata server at {self.base} answers with status {answer.status} for {path}.")
        return text_of(answer.content, path)

    def _get(self, path: str) -> Response:
        """One request. An answer without Google's header is not the metadata server's."""
        return self._require_google(self._service.ask("GET", _ROOT + path, _HEADERS))

    def _require_google(self, answer: Response) -> Response:
        if answer.headers.get(_FLAVOR) != "Google":
            raise NotThisCloudError(
                f"its answers have no {_FLAVOR}",
                f"The service at {self.base} is not Google's metadata server: its answers have no {_FLAVOR}.",
            )
        return answer
