"""packaging/build as somebody who has cloned the repository runs it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
CACHE = REPOSITORY / "build" / "cache"
"""Where packaging/build keeps what it has downloaded, if nobody says where; all builds of the tests share it."""
OUTSIDE = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
"""The environment of somebody whose Python finds nothing of the checkout."""


def clone(target: Path, umask: int = 0o022) -> Path:
    """A clone of the last commit."""
    subprocess.run(["git", "clone", "--quiet", REPOSITORY, target], check=True, umask=umask)
    return target


def build(
    source: Path,
    out: Path,
    *kinds: str,
    env: dict[str, str] | None = None,
    under: Sequence[str] = (),
    umask: int = 0o022,
) -> str:
    """Build; returns what was said.

    :param env: what the builder's environment has besides.
    :param under: the program that runs the build, with its arguments.
    """
    done = subprocess.run(
        [*under, str(source / "packaging" / "build"), *kinds, "--out", str(out), "--cache", str(CACHE)],
        env={**OUTSIDE, **(env or {})},
        umask=umask,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def sums(folder: Path) -> dict[str, str]:
    """The files of a folder, each with its SHA-256."""
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def tools() -> Path:
    """The environment with the build's tools, after a build."""
    return max(CACHE.glob("tools-*/made"), key=lambda made: made.stat().st_mtime).parent


def install(environment: Path, *wheels: Path) -> Path:
    """Make an environment with the client's pinned libraries and some wheels, without a network; returns its bin."""
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    wheelhouse = subprocess.run(
        [REPOSITORY / "packaging" / "wheelhouse", "client", python],
        env={**OUTSIDE, "BUILD_CACHE": str(CACHE)}, check=True, stdout=subprocess.PIPE, text=True,
    ).stdout.strip()  # fmt: skip
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(environment / "bin" / "python"), "install", "--quiet",
           "--no-compile", "--no-index", "--no-deps"]  # fmt: skip
    pinned = ["--require-hashes", "--requirement", str(REPOSITORY / "packaging" / "requirements" / "client.txt")]
    subprocess.run([*pip, "--find-links", wheelhouse, *pinned], env=OUTSIDE, check=True)
    subprocess.run([*pip, *map(str, wheels)], env=OUTSIDE, check=True)
    return environment / "bin"


def run(*command: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command of what was built."""
    whole = OUTSIDE if env is None else env
    return subprocess.run([*map(str, command)], env=whole, capture_output=True, text=True, timeout=120, check=False)
