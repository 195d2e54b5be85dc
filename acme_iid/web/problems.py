"""The one place where errors become problem documents (RFC 7807, RFC 8555 section 6.7)."""

from __future__ import annotations

import json
import logging

import flask
from werkzeug.exceptions import HTTPException, InternalServerError

from acme_iid.errors import (
    AcmeError,
    Fault,
    OutcomeUnknownError,
    Problem,
    StoreUnavailableError,
    TrustUnavailableError,
    UnstorableTextError,
)
from acme_iid.serving.messages import Answer
from acme_iid.telemetry import request_ids

_log = logging.getLogger(__name__)

RETRY_AFTER = "5"
"""Seconds after which a client may try again when the trouble is ours."""


def document(fault: Fault) -> dict[str, object]:
    """A problem document, or a subproblem, for one fault."""
    problem: dict[str, object] = {"type": fault.problem.urn, "detail": fault.detail}
    if fault.identifier is not None:
        problem["identifier"] = dict(zip(("type", "value"), fault.identifier, strict=True))
    else:
        problem["status"] = fault.problem.status
    if fault.remedy is not None:
        problem["remedy"] = fault.remedy.value
    return problem


def of_acme_error(error: AcmeError) -> Answer:
    """The response for an error that ACME has a name for."""
    body = document(Fault(error.problem, error.detail, remedy=error.remedy)) | {"status": error.status} | error.members
    if (request := request_ids.current()) is not None:
        body[request_ids.MEMBER] = request
    if error.subproblems:
        body["subproblems"] = [document(fault) for fault in error.subproblems]
    return Answer(json.dumps(body), error.status, "application/problem+json", error.headers)


def of_exception(error: Exception) -> Answer:
    """The response for whatever a request ended with.

    A failure that nobody foresaw is logged under the request's id, and that is all the client is told of it.
    """
    if isinstance(error, AcmeError):
        return of_acme_error(error)
    if isinstance(error, StoreUnavailableError | TrustUnavailableError):
        _log.error("%s", error)
        detail = "the server cannot do this now; nothing was changed, try again later"
        if isinstance(error, OutcomeUnknownError):
            detail = "the server lost its database and cannot say whether this was done; look again later"
        return of_acme_error(
            AcmeError(Problem.SERVER_INTERNAL, detail, status=503, headers={"Retry-After": RETRY_AFTER})
        )
    if isinstance(error, UnstorableTextError):
        return of_acme_error(AcmeError(Problem.MALFORMED, str(error)))
    if isinstance(error, HTTPException) and not isinstance(error, InternalServerError):
        return _of_http_exception(error)
    reference = request_ids.current() or request_ids.begin()
    _log.error("unexpected failure, reference %s", reference, exc_info=error)
    return of_acme_error(
        AcmeError(
            Problem.SERVER_INTERNAL,
            f"the server failed unexpectedly; its operator finds the cause in the log under reference {reference}",
        )
    )


def response_of(error: Exception) -> flask.Response:
    """The answer of :func:`of_exception`, for Flask."""
    return flask_response(of_exception(error))


def flask_response(answer: Answer) -> flask.Response:
    """The answer as Flask has it."""
    return flask.Response(answer.body, answer.status, answer.headers)


def _of_http_exception(error: HTTPException) -> Answer:
    """The answer to a request that Flask itself refuses: unknown paths, methods, bodies that are too long."""
    status = error.code or 500
    headers = {name: value for name, value in error.get_headers() if name.lower() in ("allow", "retry-after")}
    details = {
        404: "there is nothing at this URL; the directory lists what there is",
        405: f"this resource takes {headers.get('Allow', 'another method')} only",
    }
    detail = details.get(status, error.description or error.name)
    return of_acme_error(AcmeError(Problem.MALFORMED, detail, status=status, headers=headers))
