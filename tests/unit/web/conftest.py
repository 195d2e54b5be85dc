"""Fixtures for tests on the wire."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from running import CA
from wire import Account


@pytest.fixture
def account(shared_ca: CA) -> Account:
    return shared_ca.account()


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CA]:
    """A CA whose provisioner lets a proof serve for a day, which serves throughout."""
    ca = CA(tmp_path_factory.mktemp("lasting") / "ca")
    ca.init("--proof-lifetime", "24h")
    ca.start()
    yield ca
    if ca.process is not None:
        ca.stop()
