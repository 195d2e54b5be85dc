"""Fixtures: the handbook as packaging/handbook makes it, and a browser."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import chromium
import pytest
from chromium import Chromium
from pages import REPOSITORY


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the site, made without a warning."""
    folder, cache = tmp_path_factory.mktemp("site"), REPOSITORY / "build" / "cache"
    command = [str(REPOSITORY / "packaging" / "handbook"), "--out", str(folder), "--cache", str(cache)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with chromium.browser(tmp_path_factory.mktemp("profile")) as made:
        yield made
