"""The reference of ca.toml has each setting as its description says it, and bounds that hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from pages import page, table

from acme_iid.config import ca_toml, profiles, provisioner_settings, reference, store_settings
from acme_iid.config.admin_settings import AdminSettings, RoleSettings
from acme_iid.config.limit_settings import Limits
from acme_iid.config.metrics_settings import MetricsSettings
from acme_iid.config.settings import CASettings, Config, Retention, ServerSettings
from acme_iid.config.sink_settings import SinkSettings
from acme_iid.config.status_settings import StatusSettings
from acme_iid.policy.clouds import CLOUD_TYPES
from acme_iid.policy.hosts import HostProvisioner
from acme_iid.policy.instances import Provisioner
from acme_iid.policy.setting import Setting, settings_of
from acme_iid.store.settings import StoreSettings

SECTIONS = (
    *(
        entry
        for holder in (CASettings, ServerSettings, StatusSettings, MetricsSettings, AdminSettings, Limits, Retention)
        for entry in settings_of(holder)
    ),
    *(*ca_toml.KEY_SETTINGS, *store_settings.SETTINGS, *profiles.SETTINGS, *profiles.lifetime_settings(None)),
)
"""The settings of all tables that are no provisioner's."""


PAGE = page("docs/reference/ca-toml.md")


def texts() -> dict[str, str]:
    """The sections of the page about tables of ca.toml, by their titles."""
    parts = re.split(r"^## (\[.+)\n", PAGE, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def sections() -> dict[str, list[list[str]]]:
    """The rows of each of these sections."""
    return {title: table(text, "key") for title, text in texts().items()}


def keys(rows: list[list[str]]) -> list[str]:
    """The keys that rows are about; those of one row from the first to the last."""
    return [key for row in rows for key in re.findall(r"`([^`]+)`", row[0])]


def described(*settings: Setting) -> list[str]:
    """The keys of descriptions, those of registers from the first to the last."""
    found = ((entry.keys[0], entry.keys[-1]) if entry.keys else (entry.key,) for entry in settings)
    return list(dict.fromkeys(key for several in found for key in several))


def test_the_page_has_the_tables_that_the_code_writes() -> None:
    written = dict(reference.sections())
    assert list(texts()) == list(written)
    for title, text in texts().items():
        assert re.findall(r"^\|.*\n", text, re.MULTILINE) == written[title].splitlines(keepends=True), (
            f"{title}: see python -m acme_iid.config.reference"
        )


def test_the_page_says_what_each_provisioner_needs() -> None:
    needed = {f"[[provisioner]] of type {type_}": cloud.owners for type_, cloud in CLOUD_TYPES.items()}
    needed["[[provisioner]] of type ACME"] = ("challenges",)
    said = {title: re.search(r"^One needs (.*)\.$", text, re.MULTILINE) for title, text in texts().items()}
    assert {title: tuple(re.findall(r"`(\w+)`", found[1])) for title, found in said.items() if found} == needed


def expected() -> Iterator[tuple[str, list[str]]]:
    """The sections, and the keys that the readers take there."""
    lifetimes = profiles.lifetime_settings(None)
    yield "[ca]", described(*settings_of(CASettings), *lifetimes, *ca_toml.KEY_SETTINGS)
    yield "[server]", [field.name for field in fields(ServerSettings)]
    yield "[status]", [field.name for field in fields(StatusSettings)]
    yield "[metrics]", [field.name for field in fields(MetricsSettings)]
    yield "[admin]", described(*settings_of(AdminSettings))
    yield "[[admin.role]]", described(*settings_of(RoleSettings))
    yield "[store]", [field.name for field in fields(StoreSettings)]
    yield "[limits]", [field.name for field in fields(Limits)]
    yield "[retention]", [field.name for field in fields(Retention)]
    yield "[[sink]]", described(*settings_of(SinkSettings))
    yield "[profile.NAME]", described(*profiles.SETTINGS, *lifetimes)
    common = provisioner_settings.of_instances(next(iter(CLOUD_TYPES.values())))
    yield "[[provisioner]]", described(*provisioner_settings.of_all())
    yield "[[provisioner]] of every cloud", described(*common)
    for type_, cloud in CLOUD_TYPES.items():
        yield f"[[provisioner]] of type {type_}", described(*cloud.settings)
    yield "[[provisioner]] of type ACME", described(*provisioner_settings.of_hosts())


def test_each_setting_has_a_row_and_each_row_is_a_setting() -> None:
    assert {title: keys(rows) for title, rows in sections().items()} == dict(expected())


@pytest.mark.parametrize("type_", provisioner_settings.types())
def test_a_provisioner_has_a_field_for_each_common_setting(type_: str) -> None:
    if type_ in CLOUD_TYPES:
        own, settings = {"demands", "keys"}, provisioner_settings.of_instances(CLOUD_TYPES[type_])
        assert {field.name for field in fields(Provisioner)} - own == {
            entry.key for entry in (*provisioner_settings.of_all(), *settings)
        }
    else:
        settings = provisioner_settings.of_hosts()
        assert {field.name for field in fields(HostProvisioner)} == {"name", *(entry.key for entry in settings)}


def test_each_field_of_the_settings_is_described_or_composed() -> None:
    assert {field.name for field in fields(CASettings)} - {entry.key for entry in settings_of(CASettings)} == {
        "lifetimes", "keys"
    }  # fmt: skip


def test_a_value_that_the_page_shows_as_the_default_is_the_default() -> None:
    ca = dict.fromkeys(("[ca]", "[server]", "[store]", "[limits]", "[retention]"), "")
    ca |= {"[ca]": 'name = "x"\n', "[server]": 'url = "https://ca.local"\n'}

    def parsed(tables: dict[str, str]) -> Config:
        return ca_toml.parse("".join(map("\n".join, tables.items())).encode(), Path("/x"))

    tried = 0
    for title, text in ca.items():
        for row in sections()[title]:
            if re.fullmatch(r"(?:[0-9]|sqlite:)[\w./:]*|off|true|false", row[2]):
                value = row[2] if re.fullmatch(r"[0-9]+|true|false", row[2]) else f'"{row[2]}"'
                assert parsed({**ca, title: f"{text}{keys([row])[0]} = {value}\n"}) == parsed(ca), row
                tried += 1
    assert tried == 18


@pytest.mark.parametrize("type_", provisioner_settings.types())
def test_a_description_is_a_sentence(type_: str) -> None:
    for entry in (*SECTIONS, *provisioner_settings.of_all(), *provisioner_settings.of_type(type_)):
        assert re.fullmatch(r"[A-Z].*\.", entry.meaning), entry.key
        assert not entry.value.endswith("."), entry.key
