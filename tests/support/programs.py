"""Programs of the system, as tests run them; .ci/run installs them, and one that is missing makes its tests fail."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(sys.executable).with_name("acme-iid")
EXAMPLES = Path(__file__).resolve().parents[2] / "client" / "examples"


def system(
    *command: str | Path, env: dict[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program of the system with this environment's acme-iid on the PATH."""
    path = f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [*map(str, command)],
        env={**os.environ, "PATH": path, "LANG": "C.UTF-8", **(env or {})},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
