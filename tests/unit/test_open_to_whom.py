"""The page on what is open to whom has every address and socket that ca.toml can name."""

from __future__ import annotations

import re

from pages import page

PAGE = "docs/reference/open-to-whom.md"


def test_each_place_to_listen_on_is_named() -> None:
    tables = re.split(r"^## \[+(\w+)\]+$", page("docs/reference/ca-toml.md"), flags=re.MULTILINE)[1:]
    places = [
        (table, key)
        for table, text in zip(tables[::2], tables[1::2], strict=True)
        for key in ("listen", "socket")
        if re.search(rf"^\| `{key}` \|", text, re.MULTILINE)
    ]
    assert len(places) >= 5
    assert [place for place in places if f"`[{place[0]}] {place[1]}`" not in page(PAGE)] == []
