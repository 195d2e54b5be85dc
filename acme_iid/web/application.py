"""Flask, whose routes lead to two kinds of views.

Flask with Werkzeug takes longer for a small JSON answer than an ES256 signature does to verify. So views that answer
with an :class:`Answer` are called without Flask's request and response objects; its map of routes finds them all the
same. All other views are pages of Flask's, called through a WSGI environment.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Protocol

import flask
from werkzeug.exceptions import HTTPException
from werkzeug.routing import MapAdapter

from acme_iid.errors import AcmeError
from acme_iid.issuance.ca import CertificateAuthority
from acme_iid.serving.messages import Answer, Request
from acme_iid.telemetry import instruments, request_ids
from acme_iid.web import problems
from acme_iid.web.capacity import BEGINNING, MOST, Capacity
from acme_iid.web.pool import Pool

_SAYING_SECONDS = 2.0
_INSIDE = "acme_iid.inside"
"""In a WSGI environment: the request has its id already."""
_METHODS = frozenset(("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"))
_NO_ROUTE, _OTHER_METHOD = "none", "other"

_log = logging.getLogger(__name__)

Headers = Iterable[tuple[str, str]]


class Direct(Protocol):
    """A view that is called without Flask's objects."""

    async def __call__(self, request: Request, **names: str) -> Answer:
        """Answer a request in the loop.

        :param names: the rule's variables.
        """

    def now(self, request: Request, **names: str) -> Answer:
        """Answer a request in this thread."""


class Application(flask.Flask):
    """The Flask application.

    :param pool: the threads for what the loop does not do; the application's own.
    :param most: the largest number of requests that are inside at a time.
    :param further: the headers of every answer to a request of a method and a path, at an endpoint ("" if there is no
        such route).
    """

    ca: CertificateAuthority

    def __init__(
        self,
        name: str,
        pool: Pool | None = None,
        *,
        most: int = MOST,
        further: Callable[[str, str, str], Headers] = lambda _method, _path, _endpoint: (),
    ) -> None:
        super().__init__(name, static_folder=None)
        self.status: Application | None = None
        self.metrics: Application | None = None
        self.pool = pool or Pool()
        self._capacity = Capacity(most)
        self._further = further
        self._direct: dict[str, Direct] = {}
        self._closing: list[Callable[[], None]] = []
        self._saying: list[Callable[[], None]] = []
        self._leaving: list[Callable[[], None]] = []
        # A redirection would need a host's name.
        self.url_map.merge_slashes = False
        self._routes = MapAdapter(self.url_map, "", "/", "", "https", "/", "GET")
        self.before_request(self._begin)
        self.after_request(self._finish)

    def add_direct(self, blueprint: flask.Blueprint, rule: str, name: str, view: Direct, method: str) -> None:
        """Add a route to a view that is called without Flask's objects, whoever serves the application."""

        def called(**names: str) -> flask.Response:
            return problems.flask_response(view.now(Request.of_environ(flask.request.environ), **names))

        # Flask would answer OPTIONS by itself, which is no request that ACME has.
        blueprint.add_url_rule(rule, name, called, methods=[method], provide_automatic_options=False)
        self._direct[f"{blueprint.name}.{name}"] = view

    async def answer(self, request: Request) -> Answer:
        """Answer a request that has come whole; for the server's loop."""
        began = time.monotonic()
        request_ids.begin()
        endpoint, names, rule = self._route(request)
        answer = await self._answer(request, endpoint, names)
        _note_answer(request, rule, answer, began)
        return answer

    async def _answer(self, request: Request, endpoint: str, names: dict[str, str]) -> Answer:
        view = self._direct.get(endpoint)
        try:
            if endpoint in BEGINNING:
                # The requests that have come until now and go on with an order are counted before it.
                await self._turn()
            with self._capacity.entered(endpoint):
                if view is None:
                    # Flask has put the headers into it.
                    return await self.pool.page(self.by_flask, request, endpoint)
                if endpoint not in BEGINNING:
                    # All that have come until now are counted before the first of them is answered.
                    await self._turn()
                answer = await view(request, **names)
        except Exception as error:  # noqa: BLE001 - as Flask's: whatever it is, there is an answer to it
            answer = problems.of_exception(error)
        answer.headers += self._headers(request.method, request.path, endpoint)
        return answer

    async def _turn(self) -> None:
        began = time.monotonic()
        await asyncio.sleep(0)
        self._capacity.note_turn(time.monotonic() - began)

    def takes_connection(self) -> bool:
        """Whether the server's loop accepts a connection now; if so, it counts as accepted."""
        return self._capacity.takes_connection()

    def by_flask(self, request: Request) -> Answer:
        """Have Flask answer a request."""
        return Answer.of_wsgi(self.wsgi_app, {**request.environ(), _INSIDE: True})

    def refusal(self, request: Request, error: AcmeError) -> Answer:
        """The answer to a request that the server itself refuses."""
        request_ids.begin()
        endpoint, _, rule = self._route(request)
        answer = problems.of_acme_error(error)
        answer.headers += self._headers(request.method, request.path, endpoint)
        _note_answer(request, rule, answer)
        return answer

    def failure(self, error: Exception) -> Answer:
        """The answer to a request that cannot be read, or that a fault of the server's ended."""
        id_ = request_ids.begin()
        answer = problems.of_exception(error)
        answer.add(request_ids.HEADER, id_)
        instruments.REQUESTS.add(_NO_ROUTE, _OTHER_METHOD, str(answer.status))
        return answer

    def at_end(self, close: Callable[[], None]) -> None:
        """Have something ended with the application; what was added last is ended first."""
        self._closing.append(close)

    def at_stop(self, say: Callable[[], None]) -> None:
        """Have something said to others when the process ends, which waits for it for two seconds at most."""
        self._saying.append(say)

    def at_leaving(self, note: Callable[[], None]) -> None:
        """Have something noted when the process is about to end."""
        self._leaving.append(note)

    def leaving(self) -> None:
        """Note what is to be noted when the process is about to end."""
        for note in self._leaving:
            note()

    def stopped(self) -> None:
        """Say what is to be said when the process ends."""
        saying = [threading.Thread(target=say, daemon=True) for say in self._saying]
        for thread in saying:
            thread.start()
        for thread in saying:
            thread.join(_SAYING_SECONDS)

    def close(self) -> None:
        """End the threads, and close the files, of an application that answers no more requests."""
        self.pool.close()
        while self._closing:
            self._closing.pop()()

    def create_url_adapter(self, request: flask.Request | None) -> MapAdapter | None:
        """The finder of a request's route: by path and method alone, since URLs are those of [server] url."""
        if request is None:
            return None
        return MapAdapter(self.url_map, "", "/", "", "https", request.path, request.method)

    def _route(self, request: Request) -> tuple[str, dict[str, str], str]:
        """The endpoint, the rule's variables and the rule."""
        try:
            rule, names = self._routes.match(request.path, request.method, return_rule=True)
        except HTTPException:
            return "", {}, ""  # Flask says what is wrong with it
        return str(rule.endpoint), dict(names), rule.rule

    def _headers(self, method: str, path: str, endpoint: str) -> list[tuple[str, str]]:
        """The headers that every answer has, with the request's id."""
        return [*self._further(method, path, endpoint), (request_ids.HEADER, request_ids.current() or "")]

    def _begin(self) -> None:
        """Give a request its id that another server for WSGI hands in."""
        if _INSIDE not in flask.request.environ:
            request_ids.begin()

    def _finish(self, response: flask.Response) -> flask.Response:
        request = flask.request
        for name, value in self._headers(request.method, request.path, request.endpoint or ""):
            response.headers.add(name, value)
        return response


def _note_answer(request: Request, rule: str, answer: Answer, began: float | None = None) -> None:
    """Count an answer, and write a line for it if such lines are wanted.

    Both by words of ours alone: strangers write paths, queries and methods.

    :param rule: that of its route; "" if it has none.
    :param began: when the request came, by the monotonic clock; None if it did not come whole.
    """
    route, method = rule or _NO_ROUTE, request.method if request.method in _METHODS else _OTHER_METHOD
    instruments.REQUESTS.add(route, method, str(answer.status))
    if began is None:
        return
    seconds = time.monotonic() - began
    instruments.REQUEST_SECONDS.observe(seconds, route)
    if _log.isEnabledFor(logging.DEBUG):
        facts = {
            "method": method,
            "route": route,
            "status": answer.status,
            "octets": len(request.body),
            "ms": round(seconds * 1000, 1),
        }
        _log.debug("answered", extra={"facts": facts})
