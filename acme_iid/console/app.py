"""The application: who may see the pages, what every answer carries, and errors in plain words."""

from __future__ import annotations

import logging
from http import HTTPStatus

import flask
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from acme_iid.console import charts, lifeline, overview, text
from acme_iid.console.pages import Pages
from acme_iid.console.refusals import command_line, is_safe
from acme_iid.console.session import LINK_SECONDS, Session
from acme_iid.console.source import Source, SourceError
from acme_iid.terminal.printable import printable

COOKIE = "acme-iid-console"
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; "
        "base-uri 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""What every answer has: nothing is kept, run, framed or fetched from elsewhere, and no address is told to others."""

_log = logging.getLogger(__name__)
_READING = ("GET", "HEAD")
_NEW_LINK = "acme-iid-ca console"


def create(source: Source, session: Session, host: str) -> flask.Flask:
    """The application.

    :param host: the one value of ``Host`` that is answered: the address and the port that it listens on.
    """
    app = flask.Flask(__name__, static_url_path="/static")
    app.jinja_env.filters |= {
        "shown": text.shown,
        "plain": text.plain,
        "printable": printable,
        "left": overview.left,
        "number": text.number,
        "short": text.short,
        "counted": text.counted,
        "moment": text.moment,
        "timestamp": text.timestamp,
    }
    app.jinja_env.tests["safe_command"] = is_safe
    app.jinja_env.globals |= {
        "charts": charts,
        "lifeline": lifeline,
        "place": source.place,
        "command_line": command_line,
    }
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.register_blueprint(Pages(source).blueprint(session.folder))

    def enter() -> Response | tuple[str, int]:
        token = flask.request.args.get("token", "")
        # Only a browser that goes there uses the link up, and none that asks what is there.
        cookie = session.enter(token) if flask.request.method == "GET" else None
        if cookie is None:
            return _message(
                HTTPStatus.FORBIDDEN,
                "This link is used up",
                f"The link of the console is good once, and for {LINK_SECONDS // 60} minutes. If you have used it, the "
                "pages are in the window where you did. For a new link, run the console again; the old one ends with "
                "ctrl-C.",
                _NEW_LINK,
            )
        response = flask.redirect(f"{session.folder}/", HTTPStatus.SEE_OTHER)
        response.set_cookie(COOKIE, cookie, path=f"{session.folder}/", httponly=True, samesite="Strict")
        return response

    app.add_url_rule("/", "enter", enter, methods=["GET"], provide_automatic_options=False)

    @app.before_request
    def guard() -> tuple[str, int] | None:
        flask.g.is_known = False
        request = flask.request
        if request.headers.get("Host") != host:
            return _message(HTTPStatus.MISDIRECTED_REQUEST, "Not this address", f"The console is at http://{host}/.")
        if request.method not in _READING:
            return _message(HTTPStatus.METHOD_NOT_ALLOWED, "Nothing can be sent here", "The console only shows things.")
        flask.g.is_known = session.admits(request.cookies.get(COOKIE))
        if not flask.g.is_known and request.endpoint not in ("enter", "static"):
            return _message(
                HTTPStatus.FORBIDDEN,
                "No session",
                "These pages are for the browser that followed the link which the console printed, and for twelve "
                "hours. For a new link, run the console again.",
                _NEW_LINK,
                # A browser that was sent here by another site's page keeps the cookie back once.
                follow=request.path if request.path == f"{session.folder}/" else None,
            )
        return None

    @app.after_request
    def protect(response: flask.Response) -> flask.Response:
        response.headers.update(HEADERS)
        if response.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            response.headers["Allow"] = ", ".join(_READING)
        return response

    app.register_error_handler(SourceError, _unread)
    app.register_error_handler(Exception, _failed)
    return app


def _unread(error: SourceError) -> tuple[str, int]:
    """The page for what the API did not answer."""
    if error.status is None:
        return _message(
            HTTPStatus.BAD_GATEWAY,
            "The CA does not answer",
            f"Its admin API was asked and gave no answer: {error.detail}",
            "acme-iid-ca status",
        )
    if error.status == HTTPStatus.FORBIDDEN:
        role = f"It takes the role {error.role}." if error.role else ""
        return _message(HTTPStatus.FORBIDDEN, "Your role may not see this", f"{error.detail} {role}".strip())
    if error.status == HTTPStatus.TOO_MANY_REQUESTS:
        return _message(HTTPStatus.TOO_MANY_REQUESTS, "Too much was asked for", error.detail)
    return _message(HTTPStatus.BAD_GATEWAY, "The CA did not answer this", error.detail)


def _failed(error: Exception) -> tuple[str, int]:
    """The page for what is not there, and for faults of our own."""
    if isinstance(error, HTTPException):
        code = error.code or 500
        if code == HTTPStatus.NOT_FOUND:
            return _message(HTTPStatus.NOT_FOUND, "There is no such page", "The pages that there are stand above.")
        return _message(HTTPStatus(code), error.name, "The request could not be read.")
    _log.error("a page could not be made", exc_info=error)
    return _message(
        HTTPStatus.INTERNAL_SERVER_ERROR, "The console has a fault", "The terminal that it runs in has more of it."
    )


def _message(
    status: HTTPStatus, title: str, sentence: str, command: str | None = None, follow: str | None = None
) -> tuple[str, int]:
    """A page that says one thing.

    :param command: one that goes on from there.
    :param follow: the path of a link that does.
    """
    page = flask.render_template("message.html", title=title, sentence=sentence, command=command, follow=follow)
    return page, status.value
