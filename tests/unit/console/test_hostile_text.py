"""Names, reasons and users that attack whoever shows them are shown as text."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser

import pytest
from console_pages import BLOCKED, HOSTILE, LONG, MARKUP, VM, Visitor

from acme_iid.console.refusals import is_safe
from acme_iid.console.text import counted, moment, number, plain, short, shown

SHOWN: list[tuple[str, dict[str, str]]] = [
    ("", {}), ("refusals", {}), ("refusals", {"over": "month"}), ("instance", {"id": VM}),
    ("instance", {"id": BLOCKED}), ("instance", {"id": HOSTILE}), ("search", {"word": HOSTILE}),
    ("search", {"word": "web.local"}),
]  # fmt: skip


class Elements(HTMLParser):
    """The elements of a page, with what stands in each <bdi>."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.isolated: list[str] = []
        self.bare: list[str] = []
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in ("meta", "link", "img", "input"):
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        self.names.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        if "bdi" in self._open:
            self.isolated.append(data)
        elif "title" not in self._open:
            self.bare.append(data)


@pytest.mark.parametrize(("path", "query"), SHOWN)
def test_hostile_text_adds_nothing_to_a_page(filled: Visitor, path: str, query: dict[str, str]) -> None:
    page = Elements(filled.get(path, **query).text)
    assert "onerror" not in page.attributes
    assert page.names.isdisjoint({"script", "iframe", "object", "embed", "base", "style"})


@pytest.mark.parametrize(("path", "query"), SHOWN)
def test_no_character_of_a_page_hides_or_turns_others_round(filled: Visitor, path: str, query: dict[str, str]) -> None:
    text = html.unescape(filled.get(path, **query).text)
    assert [sign for sign in set(text) if not sign.isprintable() and sign != "\n"] == []


def test_hostile_text_is_there_and_isolated(filled: Visitor) -> None:
    for path, query in (("refusals", {}), ("instance", {"id": VM})):
        page = Elements(filled.get(path, **query).text)
        assert any(plain(HOSTILE) in text for text in page.isolated)
        assert LONG in page.isolated
        # Hebrew stands in no text that is not isolated, but for titles, which end with theirs.
        assert not any("\u05e9" in text for text in page.bare)


def test_what_was_searched_for_is_shown_as_it_was_typed(filled: Visitor) -> None:
    text = filled.get("search", word=MARKUP).text
    assert f'value="{html.escape(MARKUP, quote=False)}' not in text
    assert html.escape(MARKUP).replace("&#x27;", "&#39;").replace("&quot;", "&#34;") in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"), ("", "-"), ([], "-"), (("a", "b"), "a, b"), ("a\u202eb", "a\\u202eb"),
        ("\x00\x1b\n", "\\x00\\x1b\\n"),
        ("\u05e9", "\u05e9"), ("<b>", "&lt;b&gt;"), ("\"'", "&#34;&#39;"), ("\u200b\ufeff", "\\u200b\\ufeff"), (7, "7"),
    ],
)  # fmt: skip
def test_text_is_escaped_twice_over(value: object, text: str) -> None:
    assert str(shown(value)) == f"<bdi>{text}</bdi>"


@pytest.mark.parametrize("command", ["a\u202eb", "a\nb", "a\x1b[2J", "a\u200bb", "a\xa0b"])
def test_a_command_that_is_not_what_it_looks_like_cannot_be_copied(command: str) -> None:
    assert not is_safe(command)
    assert is_safe("acme-iid-ca instance release x --to 'y z'")


def test_numbers_and_times_are_written_in_one_way() -> None:
    assert (number(1_234_567), short(1_200_000), short(600_000), short(80)) == ("1,234,567", "1.2M", "600k", "80")
    assert (counted(1, "event"), counted(1234, "event")) == ("1 event", "1,234 events")
    assert str(moment("2030-01-02T03:04:05Z")) == '<time datetime="2030-01-02T03:04:05Z">2030-01-02 03:04:05</time>'
    assert str(moment('2030"><b>')) == "<bdi>2030&#34;&gt;&lt;b&gt;</bdi>"
    assert re.search("-", str(moment(None)))
