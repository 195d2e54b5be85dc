"""The authority of a CA that does not serve: its use cases are called here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from acting import authority_of
from running import CA

from acme_iid.authority import Authority


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA's home, of which tests use no more than its keys and settings."""
    ca = CA(tmp_path_factory.mktemp("authority") / "ca")
    ca.init()
    return ca.home


@pytest.fixture
def authority(home: Path, store_url: str) -> Iterator[Authority]:
    """The CA's, with a new store."""
    with authority_of(home, store_url) as made:
        yield made
