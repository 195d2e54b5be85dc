"""What has changed between two texts of ca.toml, value by value and without secrets."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping

from acme_iid.telemetry.masking import MASK, masked

_MOST_CHARACTERS = 300
"""Of a value; of a longer one the beginning is shown."""


def between(before: bytes, after: bytes) -> list[str]:
    """The lines ``- key = value`` and ``+ key = value`` that say what changed, in the order of the keys.

    A key is written with its tables (``store.url``, ``provisioner["EC2"].accounts``) and a value as JSON. Secrets are
    masked, so both lines may look alike where a secret has changed. Comments are left out: they may hold anything. A
    text that is not TOML has no values.
    """
    old, new = _values(before), _values(after)
    lines: list[str] = []
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            lines += [f"{sign} {key} = {_shown(key, values[key])}" for sign, values in (("-", old), ("+", new))
                      if key in values]  # fmt: skip
    return lines


def _values(text: bytes) -> dict[str, object]:
    try:
        return dict(_flat("", tomllib.loads(text.decode())))
    except (ValueError, RecursionError):
        return {}


def _flat(key: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _flat(f"{key}.{_name(name)}" if key else _name(name), inner)
    elif isinstance(value, list) and value and all(isinstance(entry, Mapping) for entry in value):
        for number, entry in enumerate(value, 1):
            yield from _flat(f"{key}[{json.dumps(entry.get('name', number), default=str)}]", entry)
    elif key:
        yield key, value


def _name(key: str) -> str:
    plain = key.isascii() and key.replace("-", "").replace("_", "").isalnum()
    return key if plain else json.dumps(key)


def _shown(key: str, value: object) -> str:
    text = json.dumps(value, default=str)
    # The key's last name decides with the value whether it is a secret.
    line = masked(f"{key.rpartition('.')[2]} = {text}")
    text = line.partition(" = ")[2]
    if isinstance(value, list) and MASK in text:
        text = json.dumps(MASK)
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"
