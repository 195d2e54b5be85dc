"""Settings taken out of a table of ca.toml by their descriptions (:mod:`acme_iid.policy.setting`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from acme_iid.config.table import Table
from acme_iid.policy.name_rules import Demand, NameRule
from acme_iid.policy.setting import OFF, Setting
from acme_iid.protocol.identifiers import lowered

_MAX_PORT = 65535


def read(table: Table, settings: Iterable[Setting]) -> dict[str, Any]:
    """Take settings out of a table: the values that are there, by their keys.

    :raises ConfigError: if one is invalid, or is required and missing.
    """
    values: dict[str, Any] = {}
    for setting in settings:
        if table.look(setting.key) is not None or setting.required:
            values[setting.key] = _value(table, setting)
        else:
            table.skip(setting.key)
    return values


def _value(table: Table, setting: Setting) -> Any:
    key = setting.key
    match setting.shape:
        case "text" | "duration":
            return table.text(key, setting.value, setting.parse)
        case "list" | "order":
            return table.texts(key, setting.value, setting.parse)
        case "switch":
            return table.take(key, bool, "true or false")
        case "number":
            return table.parsed(key, table.take(key, int, setting.value), setting.parse)
        case "rate" | "count":
            return _limit(table, setting)
        case "port":
            return table.parsed(key, table.take(key, int, setting.value), _port)
        case "rules":
            return _rules(table, setting)
    raise AssertionError(f"{key} has the shape {setting.shape!r}, which its own reader takes")


def _limit(table: Table, setting: Setting) -> Any:
    if table.look(setting.key) == OFF:
        table.take(setting.key, str, setting.value)
        return None
    value = table.take(setting.key, str if setting.shape == "rate" else int, setting.value)
    return table.parsed(setting.key, value, setting.parse)


def _port(value: int | None) -> int:
    if value is None or not 0 < value <= _MAX_PORT:
        raise ValueError(f"{value} is no port; ports are 1 to {_MAX_PORT}")
    return value


def _rules(table: Table, setting: Setting) -> tuple[NameRule, ...]:
    """Names as texts, or as tables ``{ names = [...], when = { region = "us-east-1" } }``."""
    key = setting.key
    rules: list[NameRule] = []
    for value in table.take(key, list, setting.value) or []:
        when: tuple[Demand, ...] = ()
        names: list[object] = [value]
        if isinstance(value, dict):
            inner = table.inner(f"{key} {value.get('names', '')!r}", value)
            names = list(inner.texts("names", "a list of names", str) or ())
            when = _conditions(inner.table("when"), setting.facts)
            inner.done()
            if not names or not when:
                raise table.error(
                    key, f"{value!r} needs names and when; names for every instance stand in the list as texts"
                )
        for text in names:
            if not isinstance(text, str):
                raise table.error(key, f"{text!r} is not a name")
            rules.append(NameRule(table.parsed(key, text, setting.parse), when))
    return tuple(rules)


def _conditions(table: Table, facts: Iterable[str]) -> tuple[Demand, ...]:
    """Facts by their own names, each with the values that it must have one of."""
    conditions: list[Demand] = []
    for fact in facts:
        values = table.one_or_more(fact, "a value, or a list of values")
        if values:
            conditions.append(Demand(fact, (fact,), tuple(map(lowered, values))))
    table.done()
    return tuple(conditions)
