"""The revocation lists of the CA's roots, as they were imported."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Blueprint, Response, abort, request

from acme_iid.authority import Authority
from acme_iid.issuance.issuer import SHORT_ID_LENGTH
from acme_iid.store import root_lists
from acme_iid.web import problems


def blueprint(authority: Authority) -> Blueprint:
    """The route /root-crl/ID; ID is the beginning of the SHA-256 of the root's certificate."""
    lists = Blueprint("root_lists", __name__)

    @lists.get("/root-crl/<short_id>")
    def root_crl(short_id: str) -> Response:
        """The list, in DER (RFC 5280 section 4.2.1.13)."""
        known = root_lists.every(authority.database)
        found = next((entry for entry in known if entry.root_id[:SHORT_ID_LENGTH] == short_id), None)
        if found is None:
            abort(404)
        response = Response(found.der, content_type="application/pkix-crl")
        # Caches ask each time: a list that revokes an issuer is seen at once.
        response.headers["Cache-Control"] = "public, no-cache"
        response.last_modified = datetime.fromtimestamp(found.imported_at, UTC)
        response.set_etag(f"{short_id}.{found.number}")
        response.make_conditional(request)
        return response

    lists.register_error_handler(Exception, problems.response_of)
    return lists
