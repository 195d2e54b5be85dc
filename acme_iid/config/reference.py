"""The reference of ca.toml, ``docs/reference.md``, written out of the settings' descriptions.

``python -m acme_iid.config.reference > docs/reference.md`` writes it anew.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from acme_iid.config import ca_toml, profiles, provisioner_settings, store_settings
from acme_iid.config.limit_settings import Limits
from acme_iid.config.settings import DEFAULT_LIFETIMES, CASettings, Retention, ServerSettings
from acme_iid.config.sink_settings import SinkSettings
from acme_iid.config.status_settings import StatusSettings
from acme_iid.policy.clouds import CLOUD_TYPES
from acme_iid.policy.hosts import TYPE
from acme_iid.policy.setting import Setting, settings_of
from acme_iid.terminal import durations

_HEAD = """\
# The settings in ca.toml

The code writes this page: `python -m acme_iid.config.reference > docs/reference.md`.
"""


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


def page() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *_sections()])


def _sections() -> Iterator[str]:
    lifetimes = profiles.lifetime_settings(DEFAULT_LIFETIMES)
    yield from _section("[ca]", "", (*settings_of(CASettings), *lifetimes, *ca_toml.KEY_SETTINGS))
    yield from _section("[server]", "", settings_of(ServerSettings))
    yield from _section("[status]", "", settings_of(StatusSettings))
    yield from _section("[store]", "", store_settings.SETTINGS)
    yield from _section("[limits]", '"off" takes a limit away.', settings_of(Limits))
    yield from _section("[retention]", "", settings_of(Retention))
    yield from _section("[[sink]]", "One table for each place that events are sent to.", settings_of(SinkSettings))
    yield from _section(
        "[profile.NAME]", "One table for each profile.", (*profiles.SETTINGS, *profiles.lifetime_settings(None))
    )
    yield from _section("[[provisioner]]", "Every provisioner has these.", provisioner_settings.of_all())
    # The same for each cloud, but for what its evidence proves.
    common = provisioner_settings.of_instances(next(iter(CLOUD_TYPES.values())))
    yield from _section("[[provisioner]] of every cloud", "", common)
    for type_, cloud in CLOUD_TYPES.items():
        needed = " or ".join(f"`{owner}`" for owner in cloud.owners)
        yield from _section(f"[[provisioner]] of type {type_}", f"One needs {needed}.", cloud.settings)
    yield from _section(f"[[provisioner]] of type {TYPE}", "One needs `challenges`.", provisioner_settings.of_hosts())


def _section(title: str, text: str, settings: Iterable[Setting]) -> Iterator[str]:
    yield f"## {title}\n"
    if text:
        yield f"{text}\n"
    yield "| key | type | default | meaning |"
    yield "|---|---|---|---|"
    rows: dict[str, Setting] = {}
    meanings: dict[str, list[str]] = {}
    for setting in settings:
        rows.setdefault(setting.key, setting)
        meanings.setdefault(setting.key, []).append(setting.meaning)
    for key, setting in rows.items():
        name = f"`{setting.keys[0]}` to `{setting.keys[-1]}`" if setting.keys else f"`{key}`"
        default = "required" if setting.required else default_in_words(setting) or "-"
        yield "| " + " | ".join([name, *map(_cell, (setting.value, default, " ".join(meanings[key])))]) + " |"
    yield ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")


if __name__ == "__main__":
    sys.stdout.write(page())
