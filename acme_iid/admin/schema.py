"""JSON Schemas of answers, made of their types; what a key means is in the docstring of its TypedDict."""

from __future__ import annotations

import inspect
import re
import sys
import types
from collections.abc import Mapping
from typing import (
    Any,
    Literal,
    NotRequired,
    Required,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

Schema = dict[str, Any]

_PLAIN: Mapping[object, Schema] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    type(None): {"type": "null"},
    object: {},
    Any: {},
}
_MEANING = re.compile(r"^:ivar (\w+):\s*(.*?)(?=^:|\Z)", re.MULTILINE | re.DOTALL)
REFERENCE = "#/components/schemas/"


def of(kind: Any, components: dict[str, Schema]) -> Schema:
    """The schema of a type.

    :param components: the schemas of TypedDicts by their names, to which those that are met are added.
    """
    if kind in _PLAIN:
        return dict(_PLAIN[kind])
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (NotRequired, Required):
        return of(arguments[0], components)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, types.UnionType):
        return _any_of([of(one, components) for one in arguments])
    if origin is list or _is_sequence(origin):
        return {"type": "array", "items": of(arguments[0], components)}
    if origin is dict or _is_mapping(origin):
        return {"type": "object", "additionalProperties": of(arguments[1], components)}
    if is_typeddict(origin or kind):
        return {"$ref": REFERENCE + _component(kind, components)}
    raise TypeError(f"{kind} has no JSON Schema here")


def _is_sequence(origin: object) -> bool:
    return getattr(origin, "__name__", "") == "Sequence"


def _is_mapping(origin: object) -> bool:
    return getattr(origin, "__name__", "") == "Mapping"


def _any_of(schemas: list[Schema]) -> Schema:
    """A union; of plain types it is a list of their words."""
    if all(set(schema) == {"type"} for schema in schemas):
        return {"type": [schema["type"] for schema in schemas]}
    return {"anyOf": schemas}


def _component(kind: Any, components: dict[str, Schema]) -> str:
    """Add the schema of a TypedDict; its name."""
    cls = get_origin(kind) or kind
    arguments = dict(zip(getattr(cls, "__parameters__", ()), get_args(kind), strict=True))
    name: str = cls.__name__ + "".join(f"Of{_name(one)}" for one in arguments.values())
    if name in components:
        return name
    components[name] = {}  # it may be met within itself
    text, meanings = _documented(cls)
    properties, required = {}, []
    for key, hint in get_type_hints(cls, include_extras=True).items():
        schema = of(_filled(hint, arguments), components)
        properties[key] = schema | ({"description": meanings[key]} if key in meanings else {})
        if get_origin(hint) is not NotRequired:
            required.append(key)
    components[name] |= {
        "type": "object",
        "description": text,
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
    return name


def _name(kind: Any) -> str:
    return str(getattr(kind, "__name__", "Value"))


def _filled(hint: Any, arguments: Mapping[TypeVar, Any]) -> Any:
    """A type with what its type variables stand for."""
    if isinstance(hint, TypeVar):
        return arguments[hint]
    parameters = getattr(hint, "__parameters__", ())
    return hint[tuple(arguments[one] for one in parameters)] if parameters else hint


def _documented(cls: type) -> tuple[str, dict[str, str]]:
    """What docstrings say of a TypedDict as a whole, and of each key.

    A TypedDict forgets which ones it extends: whichever of its module have some of its keys may be these.
    """
    keys = set(cls.__annotations__)
    others = [
        other
        for other in vars(sys.modules[cls.__module__]).values()
        if is_typeddict(other) and set(other.__annotations__) < keys
    ]
    meanings: dict[str, str] = {}
    for other in (*sorted(others, key=lambda other: len(other.__annotations__)), cls):
        meanings |= _meanings(other)
    return _line(inspect.cleandoc(cls.__doc__ or "").partition("\n:")[0]), meanings


def _meanings(cls: type) -> dict[str, str]:
    return {match[1]: _line(match[2]) for match in _MEANING.finditer(inspect.cleandoc(cls.__doc__ or ""))}


def _line(text: str) -> str:
    """A paragraph in a line, in the words of JSON and without the marks of Sphinx."""
    plain = re.sub(r":(?:data|class|func|meth|mod):`~?(?:[\w.]+\.)?(\w+)`", r"\1", text)
    return " ".join(re.sub(r"\bNone\b", "null", plain).replace("``", "").split())
