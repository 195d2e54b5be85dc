"""Fixtures for tests of PostgreSQL: a database of one's own, and the store in it."""

from __future__ import annotations

from collections.abc import Iterator

import postgresql
import pytest

from acme_iid.store.database import open_store
from acme_iid.store.postgresql import PostgreSQL


@pytest.fixture
def url() -> str:
    return postgresql.cluster().create()


@pytest.fixture
def database(url: str) -> Iterator[PostgreSQL]:
    opened = open_store(url)
    assert isinstance(opened, PostgreSQL)
    yield opened
    opened.close()
