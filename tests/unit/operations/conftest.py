"""The authority of a CA that does not serve, with a home of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from acting import authority_of, now
from running import CA

from acme_iid.authority import Authority
from acme_iid.operations import issuers


@pytest.fixture(scope="session")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA's home, which is copied."""
    ca = CA(tmp_path_factory.mktemp("pattern") / "ca")
    ca.init(in_a_file=True)
    return ca.home


@pytest.fixture
def home(pattern: Path, tmp_path: Path) -> Path:
    """A CA's home."""
    return shutil.copytree(pattern, tmp_path / "home")


@pytest.fixture
def authority(home: Path, store_url: str) -> Iterator[Authority]:
    """The CA's, with a new store in which its issuer signs."""
    with authority_of(home, store_url) as made:
        issuers.begin(made.database, made.ca, now())
        yield made
