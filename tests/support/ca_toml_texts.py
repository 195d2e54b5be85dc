"""Texts of ca.toml, read as the server reads them, or refused with a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from acme_iid.config import ca_toml
from acme_iid.config.settings import Config
from acme_iid.config.table import ConfigError

HOME = Path("/nowhere/ca")
MINIMAL = """
[ca]
name = "My CA"
domains = ["local", "Internal"]
[server]
url = "https://ca.local"
"""
PROVISIONER = """
[[provisioner]]
name = "AWS IID Provisioner"
type = "AWS"
accounts = ["123456789042"]
"""


PROFILE = """[profile.a]
description = "For a test"
"""


def parse(text: str) -> Config:
    return ca_toml.parse(text.encode(), HOME)


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    message = str(caught.value)
    assert message.startswith("/nowhere/ca/ca.toml")
    return message.removeprefix("/nowhere/ca/ca.toml").removeprefix(": ")
