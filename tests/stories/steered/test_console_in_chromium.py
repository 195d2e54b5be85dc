"""The console in a real Chromium: for everybody, by keyboard, in both themes, at both widths, within its origin."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, urlsplit

import axe
import chromium
import console_pages
import pytest
from chromium import Chromium, Page, Theme
from console_pages import BLOCKED, HOSTILE, RELEASE, VM

from acme_iid.console.server import Running

PAGES = {
    "overview": "",
    "certificates": "?of=certificates",
    "refusals": "refusals",
    "refusals of a month": "refusals?over=month",
    "instance": f"instance?id={quote(VM)}",
    "blocked instance": f"instance?id={quote(BLOCKED)}",
    "unknown instance": f"instance?id={quote(HOSTILE)}",
    "search": "search",
    "nothing found": f"search?word={quote(HOSTILE)}",
    "no such page": "nothing",
}
LOOKS: tuple[tuple[int, Theme], ...] = ((1280, "light"), (1280, "dark"), (375, "light"), (375, "dark"))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with chromium.browser(tmp_path_factory.mktemp("profile")) as made:
        yield made


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    return axe.installed(tmp_path_factory.mktemp("axe"))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = console_pages.made_home(tmp_path_factory.mktemp("ca"))
    with closing(console_pages.opened(home)) as database:
        console_pages.fill(database, console_pages.now())
    return home


@pytest.fixture
def running(home: Path) -> Iterator[Running]:
    with console_pages.console(home) as (running, _):
        yield running


@pytest.fixture
def page(browser: Chromium, running: Running) -> Page:
    """A page at the overview, by the link."""
    page = browser.page()
    assert page.go(running.link) == 200
    return page


def base(page: Page) -> str:
    """The address of the overview."""
    return str(page.value("location.href"))


def test_the_link_opens_the_overview_and_is_in_no_history(page: Page, running: Running, browser: Chromium) -> None:
    assert page.value("document.querySelector('h1').textContent") == "Overview"
    assert "token" not in base(page)
    history = page.call("Page.getNavigationHistory")["entries"]
    assert not any("token" in entry["url"] for entry in history)
    assert page.value("document.cookie") == ""
    assert browser.page().go(running.link) == 403


def test_a_page_is_the_same_in_each_theme_and_width_for_everybody(page: Page, program: str) -> None:
    start = base(page)
    wrong: dict[str, list[str]] = {}
    for name, path in PAGES.items():
        for width, theme in LOOKS:
            page.looks(width, theme)
            page.go(start + path)
            found = axe.violations(page, program)
            wide = page.value("document.documentElement.scrollWidth")
            if wide > width:
                found.append(f"{wide} pixels wide")
            if found:
                wrong[f"{name}, {width}, {theme}"] = found
    assert wrong == {}


def test_dark_and_light_are_what_is_preferred(page: Page) -> None:
    colours = []
    for theme in ("light", "dark"):
        page.looks(1280, theme)
        colours.append(page.value("getComputedStyle(document.body).backgroundColor"))
    assert colours == ["rgb(246, 247, 249)", "rgb(16, 21, 27)"]


def test_no_page_asks_for_anything_elsewhere_nor_breaks_the_policy(page: Page, running: Running) -> None:
    start, host = base(page), urlsplit(running.url).netloc
    for path in PAGES.values():
        status = page.go(start + path)
        assert len(page.asked) >= 3
        assert {urlsplit(url).netloc for url in page.asked} == {host}
        assert [text for text in page.complaints if status == 200 or "status of 404" not in text] == []


def test_hostile_text_runs_nothing_and_is_seen(page: Page) -> None:
    start = base(page)
    for path in PAGES.values():
        page.go(start + path)
        assert page.value("document.images.length") == 1
        assert page.value("document.querySelectorAll('[onerror], script, iframe').length") == 0
    page.go(start + PAGES["instance"])
    assert page.value("document.body.innerText.includes('<img src=x onerror=alert(1)>')")


def focused(page: Page) -> str:
    """What has the focus, in a word or two."""
    return str(page.value(
        "(e => e.getAttribute('aria-label') || e.getAttribute('name') || e.textContent.trim())(document.activeElement)"
    ))  # fmt: skip


def test_the_keyboard_reaches_everything_and_the_focus_is_seen(page: Page) -> None:
    page.press("Tab")
    assert focused(page) == "Skip to the content"
    assert page.value("document.activeElement.getBoundingClientRect().left") >= 0
    page.press("Enter")
    assert page.value("document.activeElement.id") == "main"
    page.go(base(page).partition("#")[0])
    reached: list[str] = []
    while not reached or reached[-1] != "Skip to the content" or len(reached) == 1:
        page.press("Tab")
        if page.value("document.activeElement === document.body"):
            break
        reached.append(focused(page))
        assert page.value("getComputedStyle(document.activeElement).outlineStyle") != "none", reached[-1]
        assert len(reached) < 100
    assert reached[:5] == ["Skip to the content", "Overview", "Refusals", "word", "Find"]
    count = page.value(
        "document.querySelectorAll('a[href], input, button, textarea, summary, [tabindex=\"0\"]').length"
    )
    # What a closed table hides is not reached until it is opened.
    assert len(reached) == count - page.value("document.querySelectorAll('details:not([open]) [tabindex]').length")


def test_an_instance_is_found_and_its_command_copied_by_keyboard(page: Page) -> None:
    for _ in range(4):
        page.press("Tab")
    page.write("web.local")
    page.forget()
    page.press("Enter")
    assert page.loaded() == 200
    assert page.value("document.querySelector('h1').textContent") == VM.rpartition(":")[2]
    while page.value("document.activeElement.value") != RELEASE:
        page.press("Tab")
    page.press("a", control=True)
    assert page.value("getSelection().toString()") == RELEASE
    page.press("c", control=True)
    page.press("Tab", shift=True)
    assert page.value("document.activeElement.value") != RELEASE


def test_a_session_that_ended_says_how_to_go_on(browser: Chromium, page: Page) -> None:
    start = base(page)
    stranger = browser.page()
    assert stranger.go(f"{start}refusals") == 403
    assert "acme-iid-ca console" in stranger.value("document.querySelector('textarea').value")
