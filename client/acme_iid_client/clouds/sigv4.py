"""AWS's signatures of requests, version 4 (IAM User Guide, "Create a signed AWS API request")."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Credentials:
    """A role's temporary credentials.

    :ivar token: the session token, without which AWS does not know the other two.
    """

    access_key_id: str
    secret: str = field(repr=False)
    token: str = field(repr=False)


def headers_for_post(
    credentials: Credentials, region: str, service: str, host: str, path: str, form: bytes, now: datetime
) -> Mapping[str, str]:
    """The headers of a signed POST of a form.

    :param host: the value of ``Host``, with the port unless it is the scheme's own.
    :param path: made of characters that need no escaping, without a query.
    :param form: the body.
    :param now: with a zone; AWS refuses a signature whose time is more than a quarter of an hour off.
    """
    stamp = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    headers = {
        "content-type": "application/x-www-form-urlencoded; charset=utf-8",
        "host": host,
        "x-amz-date": stamp,
        "x-amz-security-token": credentials.token,
    }
    signed = ";".join(headers)
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    request = "\n".join(("POST", path, "", lines, signed, hashlib.sha256(form).hexdigest()))
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = b"AWS4" + credentials.secret.encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    authorization = (
        f"AWS4-HMAC-SHA256 Credential={credentials.access_key_id}/{scope}, SignedHeaders={signed}, "
        f"Signature={signature}"
    )
    return {**headers, "authorization": authorization}
