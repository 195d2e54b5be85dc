"""A setting of ca.toml, described once: its reader, its flag, its column in lists and its row in the reference follow.

The settings of a cloud's provisioners stand in its descriptor (:mod:`acme_iid.policy.clouds`), all others in
:mod:`acme_iid.config`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, replace
from typing import Any, Literal

Shape = Literal[
    "text",
    "duration",
    "number",
    "port",
    "switch",
    "rate",
    "count",
    "list",
    "order",
    "rules",
    "registers",
    "file",
    "key set",
    "issuers",
    "issuer keys",
]
"""The form of a value in ca.toml.

``text`` and ``duration`` are strings. A ``rate`` is a string, a ``count`` a number, and both may be "off". ``order`` is
a list of strings that flags give whole, where a ``list`` grows and shrinks. ``rules`` are names with conditions.
``registers`` are several lists, one for each of ``keys``. ``key set`` is a file, or a URL. ``issuers`` and
``issuer keys`` are two members of the same tables.
"""
OFF = "off"
"""The value that takes a limit away."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    :ivar key: its name in its table.
    :ivar value: a right value, in words that follow "it is": errors and the reference have them.
    :ivar meaning: its effect, in a sentence.
    :ivar parse: reads the value, or each of a list's; its ValueError is the sentence that says what is wrong.
    :ivar required: whether the table cannot do without it.
    :ivar default: the value without it.
    :ivar absent: the effect of leaving it out, in words, where the default does not say it.
    :ivar flag: the name of its flag, without the dashes; "" if it has none.
    :ivar facts: of a list, the facts of which one must be on it; of rules, the facts that conditions may name.
    :ivar keys: of ``registers``, all of their keys; ``key`` is the first.
    """

    key: str
    shape: Shape
    value: str
    meaning: str
    parse: Callable[[Any], Any] = str
    required: bool = False
    default: Any = None
    absent: str = ""
    flag: str = ""
    metavar: str = ""
    facts: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()


def described(
    value: str, meaning: str, parse: Callable[[Any], Any] = str, shape: Shape = "text", absent: str = ""
) -> dict[str, Setting]:
    """Describe the setting that a field of a dataclass holds; the result is the field's ``metadata``.

    The setting's key is the field's name, and its default the field's.
    """
    return {_METADATA: Setting("", shape, value, meaning, parse, absent=absent)}


def settings_of(holder: type[Any]) -> tuple[Setting, ...]:
    """The settings that the fields of a dataclass hold, in their order."""
    return tuple(
        replace(
            field.metadata[_METADATA],
            key=field.name,
            required=field.default is MISSING,
            default=None if field.default is MISSING else field.default,
        )
        for field in fields(holder)
        if _METADATA in field.metadata
    )


_METADATA = "setting"
