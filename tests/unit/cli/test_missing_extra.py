"""acme-iid-ca where only the client's libraries are installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from running import CA

# What pip leaves out without the extra, as Python finds it: not at all.
ABSENT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("flask", "aiohttp", "sqlite_utils", "tomlkit", "dns", "psycopg"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""


@pytest.mark.parametrize(("command", "module"), [("serve", "dns"), ("provisioner", "tomlkit")])
def test_a_missing_extra_is_named(command: str, module: str, own_ca: CA, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(ABSENT)
    arguments = [command] if command == "serve" else [command, "list"]
    done = subprocess.run(
        [sys.executable, "-m", "acme_iid.cli", "--home", str(own_ca.home), *arguments],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert f"needs the module {module}" in done.stderr
    assert "pip install 'FROM[server]', where FROM is the folder or wheel" in done.stderr


@pytest.mark.parametrize("command", [("account", "show"), ("account", "deactivate"), ("eab", "revoke")])
def test_h_asks_for_help_where_an_argument_may_begin_with_a_dash(command: tuple[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "acme_iid.cli", *command, "-h"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: ")
