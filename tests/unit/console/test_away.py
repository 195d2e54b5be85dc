"""When the admin API is away, refuses or answers in part, the pages say that in plain words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import console_pages
from console_pages import Visitor
from console_source import StoreSource

from acme_iid.console.server import listening
from acme_iid.console.source import SourceError
from acme_iid.operations.chain_proof import ChainProof
from acme_iid.operations.descriptions.pages import Page
from acme_iid.operations.descriptions.refusals import RefusalRow
from acme_iid.operations.descriptions.status import StatusDescription
from acme_iid.operations.over_time import FleetPoint, RefusalCount

PATHS = ("", "refusals", "instance?id=i-1", "search?word=i-1")


class Away(StoreSource):
    """Nothing is answered, for one reason."""

    error = SourceError("nothing listens at /run/acme-iid-ca/admin.sock")

    def _follow(self) -> None:
        raise self.error


class Partly(StoreSource):
    """Some of what a page reads is not answered."""

    def fleet_over_time(self) -> Sequence[FleetPoint]:
        raise SourceError("the fleet <b>is away</b>")

    def chain(self) -> ChainProof:
        raise SourceError("the chain is away")

    def refusals_over_time(self, seconds: int, points: int) -> Sequence[RefusalCount]:
        raise SourceError(f"the counts of {seconds} seconds in {points} parts are away")


class Greedy(StoreSource):
    """More is answered than was asked for."""

    def refusals(self, before: str | None, limit: int, instance: str | None = None) -> Page[RefusalRow]:
        page = super().refusals(before, limit, instance)
        return {"items": page["items"] * 1000, "next": None}


class Broken(StoreSource):
    """Something has a fault."""

    def status(self) -> StatusDescription:
        raise ZeroDivisionError("secret words")


@contextmanager
def visited(home: Path, kind: type[StoreSource]) -> Iterator[Visitor]:
    """Somebody who reads a console over a store of which not everything is answered."""
    with closing(console_pages.opened(home)) as database, listening(kind(home, database)) as running:
        yield Visitor(running)


def test_an_api_that_is_away_is_told_on_each_page(fresh_home: Path) -> None:
    with visited(fresh_home, Away) as visitor:
        for path in PATHS:
            page = visitor.get(path)
            assert page.status_code == 502
            assert "The CA does not answer" in page.text
            assert "nothing listens at /run/acme-iid-ca/admin.sock" in page.text
            assert 'aria-label="Pages"' in page.text


def test_a_role_that_is_not_enough_is_named(fresh_home: Path) -> None:
    class Refused(Away):
        error = SourceError("joe has no role here.", 403, "viewer")

    with visited(fresh_home, Refused) as visitor:
        for path in PATHS:
            page = visitor.get(path)
            assert page.status_code == 403
            assert "Your role may not see this" in page.text
            assert "It takes the role viewer." in page.text


def test_too_many_requests_are_told(fresh_home: Path) -> None:
    class Limited(Away):
        error = SourceError("ask again in 5 seconds", 429)

    with visited(fresh_home, Limited) as visitor:
        assert visitor.get().status_code == 429
        assert "ask again in 5 seconds" in visitor.get().text


def test_a_part_that_is_away_leaves_the_others_as_they_are(fresh_home: Path) -> None:
    with visited(fresh_home, Partly) as visitor:
        overview, refused = visitor.get(), visitor.get("refusals")
    assert (overview.status_code, refused.status_code) == (200, 200)
    assert overview.text.count("This part could not be read.") == 3
    assert "the fleet &lt;b&gt;is away&lt;/b&gt;" in overview.text
    assert "The CA&#39;s own chain" in overview.text or "The CA's own chain" in overview.text
    assert refused.text.count("the counts of 604800 seconds in 28 parts are away") == 2


def test_more_rows_than_were_asked_for_are_not_shown(filled_home: Path) -> None:
    with visited(filled_home, Greedy) as visitor:
        assert visitor.get("refusals").text.count("<article") == 25


def test_a_fault_is_told_without_its_words(fresh_home: Path) -> None:
    with visited(fresh_home, Broken) as visitor:
        page = visitor.get()
    assert page.status_code == 500
    assert "The console has a fault" in page.text
    assert "secret words" not in page.text
