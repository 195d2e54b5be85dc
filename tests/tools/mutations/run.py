"""Take each security guard away, one at a time, and see the test that watches it fail.

``tox -e mutate [NAME...]``. Each ``[[mutation]]`` of the .toml files here names a file, the text to replace in it
(which must be there exactly once) and the tests that must then fail; without the change they must pass. The tree
is copied, so nothing here changes the checkout.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
GUARDS = sorted(Path(__file__).parent.glob("*.toml"))
"""A file a room."""
WINGS = ("support", "stories", "suites", "tools")
"""The folders of the tests' own modules."""
TIMEOUT = 300
"""Seconds that one mutation's tests may take; a guard whose absence hangs the tests counts as not caught."""


@dataclass(frozen=True)
class Mutation:
    """A guard taken away: ``old`` becomes ``new`` in ``file``, and ``tests`` must fail."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def load() -> list[Mutation]:
    """The committed mutations, each with a name of its own."""
    entries = [entry for file in GUARDS for entry in tomllib.loads(file.read_text())["mutation"]]
    found = [Mutation(**{**entry, "tests": tuple(entry["tests"])}) for entry in entries]
    assert len({mutation.name for mutation in found}) == len(found), "two mutations share a name"
    return found


SOURCES = (
    *("acme_iid", "client", "docs", "packaging", "rfc-notes", "tests"),
    *("CHANGELOG.md", "CONTRIBUTING.md", "README.md", "SECURITY.md"),
    *("pyproject.toml", "setup.cfg", "tox.ini"),
)


def copy(target: Path) -> None:
    """The source and the tests, as they are in the working tree."""
    for name in SOURCES:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__", ".hypothesis"))
        elif source.exists():
            shutil.copy(source, target / name)


def pytest(tree: Path, tests: tuple[str, ...], workers: tuple[str, ...] = (), timeout: int = TIMEOUT) -> int:
    """Run tests against the code in ``tree``; pytest's exit code.

    :param workers: options of pytest-xdist.
    """
    environment = {
        **os.environ,
        # Before the installed package: the copy is what is tested, in child processes too.
        "PYTHONPATH": os.pathsep.join(map(str, [tree, tree / "client", *(tree / "tests" / wing for wing in WINGS)])),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--no-header", *workers, *tests]
    try:
        return subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, timeout=timeout, check=False
        ).returncode
    except subprocess.TimeoutExpired:
        return -1


def check(mutation: Mutation) -> str:
    """What is wrong with a mutation, or an empty text if its tests caught it."""
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        tree = Path(folder)
        copy(tree)
        file = tree / mutation.file
        text = file.read_text()
        if text.count(mutation.old) != 1:
            return f"its text stands {text.count(mutation.old)} times in {mutation.file}"
        file.write_text(text.replace(mutation.old, mutation.new))
        code = pytest(tree, mutation.tests)
    if code == 1:
        return ""
    return {0: "NOT CAUGHT: its tests pass without the guard", -1: "its tests hang"}.get(
        code, f"pytest ended with {code}: were its tests found?"
    )


def main(names: list[str]) -> int:
    """Check the mutations called ``names``, or all; the process's exit code."""
    wanted = [mutation for mutation in load() if not names or mutation.name in names]
    print(f"{len(wanted)} mutations; first their tests without any.", flush=True)
    tests = tuple(sorted({test for mutation in wanted for test in mutation.tests}))
    if pytest(REPOSITORY, tests, ("-n", "auto"), 1800) != 0:
        print("The tests do not pass on the unchanged tree.")
        return 1
    failures = 0
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for number, (mutation, fault) in enumerate(zip(wanted, pool.map(check, wanted), strict=True), 1):
            failures += bool(fault)
            print(f"[{number}/{len(wanted)}] {mutation.name}: {fault or 'caught'}", flush=True)
    print(f"{len(wanted) - failures} caught, {failures} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
