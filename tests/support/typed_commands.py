"""acme-iid-ca as users of this machine type it who may not open a CA's home, and what it says to them."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import open_program
from operators import User
from running import SECONDS, Outcome

_TIMES = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_RANDOM = re.compile(r"b-[0-9a-f]{12}")


def command(*arguments: str | Path) -> list[str]:
    """The program and its arguments."""
    return [open_program.python(), "-m", "acme_iid.cli", *map(str, arguments)]


def environment(home: Path | None = None, env: Mapping[str, str] | None = None) -> dict[str, str]:
    """What the program finds: a home if one is given, and otherwise none that is there."""
    shown = {name: value for name, value in os.environ.items() if not name.startswith("ACME_IID")}
    named = {} if home is None else {"ACME_IID_CA_HOME": str(home)}
    return {**shown, "HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1",
            **open_program.python_path(), **named, **(env or {})}  # fmt: skip


def typed(
    user: User,
    *arguments: str | Path,
    home: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str = "",
) -> Outcome:
    """Run acme-iid-ca as a user, whatever comes of it."""
    done = subprocess.run(
        command(*arguments), input=stdin, env=environment(home, env), capture_output=True, text=True, cwd="/",
        timeout=SECONDS, check=False, **user.who(),
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return Outcome(done.returncode, done.stdout, done.stderr)


def masked(text: str) -> str:
    """A text in which times, and the ids of acts on many, are all the same: two runs differ in them."""
    return _RANDOM.sub("b-000000000000", _TIMES.sub("2000-01-01T00:00:00Z", text))
