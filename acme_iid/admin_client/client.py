"""Asks for acts, and reads the answers: within bounds, and each refusal as a sentence."""

from __future__ import annotations

import errno
import grp
import http.client
import json
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from acme_iid.admin_client.connection import connection
from acme_iid.admin_client.errors import AdminError, OutcomeUnknownError, UnavailableError
from acme_iid.admin_client.places import Identity, Place
from acme_iid.bounded.reading import AnswerBudget, TooLongError

SECONDS = 120.0
"""The time that one act may take, from the connection to the end of its answer."""
MOST_OCTETS = 32 * 1024 * 1024
"""The octets of an answer, with its header."""
IDLE_SECONDS = 1.0
"""A connection that was not used for so long is not used again: the server may be about to close it."""
_JSON = "application/json"
_PROBLEM = "application/problem+json"
_BELIEVED = (
    "the certificate of --admin-cert, which has to be valid, and under client_ca of [admin] in ca.toml: another CA "
    "than this one"
)
_UNKNOWN = "urn:acme-iid:admin:outcomeUnknown"


class AdminClient:
    """A client of one admin API, on one connection at a time.

    :param place: where it is answered.
    :param identity: over TLS: how this client and the server know each other.
    :param seconds: the time for one act.
    :param octets: the octets of one answer at most.
    :raises AdminError: if a file of the identity cannot be used.
    """

    def __init__(
        self, place: Place, identity: Identity | None = None, seconds: float = SECONDS, octets: int = MOST_OCTETS
    ) -> None:
        self.place = place
        self._seconds = seconds
        self._octets = octets
        self._connection = connection(place, identity)
        self._used_at = 0.0

    def close(self) -> None:
        """Close its connection."""
        self._connection.close()

    def ask(self, method: str, path: str, parameters: Mapping[str, object]) -> Any:
        """Have an act done.

        :param path: with its parameters in it, quoted.
        :param parameters: the others, as JSON has them: for GET in the query, for POST in the body.
        :returns: what JSON says, or a text.
        :raises AdminError: if it was refused, or nobody answered; its subclasses say whether to ask again.
        """
        target, body, fields = path, None, {"Accept": f"{_JSON}, */*"}
        if method == "GET":
            query = urlencode({name: _spelled(value) for name, value in parameters.items()})
            target = f"{path}?{query}" if query else path
        else:
            body, fields["Content-Type"] = json.dumps(parameters).encode(), _JSON
        status, media, octets = self._answer(method, target, body, fields)
        return self._read(status, media, octets)

    def _answer(
        self, method: str, target: str, body: bytes | None, fields: Mapping[str, str]
    ) -> tuple[int, str, bytes]:
        """The status, the media type and the body of an answer."""
        deadline = time.monotonic() + self._seconds
        if time.monotonic() >= self._used_at + IDLE_SECONDS:
            self._connection.close()
        was_open = self._connection.sock is not None
        is_sent = False
        try:
            self._connection.budget = AnswerBudget(lambda: _left(deadline), self._octets)
            if not was_open:
                self._connection.connect()
            self._connection.sock.settimeout(_left(deadline))
            is_sent = True
            # A server that refuses a request need not have read it to its end.
            with suppress(BrokenPipeError):
                self._connection.request(method, target, body, dict(fields))
            with self._connection.getresponse() as answer:
                octets = answer.read()
        except (OSError, http.client.HTTPException, TooLongError) as error:
            self._connection.close()
            # A server closes what was idle for long: nothing has happened then, and what only reads may be sent anew.
            if was_open and method == "GET" and isinstance(error, ConnectionError):
                return self._answer(method, target, body, fields)
            raise self._unanswered(error, is_change=is_sent and method != "GET") from error
        except BaseException:
            self._connection.close()
            raise
        if answer.will_close:
            self._connection.close()
        self._used_at = time.monotonic()
        media = (answer.headers.get("Content-Type") or "").partition(";")[0].strip().lower()
        return answer.status, media, octets

    def _read(self, status: int, media: str, octets: bytes) -> Any:
        if media not in (_JSON, _PROBLEM):
            with suppress(UnicodeDecodeError):
                if 200 <= status < 300 and media:
                    return octets.decode()
            raise self._no_api(status)
        try:
            content = json.loads(octets)
        except (ValueError, RecursionError):
            raise self._no_api(status) from None
        if media == _PROBLEM and isinstance(content, dict):
            raise _of_problem(status, content)
        if not 200 <= status < 300 or media == _PROBLEM:
            raise self._no_api(status)
        return content

    def _no_api(self, status: int) -> AdminError:
        return AdminError(f"what answers at {self.place} is no admin API of acme-iid: its status was {status}",
                          status=status)  # fmt: skip

    def _unanswered(self, error: Exception, *, is_change: bool) -> AdminError:
        """Why there is no answer, and what to do about that."""
        sentence = self._sentence(error)
        is_certain = isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError)
        if is_change and not is_certain:
            return OutcomeUnknownError(f"{sentence}. Whether this was done is not known: look before you ask again")
        return AdminError(sentence) if is_certain or isinstance(error, TooLongError) else UnavailableError(sentence)

    def _sentence(self, error: Exception) -> str:
        at = self.place
        match error:
            case ssl.SSLCertVerificationError():
                return (
                    f"the server at {at} is not the CA's: {error.verify_message}. --admin-ca has to be the file of "
                    "the CA's own roots, and the URL a name that the server's certificate has"
                )
            case ssl.SSLEOFError() | ConnectionResetError() if self.place.socket is None:
                return f"the server at {at} ended the connection: it is stopping, or does not believe {_BELIEVED}"
            case ConnectionResetError():
                return f"the server at {at} ended the connection without an answer: it is stopping"
            case ssl.SSLError():
                return f"the server at {at} does not believe {_BELIEVED} ({error.reason or error})"
            case TooLongError():
                return f"the answer of {at} has more than {self._octets} octets; ask for fewer rows at once (--limit)"
            case TimeoutError():
                return f"{at} did not answer within {self._seconds:.0f} seconds; the server is busy, or out of reach"
            case socket.gaierror():
                return f"{at}: there is no address of {self.place.host}"
            case http.client.HTTPException():
                return f"what answers at {at} does not speak HTTP: {error!r}"
        return self._of_socket(error) if self.place.socket is not None else f"{at} does not answer: {_said(error)}"

    def _of_socket(self, error: Exception) -> str:
        path = self.place.socket
        assert path is not None
        match error:
            case FileNotFoundError():
                return (
                    f"there is no admin socket {path}: start the CA's server with socket in [admin] of its ca.toml, or "
                    "say with --admin-url where operators are answered"
                )
            case ConnectionRefusedError():
                return f"nobody answers at the admin socket {path}: start the CA's server"
            case PermissionError():
                return f"you may not open the admin socket {path}{_whose(path)}"
            case OSError() if error.errno == errno.EAGAIN:
                return f"the admin socket {path} has too many callers; ask again in a moment"
        return f"the admin socket {path} does not answer: {_said(error)}"


def _left(deadline: float) -> float:
    """The seconds until then.

    :raises TimeoutError: if there are none.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _spelled(value: object) -> str:
    """A value as queries have it."""
    return json.dumps(value) if isinstance(value, bool) else str(value)


def _said(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def _whose(path: Path) -> str:
    """For whom a socket is."""
    try:
        group = grp.getgrgid(path.stat().st_gid).gr_name
    except (OSError, KeyError):
        return ": its directory lets you not pass; ask the CA's administrator"
    return f": it is for members of the group {group}, who become that with their next login"


def _of_problem(status: int, document: Mapping[str, Any]) -> AdminError:
    """The error that a problem document describes."""
    type_, detail, title = (str(document.get(name, "")) for name in ("type", "detail", "title"))
    known = {"type", "title", "detail", "status"}
    kind: type[AdminError] = AdminError
    if status in (http.client.SERVICE_UNAVAILABLE, http.client.TOO_MANY_REQUESTS):
        kind = OutcomeUnknownError if type_ == _UNKNOWN else UnavailableError
    members = {name: value for name, value in document.items() if name not in known}
    return kind(detail or title or f"the status {status}", type=type_, title=title, status=status, members=members)
