"""The pages of reference: endpoints are the routes, numbers are the instruments."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pages import REPOSITORY, page, table
from running import CA

from acme_iid.app import create_app
from acme_iid.config import ca_toml
from acme_iid.errors import Problem
from acme_iid.operations import readiness
from acme_iid.telemetry import instruments
from acme_iid.web.application import Application

ENDPOINTS, METRICS = "docs/reference/endpoints.md", "docs/reference/metrics.md"


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
        for path, methods, listeners, *_ in table(page(ENDPOINTS), "path")
    }
    assert listed == there


def test_the_page_of_endpoints_has_all_types_of_errors() -> None:
    listed = {code.strip("`"): int(status) for code, status in table(page(ENDPOINTS), "type")}
    assert listed == {problem.code: problem.status for problem in Problem}


def test_the_page_of_endpoints_has_each_status_of_an_error() -> None:
    raised = {404, 405}  # Flask's
    for room in ("authority", "serving", "web"):
        for file in (REPOSITORY / "acme_iid" / room).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "AcmeError":
                    raised |= {
                        int(ast.literal_eval(word.value))
                        for word in node.keywords
                        if word.arg == "status" and isinstance(word.value, ast.Constant)
                    }
    listed = [int(status) for status, _ in table(page(ENDPOINTS), "status")]
    assert sorted(raised | {304}) == listed


def test_the_page_has_each_reason_why_a_server_is_not_ready() -> None:
    said = re.search(r"with a reason a line: (.*?)\.", page(ENDPOINTS))
    assert said is not None
    assert tuple(re.findall(r"`(\w+)`", said[1])) == readiness.REASONS


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
