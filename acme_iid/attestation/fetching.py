"""Fetching a key set: one GET within limits of time and size, to a URL that an operator configured."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

import requests

from acme_iid.attestation.keysets import FETCH_SECONDS, MAX_KEY_SET_BYTES

MIN_LIFETIME, MAX_LIFETIME, USUAL_LIFETIME = 300, 86400, 3600
"""Seconds for which a fetched set is fresh: the bounds of what its Cache-Control says, and where it says nothing."""

_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=\"?([0-9]{1,10})\b", re.IGNORECASE)


def get(url: str) -> tuple[bytes, int]:
    """A key set's bytes, and the seconds for which they are fresh.

    :raises ValueError: with a clause that says why, if it cannot be had within its limits.
    """
    try:
        return _get(url)
    except requests.RequestException as error:
        raise ValueError(_reason(error)) from error


def _get(url: str) -> tuple[bytes, int]:
    """A key set's bytes, and the seconds for which they are fresh.

    :raises requests.RequestException, ValueError: if it cannot be had within its limits.
    """
    deadline = time.monotonic() + FETCH_SECONDS
    with requests.Session() as session:
        # What this machine serves to itself goes through no proxy.
        session.trust_env = url.startswith("https:")
        with session.get(
            url,
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            # Set so that requests takes none from a .netrc file: keys are public.
            auth=_nobody,
            timeout=FETCH_SECONDS,
            allow_redirects=False,
            stream=True,
        ) as response:
            if response.status_code != 200:
                raise ValueError(f"the answer has the status {response.status_code}")
            content = bytearray()
            # In pieces of one, so that the deadline is looked at however slowly they come.
            for piece in response.iter_content(1):
                content += piece
                if len(content) > MAX_KEY_SET_BYTES:
                    raise ValueError(f"the answer is longer than {MAX_KEY_SET_BYTES} bytes")
                if time.monotonic() > deadline:
                    raise ValueError(f"the answer did not end within {FETCH_SECONDS:.0f} seconds")
            return bytes(content), _lifetime(response.headers)


def _nobody(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _lifetime(headers: Mapping[str, str]) -> int:
    """How long an answer is fresh (RFC 9111 section 4.2): its max-age less the age that it came with."""
    directives = headers.get("Cache-Control", "")
    if "no-store" in directives.lower() or "no-cache" in directives.lower():
        return MIN_LIFETIME
    match = _MAX_AGE.search(directives)
    if match is None:
        return USUAL_LIFETIME
    age = headers.get("Age", "")
    spent = int(age) if age.isascii() and age.isdigit() and len(age) <= 10 else 0
    return min(max(int(match.group(1)) - spent, MIN_LIFETIME), MAX_LIFETIME)


def _reason(error: requests.RequestException) -> str:
    """A short clause: what requests says holds object names and addresses that help nobody."""
    match error:
        case requests.exceptions.SSLError():
            return "its TLS certificate is not accepted"
        case requests.exceptions.ProxyError():
            return "the proxy does not let us through"
        case requests.Timeout():
            return "no answer in time"
        case requests.ConnectionError():
            return "no connection, or one that broke"
        case _:
            return f"no usable answer ({type(error).__name__})"
