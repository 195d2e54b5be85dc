"""Fixtures: what packaging/build makes of the last commit, once for all tests and processes of a run."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest
from packages import building


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder with everything that ``packaging/build all`` makes."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "packages"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        out = folder / "out"
        if not (folder / "made").exists():
            (folder / "made").write_text(building.build(building.clone(folder / "clone"), out, "all"))
    return out


@pytest.fixture(scope="session")
def debs(built: Path) -> Path:
    """A folder with the Debian packages for Debian 12."""
    with (built.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        out = built.parent / "debs"
        if not out.exists():
            made = built.parent / "debs-made"
            building.build(built.parent / "clone", made, "deb")
            made.rename(out)
    return out
