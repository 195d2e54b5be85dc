"""The settings that the pages show are settings: ca.toml with them is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from operators import OperatorCA
from pages import Block, blocks

from acme_iid.config import ca_toml

CA = """
[ca]
name = "My CA"
domains = ["local"]
[server]
url = "https://ca.local"
"""
PROVISIONER = """
[[provisioner]]
name = "AWS"
type = "AWS"
accounts = ["123456789042"]
"""


@pytest.mark.parametrize("block", list(blocks("toml")), ids=lambda block: f"{block.page}-{block.text.split()[0]}")
def test_a_block_of_settings_is_read(block: Block, tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "store-url").write_text("postgresql://acme_iid:secret@db.internal/acme_iid")
    OperatorCA("operators").write(tmp_path)
    before = CA + PROVISIONER if block.name == "provisioner" else CA
    config = ca_toml.parse((before + block.text).encode(), tmp_path)
    assert config != ca_toml.parse(before.encode(), tmp_path) or "[limits]" in block.text
