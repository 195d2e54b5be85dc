"""The program where every user of the machine may reach it.

A clone and its environment may lie where only root may go (tox's folder is such a one). Both are mounted once more in a
folder that all may pass through, until this process ends.
"""

from __future__ import annotations

import atexit
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parents[2]


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="open-program-"))
    folder.chmod(0o755)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name, what in (("program", _REPOSITORY), ("python", Path(sys.prefix))):
        place = folder / name
        place.mkdir()
        subprocess.run(["mount", "--bind", what, place], check=True)
        atexit.register(_unmount, place)
    return folder


def _unmount(place: Path) -> None:
    subprocess.run(["umount", "--lazy", place], check=False)


def python() -> str:
    """This environment's Python."""
    return str(_folder() / "python" / "bin" / Path(sys.executable).name)


def python_path() -> dict[str, str]:
    """The variable by which it finds the program."""
    program = _folder() / "program"
    return {"PYTHONPATH": f"{program}:{program / 'client'}"}
