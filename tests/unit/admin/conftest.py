"""A CA's home, a store with a few things in it, and the admin API over both."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import issued
import pytest
from asking import Api
from running import CA

from acme_iid.store.database import Database


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
def now() -> int:
    """The time of the API."""
    return int(time.time())


@pytest.fixture
def database(store_url: str, now: int) -> Iterator[Database]:
    """A store with an issuer and the account ``a``."""
    with issued.prepared(store_url, now - 7 * 86400) as database:
        yield database


@pytest.fixture
def api(home: Path, database: Database, now: int) -> Iterator[Api]:
    """The admin API of that CA."""
    made = Api(home, database, now)
    yield made
    made.dispatcher.close()
