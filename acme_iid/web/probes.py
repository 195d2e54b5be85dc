"""For load balancers and for Prometheus: whether this process lives, whether it is ready, and its numbers."""

from __future__ import annotations

from collections.abc import Callable, Collection

from flask import Blueprint, Response, abort

from acme_iid.serving.messages import Answer, Request
from acme_iid.telemetry import exposition, instruments
from acme_iid.web.application import Application

Reasons = Callable[[], Collection[str]]
"""Returns the reasons why this process is not ready, each a word; it waits for nothing."""


class _Probe:
    """A page that the loop itself answers, so that it is answered while all threads wait."""

    def __init__(self, view: Callable[[], Answer]) -> None:
        self._view = view

    async def __call__(self, request: Request, **names: str) -> Answer:
        """See :class:`~acme_iid.web.application.Direct`."""
        return self.now(request, **names)

    def now(self, request: Request, **names: str) -> Answer:
        """See :class:`~acme_iid.web.application.Direct`."""
        del request, names
        return self._view()


def add_probes(app: Application, reasons: Reasons) -> None:
    """Add the routes /livez and /readyz."""

    def live() -> Answer:
        return _text("ok\n")

    def ready() -> Answer:
        """503 only for this server's own trouble; a fault of all servers would leave nobody to send requests to."""
        found = reasons()
        return _text("".join(f"{reason}\n" for reason in found), 503) if found else _text("ok\n")

    probes = Blueprint("probes", __name__)
    app.add_direct(probes, "/livez", "livez", _Probe(live), "GET")
    app.add_direct(probes, "/readyz", "readyz", _Probe(ready), "GET")
    app.register_blueprint(probes)


def metrics(gauges: Callable[[], exposition.Gauges]) -> Blueprint:
    """The route /metrics.

    :param gauges: finds out what nobody counts.
    """
    numbers = Blueprint("metrics", __name__)

    @numbers.get("/metrics")
    def show() -> Response:
        folder = instruments.folder()
        if folder is None:
            abort(404)
        content, content_type = exposition.page(folder, gauges())
        return Response(content, content_type=content_type)

    return numbers


def _text(body: str, status: int = 200) -> Answer:
    return Answer(body, status, "text/plain", {"Cache-Control": "no-store"})
