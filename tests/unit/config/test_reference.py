"""The reference of ca.toml is what the settings' descriptions say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields

import pytest
from pages import page, table

from acme_iid.config import provisioner_settings, reference
from acme_iid.policy.clouds import CLOUD_TYPES
from acme_iid.policy.hosts import HostProvisioner
from acme_iid.policy.instances import Provisioner
from acme_iid.policy.setting import Setting


def sections() -> dict[str, list[list[str]]]:
    """The rows of each section of the page."""
    titles = re.split(r"^## (.+)\n", page("docs/reference.md"), flags=re.MULTILINE)[1:]
    return {title: table(text, "key") for title, text in zip(titles[::2], titles[1::2], strict=True)}


def keys(rows: list[list[str]]) -> list[str]:
    """The keys that rows are about; those of one row from the first to the last."""
    return [key for row in rows for key in re.findall(r"`([^`]+)`", row[0])]


def described(*settings: Setting) -> list[str]:
    """The keys of descriptions, those of registers from the first to the last."""
    found = ((entry.keys[0], entry.keys[-1]) if entry.keys else (entry.key,) for entry in settings)
    return list(dict.fromkeys(key for several in found for key in several))


def test_the_page_is_what_the_code_writes() -> None:
    assert page("docs/reference.md") == reference.page(), (
        "write it anew: python -m acme_iid.config.reference > docs/reference.md"
    )


def expected() -> Iterator[tuple[str, list[str]]]:
    """The sections, and the keys that the readers take there."""
    common = provisioner_settings.of_instances(next(iter(CLOUD_TYPES.values())))
    yield "[[provisioner]]", described(*provisioner_settings.of_all())
    yield "[[provisioner]] of every cloud", described(*common)
    for type_, cloud in CLOUD_TYPES.items():
        yield f"[[provisioner]] of type {type_}", described(*cloud.settings)
    yield "[[provisioner]] of type ACME", described(*provisioner_settings.of_hosts())


def test_each_setting_has_a_row_and_each_row_is_a_setting() -> None:
    assert {title: keys(rows) for title, rows in sections().items()} == dict(expected())


@pytest.mark.parametrize("type_", provisioner_settings.types())
def test_a_provisioner_has_a_field_for_each_setting_that_is_not_its_clouds_own(type_: str) -> None:
    if type_ in CLOUD_TYPES:
        own, settings = {"demands", "keys"}, provisioner_settings.of_instances(CLOUD_TYPES[type_])
        assert {field.name for field in fields(Provisioner)} - own == {
            entry.key for entry in (*provisioner_settings.of_all(), *settings)
        }
    else:
        settings = provisioner_settings.of_hosts()
        assert {field.name for field in fields(HostProvisioner)} == {"name", *(entry.key for entry in settings)}


@pytest.mark.parametrize("type_", provisioner_settings.types())
def test_a_description_is_a_sentence(type_: str) -> None:
    for entry in (*provisioner_settings.of_all(), *provisioner_settings.of_type(type_)):
        assert re.fullmatch(r"[A-Z].*\.", entry.meaning), entry.key
        assert not entry.value.endswith("."), entry.key
