"""AWS's signatures of requests, version 4, as a service checks them.

Source: IAM User Guide, "Create a signed AWS API request".
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self
from urllib.parse import parse_qsl, quote

from acme_iid.simulator.listener import Request

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([A-Za-z0-9]{16,128})/([0-9]{8})/([a-z0-9-]{1,64})/([a-z0-9-]{1,64})/aws4_request, ?"
    r"SignedHeaders=([a-z0-9;-]{1,1024}), ?Signature=([0-9a-f]{64})\Z"
)
_DATE = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class Authorization:
    """The contents of an ``Authorization`` header."""

    access_key_id: str
    date: str
    region: str
    service: str
    signed_headers: tuple[str, ...]
    signature: str

    @classmethod
    def read(cls, header: str) -> Self:
        """Take the header apart.

        :raises ValueError: if the header is not one of version 4.
        """
        match = _AUTHORIZATION.match(header)
        if match is None:
            raise ValueError("Authorization header is not one of AWS4-HMAC-SHA256")
        key, date, region, service, headers, signature = match.groups()
        return cls(key, date, region, service, tuple(headers.split(";")), signature)

    def signs(self, request: Request, secret: str) -> bool:
        """Whether the signature is that of this request under ``secret``."""
        return hmac.compare_digest(self.signature, self._expected(request, secret))

    def seconds(self, request: Request) -> int:
        """The time at which the request was signed, in seconds.

        :raises ValueError: if its ``X-Amz-Date`` is not a time of the day that the signature is for.
        """
        stamp = request.headers.get("X-Amz-Date", "")
        if not stamp.startswith(self.date):
            raise ValueError("Date in Credential scope does not match the X-Amz-Date header")
        return int(datetime.strptime(stamp, _DATE).replace(tzinfo=UTC).timestamp())

    def _expected(self, request: Request, secret: str) -> str:
        headers = "".join(
            f"{name}:{','.join(' '.join(value.split()) for value in request.headers.get_all(name, []))}\n"
            for name in self.signed_headers
        )
        query = "&".join(
            sorted(
                f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}"
                for name, value in parse_qsl(request.query, keep_blank_values=True)
            )
        )
        canonical = "\n".join(
            (
                request.method,
                request.path or "/",
                query,
                headers,
                ";".join(self.signed_headers),
                hashlib.sha256(request.body).hexdigest(),
            )
        )
        scope = f"{self.date}/{self.region}/{self.service}/aws4_request"
        stamp = request.headers.get("X-Amz-Date", "")
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = b"AWS4" + secret.encode()
        for part in (self.date, self.region, self.service, "aws4_request"):
            key = hmac.digest(key, part.encode(), hashlib.sha256)
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
