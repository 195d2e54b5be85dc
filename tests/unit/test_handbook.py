"""The handbook is whole: each page is short and in the table of contents, and links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pages import PAGES, REPOSITORY, page

CONTENTS = "docs/README.md"
HANDBOOK = [name for name in PAGES if name.startswith("docs/")]
KINDS = {"tutorials", "concepts", "troubleshooting", "how-to", "reference", "contributing"}
"""The folders of pages, kept apart; contributors' is one more."""
MOST_LINES = 300
LINKED = (*PAGES, "CHANGELOG.md", "SECURITY.md", "tests/README.md", *sorted(
    path.relative_to(REPOSITORY).as_posix()
    for folder in ("rfc-notes", "tests/suites")
    for path in (REPOSITORY / folder).rglob("*.md")
))  # fmt: skip


def links(name: str) -> list[tuple[str, str]]:
    """The targets of a page's links within the repository, each with its anchor or an empty one."""
    text = re.sub(r"^```.*?^```", "", page(name), flags=re.MULTILINE | re.DOTALL)
    targets = (link.partition("#") for link in re.findall(r"\]\(([^)\s]+)\)", text))
    return [(target, anchor) for target, _, anchor in targets if "://" not in target and "mailto:" not in target]


def anchors(file: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", file.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", LINKED)
def test_links_lead_to_what_is_there(name: str) -> None:
    wrong = []
    for target, anchor in links(name):
        file = (REPOSITORY / name).parent / target if target else REPOSITORY / name
        if not file.exists() or (anchor and anchor not in anchors(file)):
            wrong.append(f"{target}#{anchor}")
    assert wrong == []


def test_every_page_is_in_the_table_of_contents() -> None:
    listed = {f"docs/{target}" for target, _ in links(CONTENTS)}
    assert [name for name in HANDBOOK if name != CONTENTS and name not in listed] == []


def test_every_page_is_in_the_sites_navigation() -> None:
    listed = re.findall(r"- (?:[\w ]+: )?([\w/-]+\.md)$", page("mkdocs.yml"), re.MULTILINE)
    assert sorted(listed) == sorted(name.removeprefix("docs/") for name in HANDBOOK)


def test_every_page_is_of_a_kind() -> None:
    assert {name.split("/")[1] for name in HANDBOOK if name != CONTENTS} == KINDS


def test_no_page_is_long() -> None:
    assert {name: count for name in HANDBOOK if (count := len(page(name).splitlines())) > MOST_LINES} == {}
    assert len(page("README.md").splitlines()) <= MOST_LINES // 2


def test_each_page_begins_with_its_one_title() -> None:
    wrong = []
    for name in HANDBOOK:
        text = re.sub(r"^```.*?^```", "", page(name), flags=re.MULTILINE | re.DOTALL)
        if not text.startswith("# ") or len(re.findall(r"^# ", text, re.MULTILINE)) != 1:
            wrong.append(name)
    assert wrong == []
