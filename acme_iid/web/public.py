"""Resources that anybody may fetch: the roots that clients bootstrap from, and the health of the server."""

from __future__ import annotations

from cryptography.hazmat.primitives.serialization import Encoding
from flask import Blueprint, Response, abort

from acme_iid.authority import Authority
from acme_iid.issuance.ca import fingerprint
from acme_iid.store.health import WatchedStore
from acme_iid.web import problems


def blueprint(authority: Authority, store: WatchedStore) -> Blueprint:
    """The routes /health, /roots.pem and /root/<sha256>."""
    public = Blueprint("public", __name__)
    roots_of_all = (*authority.ca.roots, *(chain.root for chain in authority.alternates))
    by_fingerprint = {fingerprint(root): root.public_bytes(Encoding.PEM).decode() for root in roots_of_all}

    @public.get("/health")
    def health() -> Response:
        """Say ok if the store takes writes, which all orders are."""
        store.require_writable()
        return Response("ok\n", content_type="text/plain")

    @public.get("/roots.pem")
    def roots() -> Response:
        return Response("".join(by_fingerprint.values()), content_type="application/x-pem-file")

    @public.get("/root/<sha256>")
    def root(sha256: str) -> Response:
        """The root with this fingerprint: clients that know it fetch it before they trust the connection."""
        if sha256.lower() not in by_fingerprint:
            abort(404)
        return Response(by_fingerprint[sha256.lower()], content_type="application/x-pem-file")

    public.register_error_handler(Exception, problems.response_of)
    return public
