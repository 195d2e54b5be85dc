"""Fixtures: real CAs, served over TLS."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import ACCOUNT, CA

from acme_iid.simulator import aws


@pytest.fixture(scope="session")
def shared_ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CA]:
    """A CA that serves throughout; tests keep apart by their accounts and instances."""
    ca = CA(tmp_path_factory.mktemp("shared") / "ca")
    ca.init()
    ca.start()
    yield ca
    if ca.process is not None:
        ca.stop()


@pytest.fixture
def own_ca(tmp_path: Path) -> Iterator[CA]:
    """A CA of the test's own, made but not started."""
    ca = CA(tmp_path / "ca")
    ca.init()
    yield ca
    if ca.process is not None:
        ca.kill()


@pytest.fixture
def instance() -> aws.Instance:
    """A new instance of the account that the provisioner admits."""
    return aws.Instance(account=ACCOUNT)


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder with documents that real clouds signed."""
    folder = os.environ.get("ACME_IID_SAMPLES")
    if not folder:
        pytest.skip("ACME_IID_SAMPLES names no folder with real documents")
    found = Path(folder)
    assert list(found.glob("*.json")), f"{found} holds no documents"
    return found
