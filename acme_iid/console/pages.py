"""The pages: what is asked for is read from the source, and given to a template."""

from __future__ import annotations

import time
from http import HTTPStatus

import flask
from werkzeug.wrappers import Response

from acme_iid.console import overview, refusals, story
from acme_iid.console.lifeline import lifeline
from acme_iid.console.overview import Measure
from acme_iid.console.parts import part
from acme_iid.console.source import Source, SourceError

MOST_EVENTS = 100
"""The events of an instance on one page."""
MOST_CERTIFICATES = 20
"""The certificates of an instance on one page."""
MOST_FOUND = 50
"""The instances that a search shows."""
MOST_WORD = 1024
"""The characters of an id, a name or a place in a list."""


class Pages:
    """The views.

    :param source: what they show.
    """

    def __init__(self, source: Source) -> None:
        self._source = source

    def blueprint(self, folder: str) -> flask.Blueprint:
        """The pages at their paths.

        :param folder: the beginning of these.
        """
        blueprint = flask.Blueprint("pages", __name__, url_prefix=folder)
        for rule, view in (
            ("/", self.overview),
            ("/refusals", self.refusals),
            ("/instance", self.instance),
            ("/search", self.search),
        ):
            blueprint.add_url_rule(rule, view.__name__, view, methods=["GET"], provide_automatic_options=False)
        return blueprint

    def overview(self) -> str:
        """What is red, the fleet, and both chains."""
        measure: Measure = "certificates" if flask.request.args.get("of") == "certificates" else "instances"
        page = overview.read(self._source, measure)
        return flask.render_template("overview.html", page=page, urgency=overview.urgency)

    def refusals(self) -> str:
        """What was refused, and what lifts it."""
        span = flask.request.args.get("over", refusals.DEFAULT)
        if span not in refusals.SPANS:
            span = refusals.DEFAULT
        page = refusals.read(self._source, span, _word("before"), int(time.time()))
        return flask.render_template("refusals.html", page=page, spans=refusals.SPANS)

    def instance(self) -> str | tuple[str, int]:
        """The whole story of one instance."""
        word, before = _word("id") or "", _word("before")
        try:
            known = self._source.instance(word)
        except SourceError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return flask.render_template("unknown.html", word=word, detail=error.detail), error.status
        whole = known["instance"]
        events = self._source.events(whole, before, MOST_EVENTS)
        rows = list(events["items"][:MOST_EVENTS])
        refused = part(lambda: self._source.refusals(before, MOST_EVENTS, whole)["items"])
        told = story.moments(rows, refused.value or (), known["first_used"], has_latest=before is None)
        names = part(lambda: self._names(whole))
        certificates = part(lambda: self._source.certificates(whole, _word("certificates"), MOST_CERTIFICATES))
        return flask.render_template(
            "instance.html",
            instance=known,
            names=names.value or (),
            faults=[fault for fault in (refused.fault, names.fault) if fault is not None],
            certificates=certificates,
            most_certificates=MOST_CERTIFICATES,
            chapters=story.chapters(told),
            line=lifeline(told, rows, int(time.time())),
            earlier=events["next"],
            before=before,
        )

    def _names(self, instance: str) -> list[story.GivenName]:
        """The names that an instance has proven of late."""
        proofs = self._source.events(instance, None, MOST_EVENTS, "challenge.valid")
        return story.given_names(proofs["items"][:MOST_EVENTS])

    def search(self) -> str | Response:
        """The instances that a word may mean; the page of the one, if there is one."""
        word = (_word("word") or "").strip()
        found = self._source.search(word, MOST_FOUND)[:MOST_FOUND] if word else []
        if len(found) == 1:
            return flask.redirect(flask.url_for("pages.instance", id=found[0]["instance"]), HTTPStatus.SEE_OTHER)
        return flask.render_template("search.html", word=word, found=found, most=MOST_FOUND)


def _word(name: str) -> str | None:
    """A word of the query, as much of it as may be asked for; None if it is empty."""
    return flask.request.args.get(name, "")[:MOST_WORD] or None
