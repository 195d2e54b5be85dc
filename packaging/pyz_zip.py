"""Put the client's wheels for several Pythons into one file: pyz_zip.py OUT WHEEL LIST WHEELHOUSE MACHINE PYTHON...

WHEEL is ours, LIST the pinned list of its libraries. packaging/pyz calls it, in the environment of the build's tools.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import time
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.tags import Tag, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename

GLIBC = (2, 28)
"""The oldest that the wheels run with; packaging/wheelhouse has the same."""
SHEBANG = b"#!/usr/bin/env -S python3 -I\n"
"""-I: nothing of the environment, nor of a directory of a user's own packages, is read before the cache is judged."""
STARTED = (
    "acme_iid_client/__init__.py",
    "acme_iid_client/errors.py",
    "acme_iid_client/one_file.py",
    "acme_iid_client/storage/__init__.py",
    "acme_iid_client/storage/descriptors.py",
    "acme_iid_client/storage/entries.py",
)
"""What runs before anything is unpacked."""


def main(out: Path, wheel: Path, pinned: Path, wheelhouse: Path, machine: str, pythons: list[str]) -> None:
    """Write the file."""
    wheels = {python: [wheel, *needed(pinned, wheelhouse, machine, python)] for python in pythons}
    index = {
        "version": str(parse_wheel_filename(wheel.name)[1]),
        "machine": machine,
        "glibc": GLIBC,
        "pythons": pythons,
        "wheels": {
            f"cp{python.replace('.', '')}": {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
            for python, files in wheels.items()
        },
    }
    with out.open("wb") as file:
        file.write(SHEBANG)
        with zipfile.ZipFile(file, "w") as archive, zipfile.ZipFile(wheel) as ours:
            _add(archive, "__main__.py", Path(__file__).with_name("pyz_main.py").read_bytes())
            _add(archive, "index.json", json.dumps(index, indent=1, sort_keys=True).encode())
            for name in STARTED:
                _add(archive, name, ours.read(name))
            for path in sorted({path for files in wheels.values() for path in files}):
                _add(archive, f"wheels/{path.name}", path.read_bytes())
    out.chmod(0o755)


def needed(pinned: Path, wheelhouse: Path, machine: str, python: str) -> Iterator[Path]:
    """The wheels of the pinned list that a Python needs.

    :raises LookupError: if the wheelhouse lacks one.
    """
    files = [(path, *parse_wheel_filename(path.name)) for path in sorted(wheelhouse.glob("*.whl"))]
    best = {tag: number for number, tag in enumerate(_tags(machine, python))}
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "platform_machine": machine,
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "os_name": "posix",
        "platform_system": "Linux",
        "sys_platform": "linux",
    }
    for line in re.findall(r"^([a-z0-9].*?) *\\?$", pinned.read_text("utf-8"), re.MULTILINE):
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate(environment):
            continue
        fitting = [
            (min(best[tag] for tag in tags if tag in best), path)
            for path, name, version, _, tags in files
            if name == canonicalize_name(requirement.name) and version in requirement.specifier and tags & best.keys()
        ]
        if not fitting:
            raise LookupError(f"the wheelhouse has no {line} for Python {python} on {machine}")
        yield min(fitting)[1]


def _tags(machine: str, python: str) -> Iterable[Tag]:
    major, minor = map(int, python.split("."))
    platforms = [f"manylinux_2_{number}_{machine}" for number in range(GLIBC[1], 4, -1)]
    yield from cpython_tags((major, minor), [f"cp{major}{minor}"], platforms)
    yield Tag("py3", "none", "any")


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, time.gmtime(int(os.environ["SOURCE_DATE_EPOCH"]))[:6])
    entry.external_attr = 0o100644 << 16
    # Wheels are packed already.
    entry.compress_type = zipfile.ZIP_STORED if name.startswith("wheels/") else zipfile.ZIP_DEFLATED
    archive.writestr(entry, content)


if __name__ == "__main__":
    _, out, wheel, pinned, wheelhouse, machine, *pythons = sys.argv
    main(Path(out), Path(wheel), Path(pinned), Path(wheelhouse), machine, pythons)
