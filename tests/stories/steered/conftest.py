"""CAs whose servers answer operators."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from operators import Steered
from running import CA
from strangers import Ground, ground


@pytest.fixture(scope="module")
def open_ground() -> Iterator[Ground]:
    """Directories that other users can reach, unlike pytest's own."""
    with ground() as place:
        yield place


def made(folder: Path, socket: Path) -> Steered:
    """A CA in a folder, whose store is a file."""
    ca = CA(folder / "ca")
    ca.init(in_a_file=True)
    return Steered(ca, socket)


@pytest.fixture
def steered(tmp_path: Path, open_ground: Ground) -> Iterator[Steered]:
    """A CA of the test's own, not configured and not started."""
    one = made(tmp_path, open_ground.own / f"{tmp_path.name[:40]}.sock")
    yield one
    if one.ca.process is not None:
        one.ca.kill()
