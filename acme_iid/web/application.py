"""Flask without what this server has no use for: a quarter of what Flask takes for a small JSON answer.

Left out is what follows from the Host header, since URLs are those of [server] url, whatever a client calls us; and
the rewriting of headers that are complete as they are set.
"""

from __future__ import annotations

import flask
from werkzeug.datastructures import Headers
from werkzeug.routing import MapAdapter


class Response(flask.Response):
    """A response whose headers are sent as they were set: its URLs are absolute."""

    def get_wsgi_headers(self, environ: dict[str, object]) -> Headers:
        """The headers; Werkzeug makes them where they depend on the status, or on a body that has no length yet."""
        if self.status_code in (204, 304) or "Content-Length" not in self.headers:
            return super().get_wsgi_headers(environ)
        return self.headers


class Application(flask.Flask):
    """The Flask application."""

    response_class = Response

    def __init__(self, name: str) -> None:
        super().__init__(name, static_folder=None)
        # A redirection would need a host's name.
        self.url_map.merge_slashes = False

    def create_url_adapter(self, request: flask.Request | None) -> MapAdapter | None:
        """What finds a request's route: by path and method alone."""
        if request is None:
            return None
        return MapAdapter(self.url_map, "", "/", "", "https", request.path, request.method)
