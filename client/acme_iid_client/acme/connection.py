"""Signed requests to the CA, repeated when it was away for a moment.

The acme library signs, keeps the nonces and reads problem documents; what it leaves out is what happens
when the server restarts, is busy, or has forgotten a nonce. Every request here can be sent twice: an order made
twice leaves one to expire, and a challenge, a finalization or a revocation sent twice meets the outcome of the first.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, Self
from urllib.parse import urljoin

import requests
from acme import client, messages
from acme import errors as acme_errors
from josepy.errors import DeserializationError
from josepy.interfaces import JSONDeSerializable
from josepy.jwa import JWASignature
from josepy.jwk import JWK

from acme_iid.errors import Remedy
from acme_iid.terminal.durations import span
from acme_iid_client.acme.known_ca import KnownCA
from acme_iid_client.deadline import Deadline
from acme_iid_client.errors import AWAY, REFUSED, AwayError, ClientError
from acme_iid_client.transport.pauses import LATER, OVERLOADED, Pauses, again, clock, retry_after
from acme_iid_client.transport.trust import is_final, request_error

_LATER = frozenset({"rateLimited", "serverInternal", "badNonce"})
"""Error types with which a CA refuses what it may take another time."""

_MAX_BAD_NONCES = 4
_REQUEST = re.compile(r"[A-Za-z0-9_-]{1,64}")
_WORTH_SAYING = 5.0
"""Seconds of waiting that are worth another line at the terminal."""


class CaError(ClientError):
    """The CA refused a request.

    :ivar code: the ACME error type without its prefix (``rejectedIdentifier``), or "" for another type.
    :ivar retry_after: the seconds after which the CA asked to try again, if that was more than there was time for.
    :ivar terms: the URL of the terms that the refusal links to (RFC 8555 section 7.3.3).
    :ivar remedy: the remedy that is needed before asking again is of use, if the CA names one.
    """

    exit_status = REFUSED

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.retry_after: float | None = None
        self.terms: str | None = None
        self.remedy: Remedy | None = None

    @property
    def is_of_the_moment(self) -> bool:
        """Whether the CA is away or has too much to do, so that any other request would fare the same."""
        return self.status in OVERLOADED

    @property
    def says_deactivated(self) -> bool:
        """Whether the reason is that the account is deactivated, which ACME has no error type for."""
        return self.code == "unauthorized" and "account is deactivated" in str(self)

    def add(self, advice: str) -> None:
        """Say what to try as well, on a line of its own."""
        self.args = (f"{self}\n  {advice}",)


class UnreachableError(CaError):
    """No answer came that an honest CA's could be: nothing is said about what was asked."""

    exit_status = AWAY
    is_of_the_moment = True


def refusal_error(what: str, problem: messages.Error) -> CaError:
    """A problem document as a sentence, with the single faults below it (RFC 8555 sections 6.7 and 6.7.1).

    :param what: the beginning of the sentence: "The CA refused the order".
    """
    lines = [f"{what}: {_detail(problem)}"]
    for fault in problem.subproblems or ():
        # Some servers say the single faults in the whole problem's detail as well.
        if _detail(fault) not in _detail(problem):
            name = f"{fault.identifier.value}: " if fault.identifier else ""
            lines.append(f"  {name}{_detail(fault)}")
    code = str(problem.typ)
    error = CaError("\n".join(lines), code.removeprefix(messages.ERROR_PREFIX) if messages.ERROR_PREFIX in code else "")
    if error.says_deactivated:
        error.add(
            "'acme-iid account deactivate' sets its key aside here. The next order then makes another account, to "
            "which an operator has to release the instance."
        )
    return error


def _detail(problem: messages.Error) -> str:
    return str(problem.detail or problem.title or problem.description or problem.typ)


class Connection:
    """The signed conversation with a CA.

    :param key: the key that signs: the account's, or for a revocation the certificate's.
    :param algorithm: the key's.
    :param account_url: the account, if requests are to name it (``kid``) instead of the key (``jwk``).
    :param deadline: when the command has to be done.
    :param notice: called with a sentence when the CA is waited for.
    """

    def __init__(
        self,
        ca: KnownCA,
        key: JWK,
        algorithm: JWASignature,
        account_url: str | None,
        deadline: Deadline,
        notice: Callable[[str], None],
    ) -> None:
        self._ca = ca
        self._deadline = deadline
        self._notice = notice
        self._session = ca.session(deadline)
        self._net = client.ClientNetwork(key, alg=algorithm, user_agent=f"acme-iid/{version('acme-iid')}")
        self._net.session.close()
        self._net.session = self._session
        self.use_account(account_url)
        try:
            self.directory = self._fetch_directory()
        except BaseException:
            self._session.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._session.close()

    def use_account(self, url: str | None) -> None:
        """Sign as this account from now on; None signs with the bare key."""
        self._net.account = messages.RegistrationResource(body=messages.Registration(), uri=url) if url else None

    def post(self, url: str, body: JSONDeSerializable | None, what: str) -> requests.Response:
        """Send a signed request.

        :param body: the payload; None is POST-as-GET (RFC 8555 section 6.3).
        :param what: the beginning of the sentence for a refusal, as in :func:`refusal_error`.
        :raises CaError: if the CA refuses.
        :raises ClientError: if it cannot be reached within the time.
        """
        return self._repeat(lambda: self._net.post(url, body, new_nonce_url=self.directory["newNonce"]), what)

    @property
    def ca_url(self) -> str:
        """The CA's address."""
        return self._ca.ca_url

    def has(self, url: str) -> bool:
        """Whether a resource that the CA has named is under its address of now."""
        return self._ca.has(url)

    def offers(self, name: str) -> bool:
        """Whether the directory lists a resource."""
        return name in self.directory.to_partial_json()

    def resource(self, name: str) -> str:
        """The URL of a resource that the directory lists.

        :raises CaError: if it does not.
        """
        try:
            return str(self.directory[name])
        except KeyError:
            raise CaError(f"The CA at {self._ca.ca_url} offers no {name!r}.") from None

    def extension(self, name: str) -> str:
        """The URL of a resource of this project's own, which the directory names in its ``meta``.

        :raises CaError: if it does not.
        """
        url = self._meta.get(name)
        if not isinstance(url, str):
            raise CaError(f"The CA at {self._ca.ca_url} offers no {name!r}; it may be an older acme-iid-ca.")
        return url

    @property
    def terms(self) -> str | None:
        """The URL of the CA's terms of service, if it has any."""
        url = self._meta.get("termsOfService")
        return url if isinstance(url, str) and url else None

    def wait(self, response: requests.Response) -> None:
        """Wait as long as an answer asks with Retry-After, one second if it does not.

        :raises ClientError: if the command's time is up before.
        """
        if not self._deadline.sleep(retry_after(response, default=1.0)):
            raise AwayError(
                "The CA is still working on it, and the time is up. Try again, or give it a longer --timeout."
            )

    def _fetch_directory(self) -> messages.Directory:
        url = self._ca.directory_url
        response = self._repeat(lambda: self._net.get(url), "The CA does not give its directory")
        try:
            body = response.json()
            # The library drops what it does not know of meta.
            self._meta = dict(body.get("meta") or {})
            directory = messages.Directory.from_json(body)
            for name in ("newNonce", "newAccount", "newOrder"):
                directory[name]
        except (DeserializationError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise CaError(f"{url} is not an ACME directory. Is {self._ca.ca_url} the CA's address?") from error
        return directory

    def _repeat(self, send: Callable[[], requests.Response], what: str) -> requests.Response:
        """Send a request until there is an answer to it. Each try is signed anew, with a nonce of its own."""
        pauses = Pauses(self._deadline)
        bad_nonces = tries = 0
        while True:
            outcome = self._try(send, what)
            if isinstance(outcome, requests.Response):
                return outcome
            if outcome.code == "badNonce" and bad_nonces < _MAX_BAD_NONCES:
                bad_nonces += 1
                continue
            response = self._session.last_response
            pause = pauses.after(response)
            if pause is None:
                raise outcome
            if pause >= self._deadline.remaining:
                raise self._given_up_error(outcome, response)
            if tries == 0 or pause >= _WORTH_SAYING:
                self._notice(_waiting(outcome, response, pause))
            tries += 1
            self._deadline.sleep(pause)

    def _given_up_error(self, outcome: CaError, response: requests.Response | None) -> CaError:
        """An error that is not worth a wait, because the command's time is up before."""
        if response is not None and "Retry-After" in response.headers:
            seconds = retry_after(response, default=0.0)
            outcome.retry_after = seconds
            outcome.add(f"The CA asks to wait for {span(seconds)}, until {clock(seconds)}: --timeout ends before.")
        return outcome

    def _try(self, send: Callable[[], requests.Response], what: str) -> requests.Response | CaError:
        """Send a request once. What may be worth another try is returned, the rest is raised."""
        self._session.last_response = None
        try:
            return send()
        except messages.Error as problem:
            refused = refusal_error(what, problem)
            refused.terms = self._linked_terms()
            refused.remedy = remedy_in(self._session.last_response)
            refused.request = request_in(self._session.last_response)
            refused.status = None if self._session.last_response is None else self._session.last_response.status_code
            if refused.code in _LATER or (refused.status or 0) in LATER:
                refused.exit_status = AWAY
            return refused
        except requests.RequestException as error:
            cause = request_error(error, self._ca.ca_url)
            explained = UnreachableError(str(cause), cause.code)
            explained.exit_status = cause.exit_status
            explained.untrusted = cause.untrusted
            if is_final(error):
                raise explained from error
            return explained
        except acme_errors.ConflictError as error:
            # The library leaves out what a 409 says, for it expects one only where an account exists already.
            raise self._conflict_error(what) from error
        except acme_errors.Error as error:
            unusable = UnreachableError(f"{what}: the answer is not an ACME server's{self._status()}.")
            unusable.status = None if self._session.last_response is None else self._session.last_response.status_code
            unusable.__cause__ = error
            return unusable
        except (DeserializationError, AttributeError, TypeError, ValueError) as error:
            raise CaError(f"{what}: the answer cannot be read{self._status()}.") from error

    def _linked_terms(self) -> str | None:
        response = self._session.last_response
        link = None if response is None else response.links.get("terms-of-service")
        return None if response is None or link is None else urljoin(response.url, link["url"])

    def _conflict_error(self, what: str) -> CaError:
        response = self._session.last_response
        try:
            assert response is not None
            refused = refusal_error(what, messages.Error.from_json(response.json()))
        except (AssertionError, DeserializationError, ValueError, AttributeError, TypeError):
            return CaError(f"{what}: it conflicts with what there is already{self._status()}.")
        refused.request = request_in(response)
        return refused

    def _status(self) -> str:
        response = self._session.last_response
        return "" if response is None else f" (status {response.status_code})"


def remedy_in(response: requests.Response | None, member: str | None = None) -> Remedy | None:
    """The remedy that an answer's problem document names; the acme library drops the member.

    :param member: where in the answer's object the document is; None if the answer is one.
    """
    try:
        body: Any = None if response is None else response.json()
        return Remedy((body if member is None else body[member])["remedy"])
    except (ValueError, KeyError, TypeError):
        return None


def request_in(response: requests.Response | None) -> str | None:
    """The id that the CA gave the request: in a problem document (``requestId``), else in the answer's header."""
    if response is None:
        return None
    try:
        id_ = response.json()["requestId"]
    except (ValueError, KeyError, TypeError):
        id_ = response.headers.get("X-Request-Id")
    return id_ if isinstance(id_, str) and _REQUEST.fullmatch(id_) else None


def _waiting(outcome: CaError, response: requests.Response | None, pause: float) -> str:
    """The sentence for the terminal before a request is sent again."""
    why = str(outcome).split(". ", 1)[0].rstrip(".")
    if response is None:
        return f"{why}. Trying again..."
    return f"{why}. {again(response, pause)}"


def decode(kind: type[Any], response: requests.Response, what: str) -> Any:
    """An answer's JSON as one of the acme library's objects.

    :param kind: a class of ``acme.messages``.
    :param what: the resource that the answer is about, for the message.
    :raises CaError: if it is not one.
    """
    try:
        return kind.from_json(response.json())
    except (DeserializationError, ValueError, AttributeError, TypeError, KeyError) as error:
        raise CaError(f"The CA's answer about {what} cannot be read.") from error
