"""HTTPS to the CA, under the CA's own roots and nothing else."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import requests
import urllib3
from cryptography import x509

from acme_iid.binding import SERVING_MARK
from acme_iid_client.deadline import Deadline
from acme_iid_client.errors import AwayError, ClientError, UntrustedError
from acme_iid_client.transport.pauses import LATER, Pauses, again
from acme_iid_client.transport.session import Session, TooLargeError
from acme_iid_client.x509.authorities import Revocations, require_unrevoked, shown

MAX_ROOT_BYTES = 64 * 1024
"""More than any root certificate in PEM takes."""
_AGAIN = 3
"""The number of times that a GET is sent again if the CA closed the connection, as when its workers are replaced."""


class UnmarkedServerError(ClientError):
    """A server has a certificate from the CA that is not for the CA's own servers."""


class PinnedSession(Session):
    """A session that trusts the CA's roots alone, speaks HTTPS only and follows no redirect.

    ``verify`` is set on each request, because a value on the session gives way to
    ``REQUESTS_CA_BUNDLE`` (psf/requests issue 3829). Proxies from the environment apply. Every connection ends
    unless the server's certificate has the mark (:data:`~acme_iid.binding.SERVING_MARK`), before anything is sent.

    :param roots_file: the PEM file of the roots; the system's trust store is not consulted.
    :param deadline: when the command has to be done; it shortens the time that a request may take.
    :param revoked: the roots' lists; a server under an issuer that is named there is not talked to.
    :ivar last_response: the last answer, whose status and headers the acme library's errors leave out.
    """

    def __init__(self, roots_file: Path, deadline: Deadline, revoked: Revocations = ()) -> None:
        super().__init__(deadline, check=partial(require_server, revoked=revoked), again=_AGAIN)
        self._roots_file = roots_file
        self.last_response: requests.Response | None = None

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:
        """As in requests, under the rules of this class."""
        address = url if isinstance(url, str) else url.decode()
        if not address.startswith("https://"):
            raise ClientError(
                f"The CA named the address {address}, which is not https. Its operator should check 'url' in ca.toml."
            )
        self.last_response = None
        kwargs["verify"] = str(self._roots_file)
        response = super().request(method, url, *args, **kwargs)
        if response.is_redirect:
            raise requests.TooManyRedirects(f"redirects to {response.headers['Location']}", response=response)
        if response.status_code == requests.codes.service_unavailable:
            # A balancer can send a new connection to a server that is well.
            self.close()
        self.last_response = response
        return response


def require_server(chain: Sequence[bytes], revoked: Revocations) -> None:
    """See that a server is the CA, by the certificates under which its own was verified.

    :param chain: in DER, the server's own first and the root last.
    :raises UnmarkedServerError: if the server's certificate has no mark.
    :raises RevokedIssuerError: if the root has revoked one of them.
    """
    require_mark(chain[0] if chain else b"")
    if revoked:
        require_unrevoked(map(x509.load_der_x509_certificate, chain), revoked)


def require_mark(der: bytes) -> None:
    """See that a server's certificate is one that the CA has made for itself, by the mark in it.

    Every client of the CA has certificates that verify under its roots, and a name can be made to lead anywhere. So the
    name alone does not say that a server is the CA.

    :param der: the certificate; empty if the server has shown no certificate.
    :raises UnmarkedServerError: if it has no mark.
    """
    usages = None
    try:
        certificate = x509.load_der_x509_certificate(der)
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (ValueError, x509.ExtensionNotFound):
        pass
    if usages is None or x509.ObjectIdentifier(SERVING_MARK) not in usages:
        raise UnmarkedServerError(
            f"The server's certificate, {_description(der)}, verifies under the CA's root, but it lacks the mark of "
            f"the CA's own servers (the extended key usage {SERVING_MARK}): another machine may pose as the CA. "
            "Nothing was sent to it. If a proxy of the CA's ends TLS there, its certificate has to be one that the "
            "CA's operator makes with 'acme-iid-ca serving-certificate'."
        )


def _description(der: bytes) -> str:
    """The names, the issuer and the serial number of a certificate, for a message."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        titles = [str(name.value) for name in alternatives if isinstance(name, x509.DNSName | x509.IPAddress)]
    except (ValueError, x509.ExtensionNotFound):
        return "which cannot be read"
    names = ", ".join(titles[:3]) + (" and more" if len(titles) > 3 else "")
    issuer = shown(certificate.issuer)[:100]
    return f"for {names or 'no name'}, issued by {issuer!r} with the serial number {certificate.serial_number}"


def is_final(error: requests.RequestException) -> bool:
    """Whether no other try would change it: the server's certificate was refused, or it redirects."""
    return _distrusts(error) or isinstance(error, requests.exceptions.TooManyRedirects)


def _distrusts(error: requests.RequestException) -> bool:
    return isinstance(error, requests.exceptions.SSLError) and "certificate" in str(error).lower()


def request_error(error: requests.RequestException, url: str) -> ClientError:
    """A failed HTTPS request as an error for people.

    :param url: the address that was asked.
    """
    text = str(error)
    if _distrusts(error):
        if "not yet valid" in text or "has expired" in text:
            return ClientError(
                f"The certificate of {url} is not valid at this time: {_cause(error)}. "
                f"This machine's clock says {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}; check it first."
            )
        return UntrustedError(
            f"The server at {url} does not verify under the CA's root certificate: {_cause(error)}. "
            "It may be another server, or the CA has a new root; compare fingerprints and run 'acme-iid bootstrap'."
        )
    if isinstance(error, requests.exceptions.ProxyError):
        return AwayError(
            f"The proxy for {url} cannot be used: {_cause(error)}. "
            "Check HTTPS_PROXY, or name the CA's host in NO_PROXY to go round it."
        )
    if isinstance(error, requests.exceptions.Timeout):
        return AwayError(f"The CA at {url} did not answer in time. Is the address right, and is a firewall between?")
    if isinstance(error, requests.exceptions.TooManyRedirects):
        return ClientError(f"The server at {url} answers with a redirect, which a CA does not. Is the address right?")
    if isinstance(error, requests.exceptions.ConnectionError):
        return AwayError(f"The CA at {url} cannot be reached: {_cause(error)}. Is the address right, and does it run?")
    return AwayError(f"{url} cannot be fetched: {_cause(error)}.")


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


def fetch_unverified(url: str, deadline: Deadline, notice: Callable[[str], None]) -> bytes:
    """Fetch a small public file from a server that is not trusted yet, again if it is busy.

    What comes back may be anybody's: the caller compares it with a fingerprint that came another way.

    :param notice: called with a sentence when the server is waited for.
    :raises ClientError: if nothing usable comes back.
    """
    pauses = Pauses(deadline)
    while (response := _get_unverified(url, deadline)).status_code in LATER:
        pause = pauses.after(response)
        if pause is None or pause >= deadline.remaining:
            raise AwayError(f"{url} answers with status {response.status_code}: the CA is busy. Try again later.")
        notice(again(response, pause))
        deadline.sleep(pause)
    if response.status_code == requests.codes.not_found:
        raise ClientError(
            f"The server has no root certificate with that fingerprint ({url} does not exist). "
            "Compare it with what 'acme-iid-ca fingerprint' prints on the CA."
        )
    if response.status_code != requests.codes.ok:
        raise ClientError(f"{url} answers with status {response.status_code}. Is this the CA's address?")
    return response.content


def _get_unverified(url: str, deadline: Deadline) -> requests.Response:
    try:
        # Once the fingerprint matches, the same server is verified under the root that it gave.
        with warnings.catch_warnings(), Session(deadline, max_bytes=MAX_ROOT_BYTES, again=_AGAIN) as session:
            warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)
            return session.get(url, verify=False)
    except requests.RequestException as error:
        raise request_error(error, url) from error
    except TooLargeError as error:
        raise ClientError(f"{url} is larger than any root certificate. Is this the CA's address?") from error
