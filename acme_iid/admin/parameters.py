"""The parameters of acts: the fields of frozen dataclasses, each described once; readers and the document follow."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from typing import Any, TypeVar

from acme_iid.admin import problems
from acme_iid.admin.kinds import Kind

P = TypeVar("P")

_TAKEN, _GROUP = "taken", "group"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter.

    :ivar name: its name in a path, a query or a body.
    :ivar meaning: its effect, in a sentence.
    :ivar default: the value without it, as it was sent; None if there is none.
    """

    name: str
    kind: Kind[Any]
    meaning: str
    is_required: bool
    default: object


def taken(kind: Kind[Any], meaning: str, *, name: str | None = None, default: object = None) -> Mapping[str, object]:
    """The metadata of a field that is a parameter.

    :param meaning: its effect, in a sentence.
    :param name: its name where that is no name in Python.
    :param default: what is read where it is left out, and the field has no default of its own.
    """
    return {_TAKEN: (kind, meaning, name, default)}


def group(names: Collection[str]) -> Mapping[str, object]:
    """The metadata of a field that is a dataclass of parameters itself.

    :param names: those of its fields that are parameters here.
    """
    return {_GROUP: tuple(names)}


@dataclass(frozen=True, slots=True)
class Nothing:
    """No parameters."""


def parameters_of(cls: type, only: Collection[str] | None = None) -> Iterator[Parameter]:
    """The parameters that a dataclass describes.

    :param only: the fields that count; None for all.
    """
    for entry in fields(cls):
        if only is not None and entry.name not in only:
            continue
        if _GROUP in entry.metadata:
            yield from parameters_of(_grouped(entry), entry.metadata[_GROUP])
        else:
            yield _parameter(entry)


def _grouped(entry: Field[Any]) -> type:
    assert entry.default_factory is not MISSING
    return type(entry.default_factory())


def _parameter(entry: Field[Any]) -> Parameter:
    kind, meaning, name, default = entry.metadata[_TAKEN]
    is_required = default is None and entry.default is MISSING
    if default is None and entry.default not in (MISSING, None):
        default = entry.default
    return Parameter(name or entry.name, kind, meaning, is_required, default)


def read(cls: type[P], given: Mapping[str, object], now: int, only: Collection[str] | None = None) -> P:
    """The dataclass of what was given.

    :param given: JSON values by the names of parameters; those of others are not looked at.
    :param now: seconds.
    :param only: the fields that count; None for all.
    :raises ProblemError: at the first parameter that is wrong or missing.
    """
    made: dict[str, object] = {}
    for entry in fields(cls):  # type: ignore[arg-type]
        if only is not None and entry.name not in only:
            continue
        if _GROUP in entry.metadata:
            made[entry.name] = read(_grouped(entry), given, now, entry.metadata[_GROUP])
            continue
        parameter = _parameter(entry)
        if parameter.name in given:
            made[entry.name] = value(parameter, given[parameter.name], now)
        elif parameter.is_required:
            expected = parameter.kind.expected
            raise problems.of_parameter(parameter.name, f"{parameter.name} is missing: it is {expected}", expected)
        elif parameter.default is not None:
            made[entry.name] = value(parameter, parameter.default, now)
    return cls(**made)


def value(parameter: Parameter, sent: object, now: int) -> object:
    """The value of a parameter.

    :raises ProblemError: if it is wrong.
    """
    try:
        return parameter.kind.read(sent, now)
    except ValueError as error:
        expected = parameter.kind.expected
        why = str(error) or f"{shown(sent)} is not {expected}"
        raise problems.of_parameter(parameter.name, f"{parameter.name}: {why}", expected) from None


def shown(sent: object) -> str:
    """A value in a sentence, shortened: it may be anything."""
    text = ascii(sent)
    return text if len(text) <= 80 else f"{text[:77]}..."
