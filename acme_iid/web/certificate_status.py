"""The certificate revocation list, the OCSP responder (RFC 6960 appendix A, RFC 5019) and the issuer's certificate."""

from __future__ import annotations

import base64
import binascii
import time
from datetime import UTC, datetime

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.ocsp import OCSPResponseStatus
from flask import Blueprint, Response, abort, request

from acme_iid.authority import Authority, certificate_status
from acme_iid.issuance.ocsp import MAX_REQUEST_BYTES, OCSPError
from acme_iid.issuance.responder import ResponderError, Responders
from acme_iid.web import problems

ANSWER_MAX_AGE = 300
"""Seconds that caches may keep an OCSP answer; a revocation is seen there that much later."""


def blueprint(authority: Authority, responders: Responders) -> Blueprint:
    """The routes /crl and /crl/ID, /ocsp, /issuer.cer and /issuer/ID.cer.

    Without an ID they are of the issuer that signs now.
    """
    status = Blueprint("certificate_status", __name__)

    @status.get("/crl", defaults={"short_id": None})
    @status.get("/crl/<short_id>")
    def crl(short_id: str | None) -> Response:
        """The list, in DER (RFC 5280 section 4.2.1.13)."""
        issuer = certificate_status.issuer_named(authority, short_id)
        if issuer is None:
            abort(404)
        current = certificate_status.current_list(authority, issuer, int(time.time()))
        response = Response(current.der, content_type="application/pkix-crl")
        # Caches ask each time, so that a revocation is seen at once; what they have costs no more than the question.
        response.headers["Cache-Control"] = "public, no-cache"
        response.last_modified = _time(current.signed_at)
        response.set_etag(f"{current.key_id[:16]}.{current.number}")
        response.make_conditional(request)
        return response

    @status.post("/ocsp")
    def ocsp() -> Response:
        return _answer(authority, responders, request.environ["wsgi.input"].read(MAX_REQUEST_BYTES + 1))

    # A base64 text may have // in it, which is no other path's.
    @status.get("/ocsp/<path:encoded>", merge_slashes=False)
    def ocsp_get(encoded: str) -> Response:
        try:
            question = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            return _response(OCSPError(OCSPResponseStatus.MALFORMED_REQUEST).response())
        return _answer(authority, responders, question)

    @status.get("/issuer.cer", defaults={"short_id": None})
    @status.get("/issuer/<short_id>.cer")
    def certificate(short_id: str | None) -> Response:
        """The issuer's certificate, in DER (RFC 5280 section 4.2.2.1)."""
        issuer = certificate_status.issuer_named(authority, short_id)
        if issuer is None:
            abort(404)
        return Response(issuer.certificate.public_bytes(Encoding.DER), content_type="application/pkix-cert")

    status.register_error_handler(Exception, problems.response_of)
    return status


def _answer(authority: Authority, responders: Responders, question: bytes) -> Response:
    now = int(time.time())
    try:
        answer = certificate_status.answer(authority, responders, question, now)
    except OCSPError as error:
        return _response(error.response())
    except ResponderError:
        # The log has it from the thread that looks after responders; strangers' requests do not fill it.
        return _response(OCSPError(OCSPResponseStatus.INTERNAL_ERROR).response())
    response = _response(answer.der)
    if request.method == "GET":
        max_age = min(ANSWER_MAX_AGE, answer.lifetime)
        response.headers["Cache-Control"] = f"max-age={max_age}, public, no-transform, must-revalidate"
        response.last_modified = _time(now)
        response.expires = _time(now + max_age)
        response.add_etag()
    return response


def _response(answer: bytes) -> Response:
    response = Response(answer, content_type="application/ocsp-response")
    response.headers["Cache-Control"] = "no-store"
    return response


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
