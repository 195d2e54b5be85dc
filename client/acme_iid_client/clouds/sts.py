"""A web identity token from AWS's Security Token Service, asked for with the credentials of the instance's role.

Source: Security Token Service API Reference, ``GetWebIdentityToken``; the environment variable is that of AWS's tools.
"""

from __future__ import annotations

import html
import ipaddress
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import SplitResult, urlencode, urlsplit

import requests

from acme_iid_client.clouds.metadata import FormatUnavailableError
from acme_iid_client.clouds.sigv4 import Credentials, headers_for_post
from acme_iid_client.deadline import Deadline
from acme_iid_client.errors import ClientError
from acme_iid_client.transport.session import Session, TooLargeError

ENDPOINT_VARIABLE = "AWS_ENDPOINT_URL_STS"
MAX_ANSWER_BYTES = 64 * 1024
TOKEN_SECONDS = 300
"""The lifetime that a token is asked for: as long as the CA takes one (AWS gives 60 to 3600)."""

_CONNECT_SECONDS = 5.0
_SECONDS = 15.0
"""The longest time for a whole answer."""
# The region comes from the metadata service, unsigned, and goes into a host name.
_REGION = re.compile(r"[a-z]{2,4}(?:-[a-z]{2,16}){1,3}-[0-9]{1,2}\Z")
_PATH = re.compile(r"/[A-Za-z0-9._~/-]{0,255}\Z")
_TOKEN = re.compile(r"<WebIdentityToken>([A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+)</WebIdentityToken>")
_ERROR = re.compile(r"<Code>([^<]{1,128})</Code>\s*<Message>([^<]{0,512})</Message>")


def web_identity_token(credentials: Credentials, region: str, audience: str, env: Mapping[str, str]) -> str:
    """A token for one audience.

    :param region: the instance's.
    :param env: the environment, which may name another endpoint.
    :raises FormatUnavailableError: if STS gives none.
    :raises ClientError: if the endpoint cannot be meant.
    """
    if not _REGION.match(region):
        raise ClientError(f"The metadata service gives {region[:64]!r} as the region, which is not a region.")
    url = _endpoint(region, env)
    form = {
        "Action": "GetWebIdentityToken",
        "Version": "2011-06-15",
        "Audience.member.1": audience,
        "SigningAlgorithm": "RS256",
        "DurationSeconds": str(TOKEN_SECONDS),
    }
    body = urlencode(form).encode()
    headers = headers_for_post(credentials, region, "sts", url.netloc, url.path, body, datetime.now(UTC))
    status, text = _post(url, headers, body)
    token = _TOKEN.search(text) if status == 200 else None
    if token is None:
        raise FormatUnavailableError(_refusal_text(url, status, text))
    return token[1]


def _endpoint(region: str, env: Mapping[str, str]) -> SplitResult:
    """The endpoint of STS in the instance's region, which signs the tokens for it."""
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    text = env.get(ENDPOINT_VARIABLE) or f"https://sts.{region}.{domain}"
    try:
        url = urlsplit(text)
        # The session token in the headers is a secret, so nothing but TLS carries it off this machine.
        valid = url.hostname is not None and (url.scheme == "https" or (url.scheme == "http" and _loopback(url)))
        url = url._replace(path=url.path or "/")
    except ValueError:
        valid = False
    if not valid or url.query or url.fragment or "@" in url.netloc or not _PATH.match(url.path):
        raise ClientError(f"{ENDPOINT_VARIABLE} is {text!r}, which is not an https URL of an STS endpoint.")
    return url


def _loopback(url: SplitResult) -> bool:
    try:
        return ipaddress.ip_address(url.hostname or "").is_loopback
    except ValueError:
        return url.hostname == "localhost"


def _post(url: SplitResult, headers: Mapping[str, str], body: bytes) -> tuple[int, str]:
    """Send a signed form, once, and return the status and the answer."""
    # A proxy of the machine's is on the way to AWS, and none on the way to this machine itself.
    session = Session(
        Deadline(_SECONDS),
        max_bytes=MAX_ANSWER_BYTES,
        proxies=url.scheme == "https",
        connect_seconds=_CONNECT_SECONDS,
    )
    try:
        with session:
            response = session.post(url.geturl(), data=body, headers=dict(headers))
    except TooLargeError as error:
        raise FormatUnavailableError(f"The answer of STS at {url.netloc} is larger than any token.") from error
    except requests.RequestException as error:
        raise FormatUnavailableError(
            f"STS at {url.netloc} cannot be reached for a web identity token; the instance needs a way to it, "
            "for example a VPC endpoint."
        ) from error
    return response.status_code, response.content.decode("utf-8", "replace")


def _refusal_text(url: SplitResult, status: int, text: str) -> str:
    error = _ERROR.search(text)
    reason = f"{error[1]}: {html.unescape(error[2])}" if error else f"status {status}"
    return (
        f"STS at {url.netloc} gives no web identity token ({reason.rstrip('.')}). The instance's role needs the "
        "permission sts:GetWebIdentityToken, and the account outbound identity federation; the clock must be right."
    )
