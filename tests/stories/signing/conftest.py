"""Keys in tokens and behind programs, for the folder's stories."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from signing import programs, softhsm
from signing.programs import Program
from signing.softhsm import Shim, SoftHSM


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that wait longest, so that all others run beside them."""
    items.sort(key=lambda item: item.get_closest_marker("waits") is None)


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SoftHSM:
    """A SoftHSM with an empty token."""
    return softhsm.make(tmp_path / "softhsm", monkeypatch)


@pytest.fixture(scope="session")
def shim_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The module that fails on demand."""
    return softhsm.build_shim(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def shim(shim_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shim:
    """The same for one test."""
    return softhsm.use_shim(shim_library, tmp_path, monkeypatch)


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    """A program with a P-256 key."""
    made = programs.make(tmp_path / "program")
    yield made
    made.close()
