"""Fixtures for tests on the wire."""

from __future__ import annotations

import pytest
from running import CA
from wire import Account


@pytest.fixture
def account(shared_ca: CA) -> Account:
    return shared_ca.account()
