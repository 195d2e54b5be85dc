"""AWS EC2: identity documents from the instance metadata service.

Sources: "Use the Instance Metadata Service to access instance metadata" and "Instance identity documents" in
the EC2 user guide; the environment variables are those of AWS's SDKs.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

from acme_iid.iid01 import Binding, IID01Response
from acme_iid_client.clouds.metadata import FormatUnavailableError, MetadataService, NoAnswerError
from acme_iid_client.errors import ClientError

_IPV4 = "http://169.254.169.254"
_IPV6 = "http://[fd00:ec2::254]"
_TOKEN_PATH = "/latest/api/token"  # noqa: S105 - a path
_DOCUMENTS = "/latest/dynamic/instance-identity/"
_TOKEN_SECONDS = 300
"""How long a session token is asked for: longer than any order takes (AWS allows 1 to 21600)."""

_FACTS = (
    "accountId",
    "region",
    "availabilityZone",
    "instanceId",
    "instanceType",
    "imageId",
    "privateIp",
    "pendingTime",
)


class AWS:
    """The instance metadata service of EC2, version 2 with sessions, or version 1 where that is all there is.

    :param env: the environment.
    :param metadata_url: the service's address, if it is not the usual one.
    """

    title = "AWS"
    formats: tuple[str, ...] = ("aws-rsa2048", "aws-signature", "aws-pkcs7")

    def __init__(self, env: Mapping[str, str], metadata_url: str | None = None) -> None:
        ipv6 = env.get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "").lower() == "ipv6"
        base = metadata_url or env.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or (_IPV6 if ipv6 else _IPV4)
        self._off = not metadata_url and env.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true"
        self._service = MetadataService(base)
        self._headers: Mapping[str, str] | None = None
        # The documents do not change while a program runs, and an order of several names needs them again.
        self._fetched: dict[str, bytes] = {}

    def instance(self) -> str:
        """``aws:`` and the instance id."""
        return f"aws:{self._document()['instanceId']}"

    def facts(self) -> Mapping[str, str]:
        """The fields of the identity document that say which instance this is."""
        document = self._document()
        return {name: str(document[name]) for name in _FACTS if document.get(name) is not None}

    def evidence(self, kind: str, binding: Binding) -> IID01Response:  # noqa: ARG002 - documents take no nonce
        """The document of a kind: it is bound to nothing, so the CA ties it to the first account that sends it."""
        if kind == "aws-signature":
            document = base64.urlsafe_b64encode(self._fetch("document")).rstrip(b"=").decode("ascii")
            return IID01Response(format=kind, document=document, signature=self._base64("signature"))
        return IID01Response(format=kind, evidence=self._base64(kind.removeprefix("aws-")))

    def _document(self) -> dict[str, object]:
        try:
            document = json.loads(self._fetch("document"))
            if isinstance(document, dict) and isinstance(document.get("instanceId"), str):
                return document
        except ValueError:
            pass
        raise ClientError(
            f"What {self._service.base} gives as its identity document is none. Is it EC2's metadata service?"
        )

    def _base64(self, name: str) -> str:
        """A document that is served as base64 in lines, in one line."""
        try:
            return "".join(self._fetch(name).decode("ascii").split())
        except UnicodeDecodeError as error:
            raise FormatUnavailableError(f"What the metadata service gives as {name!r} is not base64.") from error

    def _fetch(self, name: str) -> bytes:
        if name not in self._fetched:
            if self._headers is None:
                self._headers = self._open_session()
            answer = self._service.ask("GET", _DOCUMENTS + name, self._headers)
            if answer.status == 404:
                raise FormatUnavailableError(f"The metadata service has no instance-identity/{name}.")
            if answer.status == 401:
                raise ClientError(
                    f"The metadata service at {self._service.base} demands a session token and gives none out."
                )
            if answer.status == 403:
                raise self._switched_off()
            if answer.status != 200:
                raise ClientError(
                    f"The metadata service answers with status {answer.status} for instance-identity/{name}."
                )
            self._fetched[name] = answer.content
        return self._fetched[name]

    def _open_session(self) -> Mapping[str, str]:
        """Get a session token, and return the headers for what follows: none where the service has no sessions."""
        if self._off:
            raise ClientError("The metadata service is switched off by AWS_EC2_METADATA_DISABLED; unset it to use it.")
        try:
            answer = self._service.ask(
                "PUT", _TOKEN_PATH, {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_SECONDS)}
            )
        except NoAnswerError as error:
            raise self._why_no_token(error) from error
        if answer.status in (403, 404, 405):
            return {}
        if answer.status != 200:
            raise ClientError(
                f"The metadata service answers with status {answer.status} when asked for a session token."
            )
        token = answer.content.decode("latin-1").strip()
        if not token or not token.isascii() or not token.isprintable():
            raise ClientError(
                f"What {self._service.base} gives as a session token is none. Is it EC2's metadata service?"
            )
        return {"X-aws-ec2-metadata-token": token}

    def _why_no_token(self, error: NoAnswerError) -> ClientError:
        """The hop limit counts for the answer to the PUT only, so that a GET answers when it was too low."""
        try:
            self._service.ask("GET", _DOCUMENTS + "document", {})
        except ClientError:
            return error
        return ClientError(
            f"The metadata service at {self._service.base} answers, but its session token does not arrive: the "
            "hop limit of the instance is too low, as it is by default inside a container. Raise it with: aws ec2 "
            "modify-instance-metadata-options --instance-id i-... --http-put-response-hop-limit 2"
        )

    def _switched_off(self) -> ClientError:
        return ClientError(
            f"The metadata service at {self._service.base} is switched off for this instance (403). Turn it on with: "
            "aws ec2 modify-instance-metadata-options --instance-id i-... --http-endpoint enabled"
        )
