"""The pages of docs/troubleshooting have each sentence that the programs refuse with, and no others.

The rule of what such a sentence is stands at the top of tests/support/printed_refusals.py. On a page each has a line of
its own in a block ```text, written as in the source, with a … for what is filled in. Each block is in an entry: a
heading, why it happens, and what to do.
"""

from __future__ import annotations

import ast
import re
from collections import Counter

from pages import REPOSITORY, blocks, page
from printed_refusals import of_module, sentences

FOLDER = "docs/troubleshooting"
INDEX = f"{FOLDER}/README.md"
PAGES = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for path in (REPOSITORY / FOLDER).glob("*.md")
    if path.relative_to(REPOSITORY).as_posix() != INDEX
)
LINES = [(name, line) for name in PAGES for block in blocks("text", name) for line in block.text.splitlines()]
PRINTED = sentences()


def best_page(place: str) -> str:
    """The page that has most of the sentences of the same file, or of its package."""
    file = place.partition(", line ")[0]
    for near in (file, file.rpartition("/")[0]):
        counts = Counter(name for name, line in LINES if PRINTED.get(line, "").startswith(near))
        if counts:
            return counts.most_common(1)[0][0]
    return FOLDER


def test_each_sentence_of_a_refusal_has_an_entry() -> None:
    assert len(PRINTED) > 900
    written = {line for _, line in LINES}
    missing = [
        f"{best_page(place)}: add this line to the block of the entry that fits, or write an entry ({place}):\n{text}"
        for text, place in PRINTED.items()
        if text not in written
    ]
    assert not missing, "\n\n".join(["", *missing])


def test_each_entry_is_for_a_sentence_that_is_still_there() -> None:
    gone = [f"{name}: nothing says this any more, take the line out:\n{line}" for name, line in LINES]
    gone = [text for text, (_, line) in zip(gone, LINES, strict=True) if line not in PRINTED]
    assert not gone, "\n\n".join(["", *gone])
    assert [line for line, count in Counter(line for _, line in LINES).items() if count > 1] == []


def test_each_entry_says_why_and_what_to_do() -> None:
    for name in PAGES:
        entries = page(name).split("\n## ")[1:]
        assert entries
        for entry in entries:
            heading, *paragraphs = entry.split("\n\n")
            assert len(paragraphs) >= 3, f"{name}: {heading}"
            why, what, block = paragraphs[:3]
            assert not why.startswith(("**", "```")), f"{name}: {heading} does not say why"
            assert what.startswith("**What to do:** "), f"{name}: {heading} does not say what to do"
            assert block.startswith("```text\n"), f"{name}: {heading} has no sentences"


def test_the_index_leads_to_each_page_and_pages_are_short() -> None:
    assert sorted(re.findall(r"\| \[(\S+?)\]\(\1\) \|", page(INDEX))) == [name.rpartition("/")[2] for name in PAGES]
    assert [name for name in (INDEX, *PAGES) if len(page(name).splitlines()) > 300] == []


def test_the_source_is_read_as_the_rule_says() -> None:
    source = """
REMEDY = "ask the operator"
class OwnError(ClientError): ...
class Usage(click.UsageError): ...
def of(text: str) -> ClientError:
    return ClientError(f"The file here {text}")
def handed_on(error):
    raise ClientError(str(error))
def several(name, is_left):
    what = "no key" if is_left else f"no key of {name}"
    raise OwnError(f"This machine has {what}; {REMEDY}.")
def refusal(name) -> str | None:
    return f"{name} is not allowed" if name else None
def wrong_usage():
    raise Usage("an option that nobody knows")
def made():
    log.error("this is the log's")
    raise of("is not a file")
"""
    found = [text for text, _ in of_module(ast.parse(source), {"ClientError", "OwnError"})]
    assert found == [
        "The file here …",
        "This machine has no key; ask the operator.",
        "This machine has no key of …; ask the operator.",
        "… is not allowed",
        "is not a file",
    ]
