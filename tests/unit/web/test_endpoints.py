"""The pages of reference: endpoints are the routes, numbers are the instruments."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pages import page, table
from running import CA

from acme_iid.app import create_app
from acme_iid.config import ca_toml
from acme_iid.telemetry import instruments
from acme_iid.web.application import Application

METRICS = "docs/reference/metrics.md"


@pytest.fixture
def application(tmp_path: Path) -> Iterator[Application]:
    """The application of a CA that shows status."""
    ca = CA(tmp_path / "ca")
    ca.init()
    file = ca.home / "ca.toml"
    file.write_text(f'{file.read_text()}\n[status]\nlisten = "127.0.0.1:8080"\n')
    made = create_app(ca_toml.load(ca.home))
    yield made
    made.close()


def test_the_page_of_endpoints_has_all_routes(application: Application) -> None:
    assert application.status is not None
    assert application.metrics is not None
    there: dict[str, tuple[set[str], set[str]]] = {}
    for listener, shown in (("main", application), ("status", application.status), ("metrics", application.metrics)):
        for rule in shown.url_map.iter_rules():
            methods, listeners = there.setdefault(rule.rule, (set(), set()))
            methods |= (rule.methods or set()) - {"HEAD", "OPTIONS"}
            listeners.add(listener)
    listed = {
        path.strip("`"): (set(methods.split(", ")), set(listeners.split(", ")))
        for path, methods, listeners, _ in table(page("docs/reference/endpoints.md"), "path")
    }
    assert listed == there


def test_the_page_of_numbers_has_all_instruments() -> None:
    rows = table(page(METRICS), "name")
    listed = [(name.strip("`"), kind, tuple(re.findall(r"`(\w+)`", labels)), text) for name, kind, labels, text in rows]
    assert listed == [
        (instrument.name, instrument.kind, instrument.labels, instrument.meaning) for instrument in instruments.DECLARED
    ]
    described = {
        label for line in re.findall(r"^- .*", page(METRICS), re.MULTILINE) for label in re.findall(r"`(\w+)`:", line)
    }
    used = {label for instrument in instruments.DECLARED for label in instrument.labels}
    assert used - described == {"status", "hash", "version", "python"}
