"""The acts that operators may ask for, a module for each subject; whoever wants one of them imports no other."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from acme_iid.admin.acts import Act

_MODULES: Mapping[str, str] = {
    "account": "accounts",
    "bulk": "bulk",
    "caller": "callers",
    "certificate": "certificates",
    "check": "configuration",
    "eab": "external_keys",
    "events": "events",
    "events.proof": "over_time",
    "fleet": "over_time",
    "instance": "instances",
    "instance.search": "over_time",
    "issuer": "state",
    "policy": "state",
    "refusal": "state",
    "refusal.over_time": "over_time",
    "server": "state",
    "server.reload": "configuration",
    "sink": "state",
    "status": "state",
    "task": "bulk",
}
"""Where the acts on a subject are, or one of them."""


def named(name: str) -> Act[Any]:
    """An act.

    :param name: ``subject.verb``.
    """
    module = _MODULES.get(name) or _MODULES[name.partition(".")[0]]
    acts: tuple[Act[Any], ...] = importlib.import_module(f"{__name__}.{module}").ACTS
    return next(act for act in acts if act.name == name)
