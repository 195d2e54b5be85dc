"""Fetching a key set: one GET within limits of time and size, to a URL that an operator configured."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

import requests

from acme_iid.attestation.keysets import FETCH_SECONDS, MAX_KEY_SET_BYTES
from acme_iid.bounded import reading
from acme_iid.bounded.adapter import BoundedAdapter
from acme_iid.bounded.reading import AnswerBudget

MIN_LIFETIME, MAX_LIFETIME, USUAL_LIFETIME = 300, 86400, 3600
"""Seconds for which a fetched set is fresh: the bounds of the age in its Cache-Control, and the age without one."""

_FRAMING_BYTES = 32 * 1024
"""Octets of status, headers and the framing of chunks, besides the largest body."""
_PIECE_BYTES = 4096
_TOO_LONG = f"the answer is longer than {MAX_KEY_SET_BYTES} bytes"
_TOO_LATE = f"the answer did not end within {FETCH_SECONDS:.0f} seconds"
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=\"?([0-9]{1,10})\b", re.IGNORECASE)


def get(url: str) -> tuple[bytes, int]:
    """A key set's bytes, and the seconds for which they are fresh.

    :raises ValueError: with a clause that says why, if it cannot be fetched within its limits.
    """
    end = time.monotonic() + FETCH_SECONDS
    try:
        return _get(url, end)
    except reading.TooLongError as error:
        raise ValueError(_TOO_LONG) from error
    except requests.RequestException as error:
        raise ValueError(_TOO_LATE if time.monotonic() >= end else _reason(error)) from error


def _get(url: str, end: float) -> tuple[bytes, int]:
    """A key set's bytes, and the seconds for which they are fresh.

    :param end: when the whole answer has to be there, by the monotonic clock.
    :raises requests.RequestException, ValueError: if it cannot be fetched within its limits.
    """

    def seconds() -> float:
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError(_TOO_LATE)
        return left

    with requests.Session() as session:
        adapter = BoundedAdapter(AnswerBudget(seconds, MAX_KEY_SET_BYTES + _FRAMING_BYTES))
        for scheme in ("https://", "http://"):
            session.mount(scheme, adapter)
        # A request to this machine itself goes through no proxy.
        session.trust_env = url.startswith("https:")
        with session.get(
            url,
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            # Set so that requests takes no password from a .netrc file: keys are public.
            auth=_no_credentials,
            timeout=FETCH_SECONDS,
            allow_redirects=False,
            stream=True,
        ) as response:
            if response.status_code != 200:
                raise ValueError(f"the answer has the status {response.status_code}")
            content = bytearray()
            for piece in response.iter_content(_PIECE_BYTES):
                content += piece
                if len(content) > MAX_KEY_SET_BYTES:
                    raise ValueError(_TOO_LONG)
            return bytes(content), _lifetime(response.headers)


def _no_credentials(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _lifetime(headers: Mapping[str, str]) -> int:
    """The seconds for which an answer is fresh (RFC 9111 section 4.2): its max-age less the age that it came with."""
    directives = headers.get("Cache-Control", "")
    if "no-store" in directives.lower() or "no-cache" in directives.lower():
        return MIN_LIFETIME
    match = _MAX_AGE.search(directives)
    if match is None:
        return USUAL_LIFETIME
    age = headers.get("Age", "")
    seconds = int(age) if age.isascii() and age.isdigit() and len(age) <= 10 else 0
    return min(max(int(match.group(1)) - seconds, MIN_LIFETIME), MAX_LIFETIME)


def _reason(error: requests.RequestException) -> str:
    """The reason for a person, as a short clause: the library's own text holds names of objects and addresses."""
    match error:
        case requests.exceptions.SSLError():
            return "its TLS certificate is not accepted"
        case requests.exceptions.ProxyError():
            return "the proxy refuses the connection"
        case requests.Timeout():
            return "no answer in time"
        case requests.ConnectionError():
            return "no connection, or one that broke"
        case _:
            return f"no usable answer ({type(error).__name__})"
