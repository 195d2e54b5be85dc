"""Other people's servers in the versions of today, built from the Go module proxy.

Debian's are years older. Versions are pinned (the toolchain compares what it fetches with the public checksum
database), each is built once, and the programs stay in ``~/.cache/acme-iid-benchmarks``. CI builds none of them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Build:
    """A program of a Go module.

    :ivar package: of its main function.
    :ivar version: of the module, without the letter v.
    """

    package: str
    version: str

    def program(self) -> Path:
        """The program, which is built unless it is there.

        :raises SystemExit: if it cannot be built, with what the toolchain says.
        """
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "acme-iid-benchmarks"
        name = self.package.rpartition("/")[2]
        program = folder / f"{name}-{self.version}"
        if not program.exists():
            folder.mkdir(parents=True, exist_ok=True)
            print(f"building {self.package}@v{self.version}, once", file=sys.stderr)
            with tempfile.TemporaryDirectory(dir=folder) as made:
                self._install(made)
                (Path(made) / name).replace(program)
        return program

    def _install(self, folder: str) -> None:
        go = shutil.which("go")
        if go is None:
            raise SystemExit(f"{self.package} is built by Go 1.25 or later, and there is no 'go' on the PATH")
        # Without C, so that it takes no libraries for smart cards; with the toolchain that is here, or not at all.
        env = os.environ | {"GOBIN": folder, "GOFLAGS": "", "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}
        done = subprocess.run(
            [go, "install", f"{self.package}@v{self.version}"],
            env=env, cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"{self.package}@v{self.version} was not built:\n{done.stderr[-2000:]}")


PEBBLE = Build("github.com/letsencrypt/pebble/v2/cmd/pebble", "2.10.1")
CHALLTESTSRV = Build("github.com/letsencrypt/pebble/v2/cmd/pebble-challtestsrv", PEBBLE.version)
STEP_CA = Build("github.com/smallstep/certificates/cmd/step-ca", "0.30.2")
