"""The handbook in a real Chromium: on narrow and wide screens, in both themes, from a server and from its folder."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from chromium import SECONDS, Chromium, Page, Theme
from pages import PAGES

LOOKS: tuple[tuple[int, Theme], ...] = ((1280, "light"), (1280, "dark"), (375, "light"), (375, "dark"))
SITE = [name.removeprefix("docs/").replace("README.md", "index.md") for name in PAGES if name.startswith("docs/")]


class Quiet(SimpleHTTPRequestHandler):
    """What ``python -m http.server`` has, without its log."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    with served(site) as address:
        yield address


def test_every_page_fits_a_telephone_and_asks_no_other_host(browser: Chromium, address: str) -> None:
    page = browser.page(375)
    wide = []
    for name in SITE:
        assert page.go(address + name.replace(".md", ".html")) == 200, name
        assert [asked for asked in page.asked if not asked.startswith((address, "data:", "blob:"))] == []
        assert page.complaints == [], name
        if page.value("document.documentElement.scrollWidth") > 375:
            wide.append(name)
    assert wide == []


@pytest.mark.parametrize(("width", "theme"), LOOKS, ids=str)
def test_pages_look_as_their_reader_likes(browser: Chromium, address: str, width: int, theme: Theme) -> None:
    page = browser.page(width, theme)
    for name in ("index", "how-to/hsm", "reference/ca-toml"):
        assert page.go(f"{address}{name}.html") == 200
        assert page.value("document.documentElement.scrollWidth") <= width
        colour = page.value("getComputedStyle(document.body).backgroundColor")
        is_dark = sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")) < 3 * 128
        assert is_dark == (theme == "dark"), colour


def found(page: Page, words: str) -> list[str]:
    """The titles of what a search finds."""
    page.value("document.querySelector('.md-search__input').focus()")
    page.write(words)
    titles = "[...document.querySelectorAll('.md-search-result__item h1')].map(each => each.textContent)"
    deadline = time.monotonic() + SECONDS
    while not (listed := page.value(titles)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return [str(title) for title in listed]


def test_the_search_finds_a_page_from_a_server(browser: Chromium, address: str) -> None:
    page = browser.page()
    page.go(address)
    assert found(page, "stolen issuer")[0] == "When an issuer's key was stolen"


def test_the_search_finds_a_page_from_the_folder(browser: Chromium, site: Path) -> None:
    page = browser.page()
    page.go((site / "index.html").as_uri())
    assert found(page, "stolen issuer")[0] == "When an issuer's key was stolen"
    assert [asked for asked in page.asked if asked.startswith("http")] == []


def test_names_of_blocks_are_not_shown_and_their_text_is(browser: Chromium, address: str) -> None:
    page = browser.page()
    page.go(f"{address}how-to/rebuilt-vm.html")
    shown = page.value("document.querySelector('pre').textContent")
    assert shown.startswith("acme-iid-ca instance release aws:aws:")
    assert "terminal-1-release" not in page.value("document.querySelector('article').textContent")
