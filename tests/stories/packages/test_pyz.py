"""The one file: a whole order with each Python that is here, and a sentence with any other."""

from __future__ import annotations

import json
import os
import subprocess
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine import Machine, ec2_machine
from packages import building
from running import CA

from acme_iid.simulator import aws

CARRIED = ("3.11", "3.12", "3.13", "3.14")


def others() -> Iterator[Path]:
    """The Pythons of this machine: Debian's, and what pyenv has."""
    yield Path("/usr/bin/python3")
    yield from sorted(Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob("versions/*/bin/python"))


def version(python: Path) -> str:
    script = "import sys; print('%d.%d' % sys.version_info[:2])"
    return subprocess.run([python, "-c", script], check=True, capture_output=True, text=True).stdout.strip()


HERE = {version(python): python for python in others()}


@pytest.fixture(scope="session")
def pyz(built: Path) -> Path:
    (file,) = built.glob("*.pyz")
    return file


@pytest.fixture
def vm(instance: aws.Instance, tmp_path: Path) -> Iterator[Machine]:
    with ec2_machine(tmp_path / "vm", instance) as made:
        yield made


def run(python: Path, pyz: Path, vm: Machine, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    # Nothing but Python: no library of the tests' own environment.
    env = {"PATH": "/usr/bin:/bin", "HOME": str(vm.folder), "LC_ALL": "C.UTF-8", **vm.environment}
    return building.run(python, pyz, *arguments, env=env)


@pytest.mark.parametrize("number", [number for number in HERE if number in CARRIED])
def test_a_vm_with_nothing_but_this_python_orders(number: str, pyz: Path, vm: Machine, shared_ca: CA) -> None:
    python = HERE[number]
    begun = time.monotonic()
    first = run(python, pyz, vm, "--version")
    seconds = time.monotonic() - begun
    assert first.returncode == 0, first.stderr
    begun = time.monotonic()
    assert run(python, pyz, vm, "--version").returncode == 0
    print(f"{number}: first start {seconds:.1f} s, then {time.monotonic() - begun:.1f} s")
    trust = ("bootstrap", "--ca-url", shared_ca.url, "--fingerprint", shared_ca.fingerprint)
    for arguments in (trust, ("order", "foo.local", vm.crt, vm.key), ("renew", "--force", vm.crt, vm.key)):
        done = run(python, pyz, vm, *arguments)
        assert done.returncode == 0, done.stderr
    vm.check_pair()


@pytest.mark.parametrize("number", ["pypy3", *(number for number in HERE if number not in CARRIED)])
def test_any_other_python_gets_a_sentence(number: str, pyz: Path, vm: Machine) -> None:
    done = run(HERE.get(number, Path("/usr/bin/pypy3")), pyz, vm, "--version")
    assert (done.returncode, done.stdout) == (12, "")
    assert done.stderr.startswith(f"{pyz.name} needs CPython 3.11, 3.12, 3.13, 3.14; this is ")
    assert done.stderr.count("\n") == 1
    assert list(vm.folder.iterdir()) == []


def test_the_file_is_small_and_named_by_version_and_machine(pyz: Path) -> None:
    assert pyz.name == f"acme-iid-0.1.0-linux-{os.uname().machine}.pyz"
    assert pyz.stat().st_size < 40_000_000
    assert os.access(pyz, os.X_OK)


def test_it_carries_only_what_the_client_needs(pyz: Path) -> None:
    """And each of the Pythons has all of it."""
    with zipfile.ZipFile(pyz) as archive:
        index = json.loads(archive.read("index.json"))
    expected = {"acme", "acme_iid", "certifi", "cffi", "charset_normalizer", "click", "cryptography", "idna", "josepy",
                "pycparser", "pyjwt", "pyopenssl", "pyrfc3339", "requests", "urllib3"}  # fmt: skip
    assert sorted(index["wheels"]) == ["cp311", "cp312", "cp313", "cp314"]
    for wheels in index["wheels"].values():
        assert {name.split("-")[0].lower() for name in wheels} - {"typing_extensions"} == expected
