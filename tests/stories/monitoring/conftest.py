"""CAs that tell their numbers, and Debian's Prometheus that reads them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import scraping
from running import CA


@pytest.fixture
def measured(tmp_path: Path) -> Iterator[tuple[CA, str]]:
    """A CA whose server tells its numbers, not started, and where; its store is a file."""
    ca = CA(tmp_path / "ca")
    ca.init(in_a_file=True)
    yield ca, scraping.turn_on(ca)
    if ca.process is not None:
        ca.kill()
