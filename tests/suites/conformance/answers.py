"""Reading answers: one of another shape than the RFC's ends a test with a sentence that says what came instead."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from typing import Any, TypeVar

import requests

Body = dict[str, Any]
URN = "urn:ietf:params:acme:error:"

Item = TypeVar("Item")


class NotOfferedError(Exception):
    """The server does not have this optional feature, and says so as it should: the rule has nothing to check."""


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_object(value: object) -> bool:
    return isinstance(value, Object)


def _all(check: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, list) and all(map(check, value))


_TEXT = ("a string", _is_text)
_OBJECT = ("an object", _is_object)

SHAPES: dict[str, tuple[str, Callable[[object], bool]]] = (
    dict.fromkeys(("newNonce", "newAccount", "newOrder", "newAuthz", "revokeCert", "keyChange", "renewalInfo"), _TEXT)
    | dict.fromkeys(("status", "url", "finalize", "certificate", "type", "value", "token", "detail"), _TEXT)
    | dict.fromkeys(("start", "end"), _TEXT)
    | dict.fromkeys(("identifier", "error", "suggestedWindow"), _OBJECT)
    | dict.fromkeys(("contact", "authorizations"), ("a list of strings", _all(_is_text)))
    | dict.fromkeys(("identifiers", "challenges", "subproblems"), ("a list of objects", _all(_is_object)))
)
"""What the members of answers are: one name is the same thing in all of them."""


class Object(dict[str, Any]):
    """A JSON object of an answer. ``body[name]`` needs the member, and its shape to be right; ``get`` needs neither."""

    def __getitem__(self, name: str) -> Any:
        assert name in self, f"there is no `{name}` in {self!r:.500}"
        value = super().__getitem__(name)
        words, fits = SHAPES.get(name, ("", None))
        assert fits is None or fits(value), f"`{name}` is {value!r:.100}, not {words}, in {self!r:.500}"
        return value


class Directory(Object):
    """The directory. Without a resource that every server has, the tests that need it have nothing to check."""

    def __getitem__(self, name: str) -> Any:
        if name not in self:
            raise NotOfferedError(
                f"the directory has no {name}, which test_the_directory_lists_what_every_server_has reports"
            )
        return super().__getitem__(name)


def said(response: requests.Response) -> str:
    """An answer in a line, for messages."""
    return f"{response.status_code} {response.headers.get('Content-Type', 'no content type')}: {response.text[:500]}"


def _parsed(response: requests.Response) -> object:
    try:
        return json.loads(response.content, object_hook=Object)
    except (ValueError, RecursionError):
        return None


def object_of(response: requests.Response) -> Object:
    """The JSON object of an answer, which must have one."""
    found = _parsed(response)
    assert isinstance(found, Object), f"expected a JSON object, got {said(response)}"
    return found


def document(response: requests.Response) -> Object:
    """The JSON object of an answer; an empty one if it has none."""
    found = _parsed(response)
    return found if isinstance(found, Object) else Object()


def error_type(response: requests.Response) -> str | None:
    """The short name of an answer's ACME error, None if it has none."""
    body = document(response)
    return str(body.get("type", "")).removeprefix(URN) if response.status_code >= 400 and body else None


def header(response: requests.Response, name: str) -> str:
    """A header of an answer, which must have it."""
    value = response.headers.get(name)
    assert value is not None, f"there is no {name} in the headers of {said(response)}"
    return value


def media_type(response: requests.Response) -> str:
    """The media type of an answer, empty if it has none."""
    return response.headers.get("Content-Type", "").split(";")[0]


def exactly(count: int, what: str, found: Collection[Item]) -> list[Item]:
    """So many things, for unpacking."""
    assert len(found) == count, f"expected {count} {what}, got {len(found)}: {found!r:.500}"
    return list(found)


def links(response: requests.Response, relation: str) -> list[str]:
    """The targets of an answer's links of one relation (RFC 8288); relative ones are left as they are."""
    header_value = response.headers.get("Link", "")
    found = re.findall(r'<([^>]*)>\s*;[^,<]*?rel="?([^",;]+)"?', header_value)
    return [target for target, relations in found if relation in relations.split()]
