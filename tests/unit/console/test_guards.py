"""Who is let in to the console, what every answer carries, and what else is refused."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import console_pages
import pytest
import requests
from console_pages import Visitor

from acme_iid.console.app import COOKIE
from acme_iid.console.server import Running

PAGES = ("", "refusals", "instance?id=x", "search?word=x", "nothing")


@pytest.fixture
def running(fresh_home: Path) -> Iterator[Running]:
    """A console whose link nobody has followed."""
    with console_pages.console(fresh_home) as (running, _):
        yield running


def ask(running: Running, path: str, method: str = "GET", **headers: str) -> http.client.HTTPResponse:
    """An answer to a request with just these headers."""
    connection = http.client.HTTPConnection(urlsplit(running.url).netloc, timeout=60)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    answer.body = answer.read().decode()  # type: ignore[attr-defined]
    connection.close()
    return answer


def test_the_link_leads_to_the_overview_and_leaves_the_address(running: Running) -> None:
    entered = requests.get(running.link, allow_redirects=False, timeout=60)
    assert entered.status_code == 303
    assert "token" not in entered.headers["Location"]
    visitor = requests.Session()
    visitor.cookies.update(entered.cookies)
    assert requests.get(running.link, timeout=60).status_code == 403


def test_the_cookie_is_for_this_console_alone_and_for_no_script(running: Running) -> None:
    entered = requests.get(running.link, allow_redirects=False, timeout=60)
    value, *facts = entered.headers["Set-Cookie"].split("; ")
    assert value.startswith(f"{COOKIE}=")
    assert set(facts) == {"HttpOnly", "SameSite=Strict", f"Path={entered.headers['Location']}"}
    assert len(entered.headers["Location"]) > 30


def test_a_link_that_was_used_says_how_to_get_another(running: Running) -> None:
    requests.get(running.link, timeout=60)
    again = requests.get(running.link, timeout=60)
    assert again.status_code == 403
    assert "This link is used up" in again.text
    assert "acme-iid-ca console" in again.text


def test_looking_at_the_head_of_the_link_does_not_use_it_up(running: Running) -> None:
    assert requests.head(running.link, timeout=60).status_code == 403
    assert requests.get(running.link, timeout=60).status_code == 200


@pytest.mark.parametrize("path", PAGES)
def test_nobody_without_the_cookie_is_shown_a_page(running: Running, path: str) -> None:
    visitor = Visitor(running)
    assert visitor.get(path).status_code in (200, 404)
    visitor.session.cookies.clear()
    refused = visitor.get(path)
    assert refused.status_code == 403
    assert "No session" in refused.text
    for value in ("", "x", urlsplit(running.link).query.removeprefix("token=")):
        assert requests.get(visitor.base + path, cookies={COOKIE: value}, timeout=60).status_code == 403


def test_who_follows_the_link_from_another_sites_page_can_go_on(running: Running) -> None:
    """Browsers keep a strict cookie back from a page that another site led to; from our own page they send it."""
    visitor = Visitor(running)
    visitor.session.cookies.clear()
    assert f'<a href="{urlsplit(visitor.base).path}">' in visitor.get().text
    assert "<a href=" not in visitor.get("refusals").text.partition("<main")[2]


@pytest.mark.parametrize(
    "host",
    [
        "",
        "localhost",
        "127.0.0.1",
        "evil.example",
        "evil.example:{port}",
        "localhost:{port}",
        "127.0.0.1:1",
        "[::1]:{port}",
    ],
)
def test_another_host_is_refused_before_anything_is_looked_at(running: Running, host: str) -> None:
    link = urlsplit(running.link)
    wrong = ask(running, f"/?{link.query}", Host=host.format(port=link.port))
    assert wrong.status == 421
    assert ask(running, f"/?{link.query}").status != 303
    assert ask(running, "/static/style.css", Host=host.format(port=link.port)).status == 421
    # And the link was not used up by it.
    assert ask(running, f"/?{link.query}", Host=link.netloc).status == 303


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"])
def test_other_methods_are_refused(running: Running, method: str) -> None:
    visitor = Visitor(running)
    for url in (running.url, visitor.base, f"{running.url}static/style.css"):
        refused = visitor.session.request(method, url, timeout=60)
        assert refused.status_code == 405
        assert refused.headers["Allow"] == "GET, HEAD"


def test_every_answer_lets_nothing_run_and_nothing_leave(running: Running) -> None:
    entered = requests.get(running.link, allow_redirects=False, timeout=60)
    base = running.url.rstrip("/") + entered.headers["Location"]
    own = {COOKIE: entered.cookies.get(COOKIE, path=entered.headers["Location"]) or ""}
    found = [entered, *(requests.get(base + path, cookies=own, timeout=60) for path in PAGES)]
    found += [requests.get(url, allow_redirects=False, timeout=60) for url in (running.url, running.link, base)]
    found.append(requests.get(f"{running.url}static/style.css", timeout=60))
    found.append(requests.post(running.url, timeout=60))
    found.append(requests.get(running.url, headers={"Host": "evil.example"}, timeout=60))
    # The server itself refuses a body of such a length.
    found.append(requests.post(running.url, headers={"Content-Length": "9999999"}, timeout=60))
    assert {answer.status_code for answer in found} == {200, 303, 403, 404, 405, 413, 421}
    for answer in found:
        policy = answer.headers["Content-Security-Policy"].split("; ")
        assert policy[0] == "default-src 'none'"
        assert {"form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"} < set(policy)
        assert not any("unsafe" in rule or "script-src" in rule or "http" in rule for rule in policy)
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"


def test_no_page_has_a_script_or_a_style_of_its_own(filled: Visitor) -> None:
    for path, query in (("", {}), ("refusals", {}), ("instance", {"id": console_pages.VM}), ("search", {"word": "x"})):
        text = filled.get(path, **query).text.lower()
        for wrong in ("<script", " style=", " onclick=", "javascript:", "http://", "https://"):
            assert wrong not in text.replace('xmlns="http://www.w3.org/2000/svg"', "")


def test_it_listens_on_loopback_alone(running: Running) -> None:
    assert urlsplit(running.url).hostname == "127.0.0.1"
    assert urlsplit(running.link).hostname == "127.0.0.1"
