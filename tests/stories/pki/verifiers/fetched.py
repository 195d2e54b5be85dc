"""Programs and libraries in versions that are not this environment's, from the Python package index."""

from __future__ import annotations

import sys
from pathlib import Path

from programs import system


def packages(folder: Path, *requirements: str) -> Path:
    """Install packages, each of one version and without what it depends on, into a folder of their own."""
    done = system(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, *requirements)
    assert done.returncode == 0, done.stderr
    return folder
