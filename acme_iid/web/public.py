"""Resources that anybody may fetch: the roots that clients bootstrap from, and the health of the server."""

from __future__ import annotations

import hashlib
import time

from flask import Blueprint, Response, abort, request

from acme_iid.authority import Authority
from acme_iid.issuance.roots import fingerprint, to_pem
from acme_iid.operations import root_documents
from acme_iid.operations.signer_watch import SignerWatch
from acme_iid.store.health import WatchedStore
from acme_iid.web import problems

_SIGNER = {
    None: "",
    True: "signer: answers\n",
    False: "signer: does not answer; no certificate is issued until it does\n",
}


def blueprint(authority: Authority, store: WatchedStore, signer: SignerWatch) -> Blueprint:
    """The routes /health, /roots.pem, /roots.json and /root/<sha256>."""
    public = Blueprint("public", __name__)

    def by_fingerprint() -> dict[str, str]:
        roots_of_all = (*authority.ca.roots, *(chain.root for chain in authority.alternates))
        return {fingerprint(root): to_pem(root) for root in roots_of_all}

    @public.get("/health")
    def health() -> Response:
        """Say ok if the store takes writes, which all orders are; and whether a key that is elsewhere answers.

        A server whose key does not answer has all else to give, such as revocations, and is no server to go around.
        """
        store.require_writable()
        return Response(f"ok\n{_SIGNER[signer.answers]}", content_type="text/plain")

    @public.get("/roots.pem")
    def roots() -> Response:
        return Response("".join(by_fingerprint().values()), content_type="application/x-pem-file")

    @public.get("/roots.json")
    def root_list() -> Response:
        """The roots with their links, by which clients that trust one of them take up the next."""
        version, content = root_documents.document(store, int(time.time()))
        response = Response(content, content_type="application/json")
        # Caches ask each time, so that nobody sees a version after a later one.
        response.headers["Cache-Control"] = "public, no-cache"
        response.set_etag(f"{version}.{hashlib.sha256(content.encode()).hexdigest()[:16]}")
        response.make_conditional(request)
        return response

    @public.get("/root/<sha256>")
    def root(sha256: str) -> Response:
        """The root with this fingerprint: clients that know it fetch it before they trust the connection."""
        if (pem := by_fingerprint().get(sha256.lower())) is None:
            abort(404)
        return Response(pem, content_type="application/x-pem-file")

    public.register_error_handler(Exception, problems.response_of)
    return public
