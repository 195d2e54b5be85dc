"""HTTP to a cloud's metadata service: one hop away, never through a proxy, with short times and small answers.

The services of all clouds are busy at times: they answer with 404, 410, 429 or 5xx, late, or hang up, and do a moment
later what they are asked. So each request is repeated with pauses, here and nowhere else.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import requests
import urllib3

from acme_iid_client.deadline import Deadline
from acme_iid_client.errors import ClientError
from acme_iid_client.transport.session import Session, TooLargeError

LINK_LOCAL = "http://169.254.169.254"
"""The address of all clouds' services. It is reached without a name service."""
CONNECT_SECONDS = 1.0
READ_SECONDS = 3.0
PATIENCE_SECONDS = 12.0
"""The time in which a request is repeated while the service is busy, its tries and pauses together."""
PAUSES = (0.2, 0.4, 0.8, 1.5, 2.0, 2.5)
"""Seconds before each further try. Azure's service answers five requests a second."""
MAX_ANSWER_BYTES = 64 * 1024
"""The largest answer that is read; documents and tokens have a few thousand octets."""


_TRIES_AFTER_404 = 3
"""The number of further tries for something that is not there: most often it never will be."""
_TRIES_AFTER_SILENCE = 2


class FormatUnavailableError(ClientError):
    """The metadata service has no such document for this instance; another kind may do."""


class NoAnswerError(ClientError):
    """The metadata service took the connection, and then did not answer in time or hung up."""


class BusyError(ClientError):
    """The metadata service cannot answer now, and may a moment later."""


class NotThisCloudError(ClientError):
    """The address is not that of this cloud's metadata service.

    :ivar cause: why it is not, as the end of a sentence.
    """

    def __init__(self, cause: str, message: str = "") -> None:
        super().__init__(message or f"This is not the cloud's metadata service: {cause}.")
        self.cause = cause


class NobodyThereError(NotThisCloudError):
    """No connection can be made to the address."""


@dataclass(frozen=True, slots=True)
class Response:
    """A response of a metadata service.

    :ivar headers: by name, in any case.
    """

    status: int
    content: bytes
    headers: Mapping[str, str]

    @property
    def busy(self) -> bool:
        """Whether it says: later. Azure has 410 for a service that is being updated."""
        return self.status in (410, 429) or self.status >= 500

    @property
    def server(self) -> str:
        """The service's name for itself."""
        return self.headers.get("Server") or ""


class MetadataService:
    """A metadata service at an address.

    :param base: its address, ``http://169.254.169.254``.
    """

    def __init__(self, base: str) -> None:
        self.base = base.rstrip("/")

    def ask(self, method: str, path: str, headers: Mapping[str, str]) -> Response:
        """One request, repeated while the service is busy.

        :param path: from the root of the service, with the query.
        :returns: the last answer, when it is still busy after :data:`PATIENCE_SECONDS`.
        :raises ClientError: as :meth:`try_once`; when nothing came of some tries, if there was no answer.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        silent = absent = 0
        for pause in PAUSES:
            try:
                answer = self.try_once(method, path, headers)
            except NoAnswerError:
                silent += 1
                if silent > _TRIES_AFTER_SILENCE or time.monotonic() + pause + READ_SECONDS > deadline:
                    raise
            else:
                absent += answer.status == 404
                if not answer.busy and (answer.status != 404 or absent > _TRIES_AFTER_404):
                    return answer
                if time.monotonic() + pause > deadline:
                    return answer
            time.sleep(pause)
        return self.try_once(method, path, headers)

    def try_once(self, method: str, path: str, headers: Mapping[str, str], seconds: float = READ_SECONDS) -> Response:
        """One request.

        :param path: from the root of the service, with the query.
        :param seconds: the seconds to wait for a whole answer.
        :raises NoAnswerError: if the connection stands and no answer comes.
        :raises NobodyThereError: if there is nobody.
        :raises ClientError: if the answer is too large, or the address is not one.
        """
        # A proxy would see the evidence, and could not reach the address of this very machine anyway. Nothing is left
        # open: a program asks three times and is done.
        session = Session(
            Deadline(seconds),
            max_bytes=MAX_ANSWER_BYTES,
            proxies=False,
            connect_seconds=min(CONNECT_SECONDS, seconds),
        )
        try:
            with session:
                response = session.request(method, self.base + path, headers={**headers, "Connection": "close"})
                return Response(response.status_code, response.content, response.headers)
        except TooLargeError as error:
            raise ClientError(
                f"The metadata service's answer for {path.partition('?')[0]} is larger than {MAX_ANSWER_BYTES} octets."
            ) from error
        except (
            requests.exceptions.InvalidURL,
            requests.exceptions.InvalidSchema,
            requests.exceptions.MissingSchema,
        ) as error:
            raise ClientError(
                f"{self.base!r} is not a metadata service's address, as http://169.254.169.254 is."
            ) from error
        except requests.exceptions.ReadTimeout as error:
            raise NoAnswerError(f"The metadata service at {self.base} does not answer.") from error
        except requests.exceptions.RequestException as error:
            if error.args and isinstance(error.args[0], urllib3.exceptions.ProtocolError):
                raise NoAnswerError(
                    f"The metadata service at {self.base} closed the connection without an answer."
                ) from error
            cause = _cause(error)
            raise NobodyThereError(
                cause,
                f"There is no metadata service at {self.base}: {cause}. This machine does not seem to be a "
                "cloud instance, or a firewall on it keeps this user from the service. "
                "--metadata-url names another address.",
            ) from error


def text_of(content: bytes, what: str) -> str:
    """A short answer that is one line of text.

    :param what: the value that was asked for, for the message.
    :raises ClientError: if it is not.
    """
    text = content.decode("latin-1").strip()
    if not text or len(text) > 512 or not text.isascii() or not text.isprintable():
        raise ClientError(f"The metadata service's answer for {what} is not a line of text.")
    return text


def _cause(error: requests.exceptions.RequestException) -> str:
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return "nobody answers"
    text = str(error)
    for sign, cause in (
        ("refused", "the connection is refused"),
        ("unreachable", "there is no route to it"),
        ("No route", "there is no route to it"),
        ("resolve", "the name is unknown"),
    ):
        if sign in text:
            return cause
    return "the connection broke off"
