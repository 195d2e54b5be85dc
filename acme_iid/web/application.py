"""Flask, and a shortcut past most of it for the requests that a certificate takes.

Flask with Werkzeug takes longer for a small JSON answer than an ES256 signature does to verify. All requests of an
order are signed ones, to paths without an odd character; those are looked up in a table that is made of the same rules
as Flask's routes, and answered by the same views. All others go through Flask, with the same answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING

import flask
from werkzeug.routing import MapAdapter

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


class Answer:
    """What a view answers, complete but for what every answer of its kind has.

    :param body: text is sent as UTF-8.
    :param headers: further headers; their values are ours, without line ends.
    """

    __slots__ = ("body", "headers", "status")

    def __init__(
        self,
        body: str | bytes = b"",
        status: int = 200,
        content_type: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.body = body.encode() if isinstance(body, str) else body
        self.status = status
        self.headers: list[tuple[str, str]] = [] if content_type is None else [("Content-Type", content_type)]
        if headers:
            self.headers.extend(headers.items())

    def add(self, name: str, value: str) -> None:
        """Add a header."""
        self.headers.append((name, value))

    def response(self) -> flask.Response:
        """The answer as Flask has it."""
        return flask.Response(self.body, self.status, self.headers)


class Shortcut:
    """Which requests are answered without Flask, and by what.

    A rule is one of Flask's: of segments below a prefix, each a word or a ``<name>`` of any text without a slash.

    :param prefix: what all paths begin with.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._views: dict[str, tuple[Callable[..., Answer], tuple[str, ...]]] = {}

    def add(self, rule: str, view: Callable[..., Answer]) -> None:
        """Have ``view`` answer POST requests, with the WSGI environment and the rule's names."""
        word, *rest = rule.removeprefix("/").split("/")
        names = tuple(segment[1:-1] for segment in rest if segment.startswith("<"))
        self._views["/".join((word, *("" if segment.startswith("<") else segment for segment in rest)))] = (view, names)

    def answer(self, environ: WSGIEnvironment) -> Answer | None:
        """The answer to a request; None for one that Flask should look at."""
        path: str = environ["PATH_INFO"]
        if environ["REQUEST_METHOD"] != "POST" or not path.startswith(self._prefix) or not path.isascii():
            return None
        word, *rest = path[len(self._prefix) :].split("/")
        if not rest:
            found = self._views.get(word)
        elif len(rest) == 1:
            found = self._views.get(f"{word}/")
        elif len(rest) == 2:
            found = self._views.get(f"{word}//{rest[1]}") or self._views.get(f"{word}//")
        else:
            return None
        if found is None or "" in rest:
            return None
        view, names = found
        return view(environ, **dict(zip(names, rest, strict=False)))


class Application(flask.Flask):
    """The Flask application."""

    def __init__(self, name: str, shortcut: Shortcut) -> None:
        super().__init__(name, static_folder=None)
        self._shortcut = shortcut
        # A redirection would need a host's name.
        self.url_map.merge_slashes = False

    def wsgi_app(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        answer = self._shortcut.answer(environ)
        if answer is None:
            return super().wsgi_app(environ, start_response)
        answer.add("Content-Length", str(len(answer.body)))
        start_response(_STATUS_LINES[answer.status], answer.headers)
        return [answer.body]

    def create_url_adapter(self, request: flask.Request | None) -> MapAdapter | None:
        """What finds a request's route: by path and method alone, since URLs are those of [server] url."""
        if request is None:
            return None
        return MapAdapter(self.url_map, "", "/", "", "https", request.path, request.method)
