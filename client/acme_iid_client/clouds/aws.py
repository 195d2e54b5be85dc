"""AWS EC2: identity documents from the instance metadata service, and what can be had beside them.

Sources: "Use the Instance Metadata Service to access instance metadata", "Instance identity documents" and "Retrieve
security credentials from instance metadata" in the EC2 user guide; the environment variables are those of AWS's SDKs.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping

from acme_iid.binding import Binding, base64url
from acme_iid.iid01 import IID01Response
from acme_iid_client.clouds import nitrotpm, sts
from acme_iid_client.clouds.metadata import (
    LINK_LOCAL,
    BusyError,
    FormatUnavailableError,
    MetadataService,
    NoAnswerError,
    NotThisCloudError,
    Response,
)
from acme_iid_client.clouds.sigv4 import Credentials
from acme_iid_client.errors import ClientError

IPV6 = "http://[fd00:ec2::254]"
"""The service's address for instances without IPv4."""
_SERVER = "EC2ws"
"""The service's name for itself."""
_ENDPOINT = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
_TOKEN_PATH = "/latest/api/token"  # noqa: S105 - a path
_DOCUMENTS = "/latest/dynamic/instance-identity/"
_ROLES = "/latest/meta-data/iam/security-credentials/"
_ROLE = re.compile(r"[A-Za-z0-9_+=,.@-]{1,128}\Z")
_TOKEN_SECONDS = 300
"""The lifetime that a session token is asked for: longer than any order takes (AWS allows 1 to 21600)."""
_TOKEN_HEADERS: Mapping[str, str] = {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_SECONDS)}

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
    formats: tuple[str, ...] = ("aws-rsa2048", "aws-signature", "aws-pkcs7", "aws-nitrotpm", "aws-web-identity")

    def __init__(
        self,
        env: Mapping[str, str],
        metadata_url: str | None = None,
        resource: str | None = None,  # noqa: ARG002 - a word of other clouds
    ) -> None:
        ipv6 = env.get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "").lower() == "ipv6"
        base = metadata_url or env.get(_ENDPOINT) or (IPV6 if ipv6 else LINK_LOCAL)
        self._off = not metadata_url and env.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true"
        self._env = env
        self._service = MetadataService(base)
        self._headers: Mapping[str, str] | None = None
        # The documents do not change while a program runs, and an order of several names needs them again.
        self._fetched: dict[str, bytes] = {}

    @staticmethod
    def named(env: Mapping[str, str]) -> bool:
        """Whether the environment says where this service is."""
        return bool(env.get(_ENDPOINT))

    @property
    def base(self) -> str:
        """The service's address."""
        return self._service.base

    def probe(self, seconds: float) -> None:
        """Ask for a session token, which only AWS gives out, or for the document.

        A service that gives no token now, but the document or a demand for a token, is this cloud's, and so is a busy
        one of its name.
        """
        self._require_on()
        try:
            answer = self._service.try_once("PUT", _TOKEN_PATH, _TOKEN_HEADERS, seconds / 2)
        except NoAnswerError:
            self._probe_document(seconds / 2)
            return
        if answer.status == 200:
            self._headers = self._headers_with(answer)
        elif answer.busy:
            if answer.server != _SERVER:
                raise BusyError(self._refusal_text(answer))
        elif answer.status not in (403, 404, 405):
            raise ClientError(self._refusal_text(answer))
        elif document := self._probe_document(seconds / 2):
            self._headers, self._fetched["document"] = {}, document

    def _probe_document(self, seconds: float) -> bytes | None:
        """Ask for the document without a session; None from a service that demands one."""
        answer = self._service.try_once("GET", _DOCUMENTS + "document", {}, seconds)
        if answer.status == 200 and _is_document(answer.content):
            return answer.content
        # Google's service also answers 403, to whoever lacks its header.
        if answer.status in (401, 403) and "Metadata-Flavor" not in answer.headers:
            if answer.status == 401:
                return None
            raise self._switched_off_error()
        raise NotThisCloudError("it has neither session tokens nor an identity document")

    def instance(self) -> str:
        """``aws:`` and the instance id."""
        return f"aws:{self._document()['instanceId']}"

    def facts(self) -> Mapping[str, str]:
        """The fields of the identity document that say which instance this is."""
        document = self._document()
        return {name: str(document[name]) for name in _FACTS if document.get(name) is not None}

    def names(self) -> tuple[str, ...]:
        """The instance's id, and its private name and address as EC2 makes them."""
        document = self._document()
        instance, region = str(document["instanceId"]), str(document.get("region"))
        try:
            address = ipaddress.IPv4Address(str(document.get("privateIp")))
        except ValueError:
            return (instance,)
        domain = "ec2.internal" if region == "us-east-1" else f"{region}.compute.internal"
        return instance, f"ip-{str(address).replace('.', '-')}.{domain}", str(address)

    def evidence(self, kind: str, binding: Binding) -> IID01Response:
        """Evidence of a kind. The documents take no nonce, so the CA ties them to the first account that sends them."""
        match kind:
            case "aws-signature":
                document = base64url(self._fetch("document"))
                return IID01Response(format=kind, document=document, signature=self._base64("signature"))
            case "aws-nitrotpm":
                # The TPM's document names no account; this one does.
                beside = self._base64("rsa2048")
                return IID01Response(
                    format=kind, evidence=base64url(nitrotpm.attest(self._env, binding)), rsa2048=beside
                )
            case "aws-web-identity":
                region = str(self._document().get("region"))
                token = sts.web_identity_token(self._credentials(), region, binding.audience, self._env)
                return IID01Response(format=kind, evidence=token)
        return IID01Response(format=kind, evidence=self._base64(kind.removeprefix("aws-")))

    def _document(self) -> dict[str, object]:
        content = self._fetch("document")
        if not _is_document(content):
            raise ClientError(f"{self._service.base} does not give an identity document. Is it EC2's metadata service?")
        document: dict[str, object] = json.loads(content)
        return document

    def _credentials(self) -> Credentials:
        """The credentials of the instance's role. They are used once and kept nowhere."""
        listed = self._service.ask("GET", _ROLES, self._session())
        role = listed.content.decode("latin-1").split("\n")[0].strip()
        if listed.status != 200 or not _ROLE.match(role):
            raise FormatUnavailableError("This instance has no role (instance profile), so it gets no web identity.")
        answer = self._service.ask("GET", _ROLES + role, self._session())
        try:
            match json.loads(answer.content) if answer.status == 200 else None:
                case {"AccessKeyId": str(key), "SecretAccessKey": str(secret), "Token": str(token)} if (
                    f"{key}{secret}{token}".isascii() and f"{key}{secret}{token}".isprintable()
                ):
                    return Credentials(key, secret, token)
        except ValueError:
            pass
        raise FormatUnavailableError(f"The metadata service gives no credentials for the role {role}.")

    def _base64(self, name: str) -> str:
        """A document that is served as base64 in lines, in one line."""
        try:
            return "".join(self._fetch(name).decode("ascii").split())
        except UnicodeDecodeError as error:
            raise FormatUnavailableError(f"The metadata service's {name!r} is not base64.") from error

    def _fetch(self, name: str) -> bytes:
        if name not in self._fetched:
            answer = self._service.ask("GET", _DOCUMENTS + name, self._session())
            if answer.status == 404:
                raise FormatUnavailableError(f"The metadata service has no instance-identity/{name}.")
            if answer.status == 401:
                raise self._no_token_error()
            if answer.status == 403:
                raise self._switched_off_error()
            if answer.status != 200:
                raise ClientError(
                    f"The metadata service answers with status {answer.status} for instance-identity/{name}."
                )
            self._fetched[name] = answer.content
        return self._fetched[name]

    def _session(self) -> Mapping[str, str]:
        """The headers of further requests: those of a session, or empty if the service has no sessions."""
        if self._headers is None:
            self._require_on()
            try:
                answer = self._service.ask("PUT", _TOKEN_PATH, _TOKEN_HEADERS)
            except NoAnswerError as error:
                raise self._no_answer_error(error) from error
            if answer.status in (403, 404, 405):
                self._headers = {}
            elif answer.status == 200:
                self._headers = self._headers_with(answer)
            else:
                raise ClientError(self._refusal_text(answer))
        return self._headers

    def _require_on(self) -> None:
        if self._off:
            raise ClientError("The metadata service is switched off by AWS_EC2_METADATA_DISABLED; unset it to use it.")

    def _headers_with(self, answer: Response) -> Mapping[str, str]:
        """The headers with the session token in an answer."""
        token = answer.content.decode("latin-1").strip()
        if not token or not token.isascii() or not token.isprintable():
            raise ClientError(f"{self._service.base} does not give a session token. Is it EC2's metadata service?")
        return {"X-aws-ec2-metadata-token": token}

    @staticmethod
    def _refusal_text(answer: Response) -> str:
        return f"The metadata service answers with status {answer.status} when asked for a session token."

    def _no_answer_error(self, error: NoAnswerError) -> ClientError:
        """Why no token came, however often it was asked for.

        The hop limit counts for the answer to the PUT only, so that a GET answers when it was too low.
        """
        try:
            self._service.try_once("GET", _DOCUMENTS + "document", {})
        except ClientError:
            return error
        return ClientError(
            f"The metadata service at {self._service.base} answers, but its session token does not arrive: the "
            "hop limit of the instance is too low, as it is by default inside a container. Raise it with: aws ec2 "
            "modify-instance-metadata-options --instance-id i-... --http-put-response-hop-limit 2"
        )

    def _no_token_error(self) -> ClientError:
        return ClientError(f"The metadata service at {self._service.base} demands a session token and gives none out.")

    def _switched_off_error(self) -> ClientError:
        return ClientError(
            f"The metadata service at {self._service.base} is switched off for this instance (403). Turn it on with: "
            "aws ec2 modify-instance-metadata-options --instance-id i-... --http-endpoint enabled"
        )


def _is_document(content: bytes) -> bool:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and isinstance(document.get("instanceId"), str)
