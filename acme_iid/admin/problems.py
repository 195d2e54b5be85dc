"""Problem documents of the admin API (RFC 9457): what a caller is told where an act was not done."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from enum import Enum
from typing import NotRequired, TypedDict

from acme_iid import errors
from acme_iid.errors import (
    AcmeError,
    ConflictError,
    NotFoundError,
    OutcomeUnknownError,
    RequestError,
    ServerError,
    StoreUnavailableError,
    UnstorableTextError,
)
from acme_iid.serving.messages import Answer
from acme_iid.telemetry import request_ids

URN_PREFIX = "urn:acme-iid:admin:"
MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = "5"
"""Seconds after which a caller may ask again where the trouble is ours."""

_log = logging.getLogger(__name__)


class Problem(Enum):
    """The types of problems, each with its status and its title."""

    BAD_REQUEST = ("badRequest", 400, "The request cannot be read")
    BAD_PARAMETER = ("badParameter", 400, "A parameter is wrong")
    REFUSED = ("refused", 400, "This cannot be done")
    FORBIDDEN = ("forbidden", 403, "This takes another role")
    NOT_FOUND = ("notFound", 404, "There is no such thing")
    NO_ACT = ("noAct", 404, "There is no such path")
    WRONG_METHOD = ("wrongMethod", 405, "This path takes another method")
    CONFLICT = ("conflict", 409, "This cannot be done as things are")
    TOO_LARGE = ("tooLarge", 413, "The body is too large")
    NOT_JSON = ("notJSON", 415, "The body is not said to be JSON")
    TOO_MANY = ("tooMany", 429, "Too much was asked for")
    INTERNAL = ("internal", 500, "The server failed")
    UNAVAILABLE = ("unavailable", 503, "This cannot be done now")
    OUTCOME_UNKNOWN = ("outcomeUnknown", 503, "This may have been done, or not")

    def __init__(self, word: str, status: int, title: str) -> None:
        self.word = word
        self.status = status
        self.title = title

    @property
    def urn(self) -> str:
        """The type as it stands in a document."""
        return URN_PREFIX + self.word


class ProblemDocument(TypedDict):
    """What was wrong (RFC 9457).

    :ivar type: a URN, the same for all problems of a type.
    :ivar title: the type in words.
    :ivar status: the status of the answer.
    :ivar detail: what was wrong this time, and what would be right.
    :ivar requestId: the id of the request, which the lines of the server's log have.
    :ivar parameter: the parameter that is wrong.
    :ivar expected: what it has to be.
    :ivar role: the role that is needed.
    :ivar count: on how many an act would be.
    """

    type: str
    title: str
    status: int
    detail: str
    requestId: NotRequired[str]
    parameter: NotRequired[str]
    expected: NotRequired[str]
    role: NotRequired[str]
    count: NotRequired[int]


class ProblemError(Exception):
    """A request that is not granted.

    :param detail: what was wrong, and what would be right.
    :param members: further members of the document.
    :param headers: further headers of the answer.
    """

    def __init__(
        self,
        problem: Problem,
        detail: str,
        members: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.problem = problem
        self.detail = detail
        self.members = dict(members or {})
        self.headers = dict(headers or {})


def of_parameter(name: str, detail: str, expected: str) -> ProblemError:
    """The error about a parameter.

    :param expected: what it has to be.
    """
    return ProblemError(Problem.BAD_PARAMETER, detail, {"parameter": name, "expected": expected})


def answer_of(error: Exception) -> Answer:
    """The answer to a request that ended with an error.

    A failure that nobody foresaw is logged under the request's id, and that is all that the caller is told of it.
    """
    problem = _problem(error)
    if problem is None:
        reference = request_ids.current() or request_ids.begin()
        _log.error("unexpected failure, reference %s", reference, exc_info=error)
        detail = f"the server failed unexpectedly; the cause is in its log under {reference}"
        problem = ProblemError(Problem.INTERNAL, detail)
    return _answer(problem)


def _problem(error: Exception) -> ProblemError | None:
    """The problem that an error is; None if it is a fault of ours."""
    text = str(error)
    match error:
        case ProblemError():
            return error
        case NotFoundError():
            return ProblemError(Problem.NOT_FOUND, text)
        case ConflictError():
            return ProblemError(Problem.CONFLICT, text)
        case RequestError():
            return ProblemError(Problem.REFUSED, text)
        case UnstorableTextError():
            return ProblemError(Problem.BAD_REQUEST, text)
        case AcmeError():
            return _of_use_case(error)
        case ServerError():
            return ProblemError(Problem.UNAVAILABLE, text, headers={"Retry-After": RETRY_AFTER})
        case OutcomeUnknownError():
            _log.error("%s", error)
            detail = "the server lost its store and cannot say whether this was done; look before it is asked for again"
            return ProblemError(Problem.OUTCOME_UNKNOWN, detail, headers={"Retry-After": RETRY_AFTER})
        case StoreUnavailableError():
            _log.error("%s", error)
            detail = "the store cannot be used now; nothing was changed, try again later"
            return ProblemError(Problem.UNAVAILABLE, detail, headers={"Retry-After": RETRY_AFTER})
    return None


def _of_use_case(error: AcmeError) -> ProblemError | None:
    """The problem of an error that ACME has a name for, where a use case has met it."""
    match error.problem:
        case errors.Problem.ALREADY_REVOKED | errors.Problem.UNAUTHORIZED:
            return ProblemError(Problem.CONFLICT, error.detail)
        case errors.Problem.ACCOUNT_DOES_NOT_EXIST:
            return ProblemError(Problem.NOT_FOUND, error.detail)
    return ProblemError(Problem.REFUSED, error.detail) if error.status < 500 else None


def _answer(error: ProblemError) -> Answer:
    problem = error.problem
    document: dict[str, object] = {
        "type": problem.urn,
        "title": problem.title,
        "status": problem.status,
        "detail": error.detail,
    }
    if (request := request_ids.current()) is not None:
        document[request_ids.MEMBER] = request
    return Answer(json.dumps(document | error.members), problem.status, MEDIA_TYPE, error.headers)
