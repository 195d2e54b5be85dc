"""The pages of the reference of the API in ``docs/reference``, out of the acts: one for each subject, and a list.

``python -m acme_iid.admin.reference PAGE`` prints one of them. Of ``admin-api.md`` it is the end; what is above that is
written by hand.
"""

from __future__ import annotations

import posixpath
import re
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any

from acme_iid.admin import openapi
from acme_iid.admin.acts import JSON, Act
from acme_iid.admin.parameters import Parameter
from acme_iid.admin.schema import REFERENCE, Schema
from acme_iid.admin.table import (
    accounts,
    bulk,
    callers,
    certificates,
    configuration,
    events,
    external_keys,
    instances,
    over_time,
    state,
)
from acme_iid.admin.table.every import ACTS

MAIN = "admin-api.md"
"""The page with the list of all acts."""
BEGINNING = "## Acts\n"
"""The heading of that page at which the sections begin that are written here."""
_API = ACTS[len(ACTS) - 1 :]
_SUBJECTS: dict[str, tuple[str, tuple[Act[Any], ...]]] = {
    "admin-api/instances.md": ("instances", instances.ACTS),
    "admin-api/certificates.md": ("certificates", certificates.ACTS),
    "admin-api/accounts.md": ("accounts and their keys", (*accounts.ACTS, *external_keys.ACTS)),
    "admin-api/events.md": ("events", events.ACTS),
    "admin-api/state.md": ("the state of the CA", state.ACTS),
    "admin-api/over-time.md": ("counts over time", over_time.ACTS),
    "admin-api/many.md": ("acts on many", bulk.ACTS),
    "admin-api/server.md": ("the server and the caller", (*configuration.ACTS, *callers.ACTS, *_API)),
}
"""The pages of acts: of what each is, and its acts."""
PAGE_OF = "PageOf"
"""The schemas of pages are all alike; what is on them follows."""
_WIDTH = 118
_SHARED_BY = 3
"""A parameter that so many acts take in the same words is described once."""
_TYPES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "null": "null",
    "object": "object",
}

_Key = tuple[str, str, str, object]


def pages() -> dict[str, str]:
    """What these pages hold, by their paths below ``docs/reference``."""
    document = openapi.document(ACTS)
    schemas = dict(_shown(document["components"]["schemas"]))
    places = _places(document, schemas)
    shared = _shared(ACTS)
    listed = [BEGINNING, _overview(), "## Shared parameters\n", _parameters(shared), "## Answers\n"]
    written = {MAIN: listed}
    for page, (subject, acts) in _SUBJECTS.items():
        written[page] = [
            f"# The admin API: {subject}\n",
            _paragraph(f"[The admin API](../{MAIN}) has what holds for all acts, and the [shared parameters]"
                       f"(../{MAIN}#shared-parameters)."),
            "## The acts one by one\n",
        ]  # fmt: skip
        written[page] += [_act(act, document, shared) for act in acts]
        if any(place == page for name, place in places.items() if name in schemas):
            written[page].append("## Answers\n")
    for name, schema in schemas.items():
        written[places[name]].append(_answer(name, schema))
    return {page: _linked("\n".join(parts), page, places) for page, parts in written.items()}


def _places(document: Schema, schemas: dict[str, Schema]) -> dict[str, str]:
    """The page of each act and of each answer: that of the first act whose answer has it, else the main one."""
    places = {}
    for page, (_, acts) in _SUBJECTS.items():
        for act in acts:
            places[act.name] = page
            responses = document["paths"][act.path][act.method.lower()]["responses"]
            unread = [response for status, response in responses.items() if status < "300"]
            while unread:
                for name in _named(unread.pop()):
                    if name not in places:
                        places[name] = page
                        unread.append(document["components"]["schemas"][name])
    return dict.fromkeys(schemas, MAIN) | places


def _named(value: object) -> Iterator[str]:
    """The schemas that a part of the document refers to."""
    match value:
        case dict():
            for key, below in value.items():
                if key == "$ref":
                    yield str(below).removeprefix(REFERENCE)
                else:
                    yield from _named(below)
        case list():
            for below in value:
                yield from _named(below)


def _linked(text: str, page: str, places: dict[str, str]) -> str:
    """A page's text, with the places of what is linked: acts and answers by their names."""
    folder = str(PurePosixPath(page).parent)

    def link(found: re.Match[str]) -> str:
        place = places[found[1]]
        path = "" if place == page else posixpath.relpath(place, folder)
        return f"[{found[1]}]({path}#{_anchor(found[1])})"

    return re.sub(r"\[([\w.]+)\]\(#\)", link, text)


def _overview() -> str:
    acts = (act for _, several in _SUBJECTS.values() for act in several)
    rows = [(f"`{act.method} {act.path}`", _roles(act), f"[{act.name}](#)", act.summary) for act in acts]
    return _table(("method and path", "role", "act", "meaning"), rows)


def _roles(act: Act[Any]) -> str:
    return "; ".join([act.role.word, *(f"{role.word} with `{name}`" for name, role in act.raised.items())])


def _anchor(heading: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


# Parameters


def _key(parameter: Parameter) -> _Key:
    return parameter.name, parameter.kind.expected, parameter.meaning, parameter.default


def _shared(acts: Iterable[Act[Any]]) -> dict[_Key, Parameter]:
    """The parameters that several acts take, but those in paths."""
    several = [entry for act in acts for entry in act.every_parameter() if entry.name not in act.in_path]
    times = Counter(map(_key, several))
    return {_key(entry): entry for entry in several if times[_key(entry)] >= _SHARED_BY}


def _parameters(entries: dict[_Key, Parameter]) -> str:
    rows = [(f"`{entry.name}`", entry.kind.expected, _default(entry), entry.meaning) for entry in entries.values()]
    return _table(("parameter", "value", "default", "meaning"), rows)


def _default(entry: Parameter) -> str:
    if entry.is_required:
        return "required"
    match entry.default:
        case None:
            return "-"
        case bool(value):
            return str(value).lower()
    return str(entry.default)


# Acts


def _act(act: Act[Any], document: Schema, shared: dict[_Key, Parameter]) -> str:
    operation = document["paths"][act.path][act.method.lower()]
    every = {_key(entry): entry for entry in act.every_parameter()}
    own = {key: entry for key, entry in every.items() if key not in shared or entry.name in act.in_path}
    others = [entry.name for key, entry in every.items() if key not in own]
    sentences = f"`{act.method} {act.path}`, {_roles(act)}. {act.summary} {act.more}"
    lines = [f"### {act.name}\n", _paragraph(sentences)]
    if own:
        lines.append(_parameters(own))
    if others:
        names = ", ".join(f"`{name}`" for name in others)
        lines.append(_paragraph(f"Shared parameters: {names}."))
    answers = operation["responses"].items()
    lines += [_success(status, response) for status, response in answers if status < "300"]
    refusals = [status for status, _ in answers if status >= "400"]
    lines.append(f"Refusals: {', '.join(refusals)}.\n")
    return "\n".join(lines)


def _success(status: str, response: Schema) -> str:
    ((media, content),) = response["content"].items()
    kind = "" if media == JSON else f", `{media}`"
    return f"{status}: {_type(content['schema'])}{kind}.\n"


# Answers


def _shown(schemas: dict[str, Schema]) -> Iterator[tuple[str, Schema]]:
    """The schemas but those of pages, which are all alike."""
    for name, schema in sorted(schemas.items()):
        if not name.startswith(PAGE_OF):
            yield name, schema


def _answer(name: str, schema: Schema) -> str:
    rows = []
    for key, value in schema["properties"].items():
        optional = "" if key in schema["required"] else ", or left out"
        meaning = value["description"]
        rows.append((f"`{key}`", f"{_type(value)}{optional}", meaning[0].upper() + meaning[1:]))
    return f"### {name}\n\n{_paragraph(schema['description'])}\n{_table(('key', 'value', 'meaning'), rows)}"


def _type(schema: Schema) -> str:
    """A type in words."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(REFERENCE)
        shown = name.removeprefix(PAGE_OF)
        return f"{'' if name == shown else 'a page of '}[{shown}](#)"
    if "enum" in schema:
        return " or ".join(f"`{word}`" for word in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(map(_type, schema["anyOf"]))
    match schema.get("type"):
        case None:
            return "any JSON"
        case list(types):
            return " or ".join(_TYPES[one] for one in types)
        case "array":
            return f"list of {_type(schema['items'])}"
        case "object":
            return f"object, of names and {_type(schema['additionalProperties'])}"
        case str(one):
            return _TYPES[one]
    raise TypeError(f"{schema} has no words here")


def _paragraph(sentences: str) -> str:
    return f"{textwrap.fill(sentences.strip(), _WIDTH, break_long_words=False, break_on_hyphens=False)}\n"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [" | ".join(head), *(" | ".join(map(_cell, row)) for row in rows)]
    lines.insert(1, "|".join("---" for _ in head))
    return "".join(f"|{line}|\n" if line.startswith("---") else f"| {line} |\n" for line in lines)


def _cell(words: str) -> str:
    return words.replace("|", "\\|").replace("*", "\\*")


if __name__ == "__main__":
    sys.stdout.write(pages()[sys.argv[1]])
