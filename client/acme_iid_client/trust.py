"""HTTPS to the CA, under the CA's own root and nothing else."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

import requests
import urllib3

from acme_iid_client.errors import ClientError

MAX_ROOT_BYTES = 64 * 1024
"""More than any root certificate in PEM takes."""

_REQUEST_SECONDS = 30.0
"""The longest that one request may take, connecting and then between two reads."""


class Deadline:
    """The time by which a command has to be done.

    :param seconds: from now.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._end - time.monotonic())

    def sleep(self, seconds: float) -> bool:
        """Wait that long if the time allows it; otherwise do not wait, and return False."""
        if seconds >= self.remaining:
            return False
        time.sleep(seconds)
        return True


class PinnedSession(requests.Session):
    """A session that trusts one root, speaks HTTPS only and follows no redirect.

    ``verify`` is set on each request, because a value on the session gives way to
    ``REQUESTS_CA_BUNDLE`` (psf/requests issue 3829). Proxies from the environment apply.

    :param root: the PEM file of the root; the system's trust store is not consulted.
    :param deadline: when the command has to be done; it shortens the time that a request may take.
    :ivar last_response: the last answer, whose status and headers the acme library's errors leave out.
    """

    def __init__(self, root: Path, deadline: Deadline) -> None:
        super().__init__()
        self._root = root
        self._deadline = deadline
        self.max_redirects = 0
        self.last_response: requests.Response | None = None

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:
        """As in requests, under this session's rules."""
        address = url if isinstance(url, str) else url.decode()
        if not address.startswith("https://"):
            raise ClientError(
                f"The CA named the address {address}, which is not https. Its operator should check 'url' in ca.toml."
            )
        self.last_response = None
        kwargs["verify"] = str(self._root)
        kwargs["timeout"] = max(0.1, min(_REQUEST_SECONDS, self._deadline.remaining))
        response = super().request(method, url, *args, **kwargs)
        self.last_response = response
        return response


def is_final(error: requests.RequestException) -> bool:
    """Whether no other try would change it: the server's certificate was refused, or it redirects."""
    return _distrusts(error) or isinstance(error, requests.exceptions.TooManyRedirects)


def _distrusts(error: requests.RequestException) -> bool:
    return isinstance(error, requests.exceptions.SSLError) and "certificate" in str(error).lower()


def explain(error: requests.RequestException, url: str) -> ClientError:
    """What a failed HTTPS request means, in a sentence.

    :param url: the address that was asked.
    """
    text = str(error)
    if _distrusts(error):
        if "not yet valid" in text or "has expired" in text:
            return ClientError(
                f"The certificate of {url} is not valid at this time: {_cause(error)}. "
                f"This machine's clock says {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}; check it first."
            )
        return ClientError(
            f"The server at {url} does not verify under the CA's root certificate: {_cause(error)}. "
            "It may be another server, or the CA has a new root; compare fingerprints and run 'acme-iid bootstrap'."
        )
    if isinstance(error, requests.exceptions.ProxyError):
        return ClientError(
            f"The proxy for {url} cannot be used: {_cause(error)}. "
            "Check HTTPS_PROXY, or name the CA's host in NO_PROXY to go round it."
        )
    if isinstance(error, requests.exceptions.Timeout):
        return ClientError(f"The CA at {url} did not answer in time. Is the address right, and is a firewall between?")
    if isinstance(error, requests.exceptions.TooManyRedirects):
        return ClientError(f"The server at {url} answers with a redirect, which a CA does not. Is the address right?")
    if isinstance(error, requests.exceptions.ConnectionError):
        return ClientError(
            f"The CA at {url} cannot be reached: {_cause(error)}. Is the address right, and does it run?"
        )
    return ClientError(f"{url} cannot be fetched: {_cause(error)}.")


def _cause(error: BaseException) -> str:
    """The innermost reason, without the wrapping of three libraries."""
    seen: BaseException = error
    for _ in range(8):
        inner = getattr(seen, "reason", None)
        if not isinstance(inner, BaseException):
            arguments = [argument for argument in seen.args if isinstance(argument, BaseException)]
            inner = arguments[0] if arguments else None
        if inner is None:
            break
        seen = inner
    text = str(seen).rsplit("[Errno ", 1)[-1].split("] ", 1)[-1].split(" (_ssl", 1)[0].rstrip(".)")
    return text[:1].lower() + text[1:200]


def fetch_unverified(url: str, deadline: Deadline) -> bytes:
    """Fetch a small public file from a server that is not trusted yet.

    What comes back may be anybody's: the caller compares it with a fingerprint that came another way.

    :raises ClientError: if nothing usable comes back.
    """
    try:
        # Once the fingerprint matches, the same server is verified under the root that it gave.
        with warnings.catch_warnings(), requests.Session() as session:
            warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)
            with session.get(
                url,
                verify=False,
                timeout=max(0.1, min(_REQUEST_SECONDS, deadline.remaining)),
                allow_redirects=False,
                stream=True,
            ) as response:
                if response.status_code == requests.codes.not_found:
                    raise ClientError(
                        f"The server has no root certificate with that fingerprint ({url} does not exist). "
                        "Compare it with what 'acme-iid-ca fingerprint' prints on the CA."
                    )
                if response.status_code != requests.codes.ok:
                    raise ClientError(f"{url} answers with status {response.status_code}. Is this the CA's address?")
                content = b""
                for chunk in response.iter_content(8192):
                    content += chunk
                    if len(content) > MAX_ROOT_BYTES:
                        raise ClientError(f"{url} is larger than any root certificate. Is this the CA's address?")
                return content
    except requests.RequestException as error:
        raise explain(error, url) from error
