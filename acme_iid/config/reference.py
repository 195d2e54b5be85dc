"""The tables of the reference of ca.toml, ``docs/reference/ca-toml.md``, out of the settings' descriptions.

``python -m acme_iid.config.reference`` prints them. What stands around them on the page is written by hand.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from acme_iid.config import ca_toml, profiles, provisioner_settings, store_settings
from acme_iid.config.admin_settings import AdminSettings, RoleSettings
from acme_iid.config.limit_settings import Limits
from acme_iid.config.metrics_settings import MetricsSettings
from acme_iid.config.settings import DEFAULT_LIFETIMES, CASettings, Retention, ServerSettings
from acme_iid.config.sink_settings import SinkSettings
from acme_iid.config.status_settings import StatusSettings
from acme_iid.policy.clouds import CLOUD_TYPES
from acme_iid.policy.hosts import TYPE
from acme_iid.policy.setting import Setting, settings_of
from acme_iid.terminal import durations


def default_in_words(setting: Setting) -> str:
    """The value without a setting, in words; "" if there is no such value."""
    if setting.absent or setting.default in (None, ()):
        return setting.absent
    match setting.shape:
        case "duration":
            return durations.text(setting.default)
        case "rate":
            return f"{setting.default.most}/{durations.text(setting.default.seconds)}"
        case "switch":
            return "true" if setting.default else "false"
    return str(setting.default)


def sections() -> Iterator[tuple[str, str]]:
    """The sections of the page: the title of each, and its table."""
    lifetimes = profiles.lifetime_settings(DEFAULT_LIFETIMES)
    yield "[ca]", _table((*settings_of(CASettings), *lifetimes, *ca_toml.KEY_SETTINGS))
    yield "[server]", _table(settings_of(ServerSettings))
    yield "[status]", _table(settings_of(StatusSettings))
    yield "[metrics]", _table(settings_of(MetricsSettings))
    yield "[admin]", _table(settings_of(AdminSettings))
    yield "[[admin.role]]", _table(settings_of(RoleSettings))
    yield "[store]", _table(store_settings.SETTINGS)
    yield "[limits]", _table(settings_of(Limits))
    yield "[retention]", _table(settings_of(Retention))
    yield "[[sink]]", _table(settings_of(SinkSettings))
    yield "[profile.NAME]", _table((*profiles.SETTINGS, *profiles.lifetime_settings(None)))
    yield "[[provisioner]]", _table(provisioner_settings.of_all())
    # The same for each cloud, but for what its evidence proves.
    common = provisioner_settings.of_instances(next(iter(CLOUD_TYPES.values())))
    yield "[[provisioner]] of every cloud", _table(common)
    for type_, cloud in CLOUD_TYPES.items():
        yield f"[[provisioner]] of type {type_}", _table(cloud.settings)
    yield f"[[provisioner]] of type {TYPE}", _table(provisioner_settings.of_hosts())


def _table(settings: Iterable[Setting]) -> str:
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    rows: dict[str, Setting] = {}
    meanings: dict[str, list[str]] = {}
    for setting in settings:
        rows.setdefault(setting.key, setting)
        meanings.setdefault(setting.key, []).append(setting.meaning)
    for key, setting in rows.items():
        name = f"`{setting.keys[0]}` to `{setting.keys[-1]}`" if setting.keys else f"`{key}`"
        default = "required" if setting.required else default_in_words(setting) or "-"
        cells = (setting.value, default, " ".join(meanings[key]))
        lines.append("| " + " | ".join([name, *map(_cell, cells)]) + " |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")


if __name__ == "__main__":
    for heading, rows_below in sections():
        sys.stdout.write(f"## {heading}\n\n{rows_below}\n")
