"""The pages of docs/concepts rest on what is there: tests that exist, figures that were measured, pictures that fit."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from pages import PAGES, REPOSITORY, page, table, tables

FOLDER = "docs/concepts"
CONCEPTS = [name for name in PAGES if name.startswith(f"{FOLDER}/")]
THREATS = page(f"{FOLDER}/threat-model.md")
SIZING = page(f"{FOLDER}/sizing.md")
PICTURES = sorted((REPOSITORY / FOLDER).glob("*.svg"))
SVG = "{http://www.w3.org/2000/svg}"


def defined_tests() -> set[str]:
    return {
        name
        for path in (REPOSITORY / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text("utf-8"), re.MULTILINE)
    }


def test_each_claim_of_the_threat_model_names_tests_that_exist() -> None:
    claims = [row for head in ("it …", "they …", "what was stolen") for rows in tables(THREATS, head) for row in rows]
    assert len(claims) > 30
    assert [row[0] for row in claims if not re.findall(r"`test_\w+`", row[-1])] == []
    named = {name for text in map(page, CONCEPTS) for name in re.findall(r"\btest_\w+", text)}
    assert len(named) > 40
    assert sorted(named - defined_tests()) == []


def test_the_sizes_follow_from_the_figures_that_were_measured() -> None:
    (measured,) = (page(name) for name in PAGES if name.endswith("/performance.md"))
    ours = next(row for row in table(measured, "server") if row[0] == "acme-iid")
    cpu_ms, rate, memory = (float(ours[column].split()[0]) for column in (1, 3, 6))
    store_kb = float(re.findall(r"belongs to it takes ([\d.]+) kB", measured)[0])
    said = " ".join(SIZING.split())
    assert f"{cpu_ms} ms of CPU and {store_kb} kB" in said
    assert f"makes {rate:.0f} in a second and takes {memory:.0f} MB of memory" in said
    rows = table(SIZING, "VMs")
    assert [row[0] for row in rows] == ["100", "1,000", "10,000", "100,000"]
    for row in rows:
        machines = int(row[0].replace(",", ""))
        a_day = machines * 24 / 16
        assert row[1:] == [
            f"{a_day:,.0f}",
            f"{max(1, a_day * cpu_ms / 1000):.0f} s",
            f"{max(1, machines / rate):.0f} s",
            f"{a_day * 90 * store_kb / 1e6:.1f} GB",
        ]


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
def test_a_picture_has_words_for_who_does_not_see_it_and_two_themes(picture: Path) -> None:
    text = picture.read_text("utf-8")
    root = ET.fromstring(text)  # noqa: S314  (our own file)
    described = {child.attrib["id"]: " ".join((child.text or "").split()) for child in root if "id" in child.attrib}
    assert all(len(described[name]) > 10 for name in root.attrib["aria-labelledby"].split())
    assert "@media (prefers-color-scheme: dark)" in text
    # What has a colour in one theme has one in the other.
    light, dark = text.split("@media", 1)
    style = dark.split("</style>")[0]
    coloured = set(re.findall(r"^ +(\.\w+|text) \{[^}]*(?:fill|stroke): #", light, re.MULTILINE))
    assert coloured == set(re.findall(r"(\.\w+|text) \{[^}]*(?:fill|stroke): #", style))
    width, height = (float(value) for value in root.attrib["viewBox"].split()[2:])
    for entry in root.iter(f"{SVG}text"):
        assert 0 <= float(entry.attrib["x"]) <= width
        assert 0 <= float(entry.attrib["y"]) <= height
    assert "href" not in text
    assert "<script" not in text


def test_each_picture_is_shown_with_a_text_in_its_place() -> None:
    shown = {name for text in map(page, CONCEPTS) for name in re.findall(r"!\[[^\]]{20,}\]\((\S+\.svg)\)", text)}
    assert shown == {picture.name for picture in PICTURES}
    assert len(shown) == 2


def test_the_pages_of_concepts_are_short() -> None:
    assert len(CONCEPTS) >= 7
    assert [name for name in CONCEPTS if len(page(name).splitlines()) > 120] == []
