"""The one file: what it unpacks is in a cache that nobody else can write, or it says why it does not run.

The file here has this checkout's beginning and, in place of the client, a program that tells what it sees. The real
file is made and run in tests/stories/packages.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import disks
import pytest
from strangers import Ground, as_nobody, ground

REPOSITORY = Path(__file__).resolve().parents[3]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
TAG = f"cp{sys.version_info[0]}{sys.version_info[1]}"
PROGRAM = """
import os, sys
def main():
    print("started", os.path.dirname(os.path.dirname(os.path.dirname(__file__))), *sys.argv[1:], flush=True)
    if "wait" in sys.argv:
        sys.stdin.read()
"""
PLANTED = "print('planted', flush=True)\n"


def make(folder: Path, version: str = "1.0", machine: str = os.uname().machine) -> Path:
    """The file, of one small wheel."""
    wheel = folder / f"acme_iid-{version}-py3-none-any.whl"
    package = REPOSITORY / "client" / "acme_iid_client"
    with zipfile.ZipFile(wheel, "w") as packed:
        packed.writestr("acme_iid_client/cli/__init__.py", PROGRAM)
        packed.writestr(f"acme_iid-{version}.data/data/share/page", "")
        for name in ("__init__", "errors", "one_file", "storage/__init__", "storage/descriptors", "storage/entries"):
            packed.write(package / f"{name}.py", f"acme_iid_client/{name}.py")
    (folder / "none.txt").write_text("")
    file = folder / f"acme-iid-{version}.pyz"
    subprocess.run(
        [sys.executable, REPOSITORY / "packaging" / "pyz_zip.py", file, wheel, folder / "none.txt", folder, machine,
         *PYTHONS],
        env={**os.environ, "SOURCE_DATE_EPOCH": str(int(time.time()))}, check=True,
    )  # fmt: skip
    return file


def start(file: Path, env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, file, *arguments], env=env, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("file"))


@pytest.fixture
def machine() -> Iterator[Ground]:
    with ground() as made:
        yield made


def trees(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "acme-iid-pyz").iterdir())


def test_it_is_unpacked_once_for_its_user_alone(file: Path, machine: Ground) -> None:
    env = {"HOME": str(machine.own)}
    first = start(file, env, "order", "foo.local")
    cache = machine.own / ".cache" / "acme-iid-pyz"
    (tree,) = cache.iterdir()
    assert first.stdout == f"started {tree} order foo.local\n", first.stderr
    assert tree.name.startswith(f"1.0-{TAG}-")
    assert [stat.S_IMODE(path.stat().st_mode) for path in (machine.own / ".cache", cache, tree)] == [0o700] * 3
    before = tree.stat().st_ino
    assert start(file, env, "again").stdout == f"started {tree} again\n"
    assert tree.stat().st_ino == before
    assert not (tree / "acme_iid-1.0.data").exists()


@pytest.mark.parametrize(
    ("env", "place"),
    [
        ({"CACHE_DIRECTORY": "{own}/unit:{own}/other", "XDG_CACHE_HOME": "{own}/xdg"}, "unit"),
        ({"XDG_CACHE_HOME": "{own}/xdg"}, "xdg"),
        ({"XDG_CACHE_HOME": "xdg"}, ".cache"),
    ],
)
def test_the_units_cache_counts_before_the_users(env: dict[str, str], place: str, file: Path, machine: Ground) -> None:
    given = {name: value.format(own=machine.own) for name, value in env.items()}
    done = start(file, {"HOME": str(machine.own), **given})
    assert done.returncode == 0, done.stderr
    assert [path.name for path in machine.own.iterdir()] == [place]


def taken(ground: Ground, tree: str) -> Path:
    """The cache of root is another user's."""
    cache = ground.own / "cache"
    (cache / "acme-iid-pyz" / tree).mkdir(parents=True)
    (cache / "acme-iid-pyz" / tree / "__main__.py").write_text(PLANTED)
    shutil.chown(cache / "acme-iid-pyz", "nobody")
    (cache / "acme-iid-pyz").chmod(0o700)
    return cache


def open_to_others(ground: Ground, tree: str) -> Path:
    """All can write to the cache, and have."""
    cache = taken(ground, tree)
    shutil.chown(cache / "acme-iid-pyz", "root")
    (cache / "acme-iid-pyz").chmod(0o777)
    return cache


def readable(ground: Ground, tree: str) -> Path:
    """The cache is root's own, and others can look into it."""
    cache = open_to_others(ground, tree)
    (cache / "acme-iid-pyz").chmod(0o755)
    return cache


def tree_of_others(ground: Ground, tree: str) -> Path:
    """The cache is root's, and the tree in it is another's."""
    cache = open_to_others(ground, tree)
    (cache / "acme-iid-pyz").chmod(0o700)
    shutil.chown(cache / "acme-iid-pyz" / tree, "nobody")
    return cache


def in_a_home_of_others(ground: Ground, tree: str) -> Path:
    """HOME is another user's, as sudo may leave it; the cache in it is root's."""
    taken(ground, tree).rename(ground.app / "cache")
    shutil.chown(ground.app / "cache" / "acme-iid-pyz", "root")
    return ground.app / "cache"


def missing_in_a_home_of_others(ground: Ground, tree: str) -> Path:
    del tree
    return ground.app / "cache"


def link_of_others(ground: Ground, tree: str) -> Path:
    """The other user has put a link to a directory of root's there."""
    cache = taken(ground, tree)
    shutil.chown(cache / "acme-iid-pyz", "root")
    subprocess.run(as_nobody("ln", "-s", cache, ground.app / "cache"), check=True)
    return ground.app / "cache"


def below_a_shared_directory(ground: Ground, tree: str) -> Path:
    """The directory is still free, in one such as /tmp."""
    del tree
    (ground.own / "tmp").mkdir()
    (ground.own / "tmp").chmod(0o1777)
    return ground.own / "tmp" / "cache"


@pytest.mark.parametrize(
    "hostile",
    [
        taken,
        open_to_others,
        readable,
        tree_of_others,
        in_a_home_of_others,
        missing_in_a_home_of_others,
        link_of_others,
        below_a_shared_directory,
    ],
    ids=lambda hostile: hostile.__name__,
)
def test_a_cache_that_others_can_write_is_refused(
    hostile: Callable[[Ground, str], Path], file: Path, machine: Ground, tmp_path: Path
) -> None:
    start(file, {"XDG_CACHE_HOME": str(tmp_path)})
    (tree,) = trees(tmp_path)
    cache = hostile(machine, tree)
    before = sorted(machine.app.rglob("*"))
    done = start(file, {"XDG_CACHE_HOME": str(cache)})
    assert (done.returncode, done.stdout) == (12, "")
    assert done.stderr.count("\n") == 1
    assert "others" in done.stderr or "alone" in done.stderr or "another user" in done.stderr
    assert sorted(machine.app.rglob("*")) == before


def test_a_directory_of_ones_own_below_a_shared_one_serves(file: Path, machine: Ground) -> None:
    cache = below_a_shared_directory(machine, "")
    cache.mkdir(0o700)
    assert start(file, {"XDG_CACHE_HOME": str(cache)}).returncode == 0


def test_a_link_of_roots_is_followed(file: Path, machine: Ground) -> None:
    """DynamicUser= has such links below /var/cache."""
    (machine.own / "private").mkdir()
    (machine.own / "cache").symlink_to("private")
    done = start(file, {"CACHE_DIRECTORY": str(machine.own / "cache")})
    assert done.stdout.startswith(f"started {machine.own / 'private'}/acme-iid-pyz/"), done.stderr


def test_nothing_of_the_environment_is_imported(file: Path, machine: Ground) -> None:
    package = machine.app / "acme_iid_client" / "cli"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").write_text(PLANTED)
    (machine.app / "sitecustomize.py").write_text(PLANTED)
    env = {"HOME": str(machine.own), "PYTHONPATH": str(machine.app), "PATH": os.environ["PATH"]}
    done = subprocess.run([file], env=env, cwd=machine.app, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.startswith("started "), done.stderr
    assert "planted" not in done.stdout


def test_first_starts_that_meet_unpack_it_once(file: Path, machine: Ground) -> None:
    env = {"XDG_CACHE_HOME": str(machine.own)}
    command = [sys.executable, str(file)]
    started = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = {process.communicate(timeout=60)[0] for process in started}
    (tree,) = trees(machine.own)
    assert said == {f"started {machine.own / 'acme-iid-pyz' / tree}\n"}


def test_a_tree_goes_when_nothing_runs_from_it(file: Path, machine: Ground, tmp_path: Path) -> None:
    """That of a former version, and what a kill has left of an unpacking."""
    env = {"XDG_CACHE_HOME": str(machine.own)}
    former, newest = make(tmp_path, "0.8"), make(tmp_path, "1.1")
    running = subprocess.Popen(
        [sys.executable, former, "wait"], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert running.stdout is not None
    assert running.stdout.readline().startswith("started ")
    (machine.own / "acme-iid-pyz" / "new-abc" / "acme_iid_client").mkdir(parents=True)
    assert start(file, env).returncode == 0
    assert [name.partition("-")[0] for name in trees(machine.own)] == ["0.8", "1.0"]
    running.communicate(timeout=60)
    assert start(newest, env).returncode == 0
    assert [name.partition("-")[0] for name in trees(machine.own)] == ["1.1"]


def test_a_tree_that_is_being_removed_is_unpacked_again(file: Path, machine: Ground) -> None:
    env = {"XDG_CACHE_HOME": str(machine.own)}
    assert start(file, env).returncode == 0
    (tree,) = (machine.own / "acme-iid-pyz").iterdir()
    held = os.open(tree, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    waiting = subprocess.Popen([sys.executable, file], env=env, stdout=subprocess.PIPE, text=True)
    wait_for_the_lock(waiting.pid)
    shutil.rmtree(tree)
    os.close(held)
    assert waiting.communicate(timeout=60)[0] == f"started {tree}\n"


def wait_for_the_lock(pid: int) -> None:
    """Until a process waits for a lock that another has (proc_locks(5))."""
    deadline = time.monotonic() + 30
    while not re.search(rf"-> FLOCK +ADVISORY +\w+ {pid} ", Path("/proc/locks").read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_full_disk_and_one_that_runs_nothing_are_said(file: Path) -> None:
    with disks.small() as folder:
        folder.chmod(0o700)
        disks.fill(folder)
        full = start(file, {"XDG_CACHE_HOME": str(folder)})
        (folder / "filler").unlink()
        subprocess.run(["mount", "-o", "remount,noexec", folder], check=True)
        noexec = start(file, {"XDG_CACHE_HOME": str(folder)})
    assert full.returncode == noexec.returncode == 12
    assert "No space left on device" in full.stderr
    assert "noexec" in noexec.stderr
    assert "Traceback" not in full.stderr + noexec.stderr


def test_a_user_without_a_home_is_told_what_to_set(file: Path, machine: Ground) -> None:
    done = start(file, {"HOME": str(machine.own / "none")})
    assert done.returncode == 12
    assert "Set XDG_CACHE_HOME to a directory of yours" in done.stderr
    assert not (machine.own / "none").exists()


def test_another_machine_or_c_library_is_said(file: Path, machine: Ground, tmp_path: Path) -> None:
    env = {"HOME": str(machine.own)}
    other = start(make(tmp_path, machine="riscv128"), env)
    assert other.returncode == 12
    assert "This file is for riscv128 with glibc 2.28 or later" in other.stderr
    newer = tmp_path / "newer.pyz"
    with zipfile.ZipFile(file) as there, zipfile.ZipFile(newer, "w") as made:
        for entry in there.infolist():
            content = there.read(entry)
            if entry.filename == "index.json":
                content = json.dumps({**json.loads(content), "glibc": [2, 999]}).encode()
            made.writestr(entry, content)
    assert "with glibc 2.999 or later; this machine is" in start(newer, env).stderr


def test_a_damaged_file_is_said(file: Path, machine: Ground, tmp_path: Path) -> None:
    content = bytearray(file.read_bytes())
    with zipfile.ZipFile(file) as archive:
        (wheel,) = (entry for entry in archive.infolist() if entry.filename.startswith("wheels/"))
    content[wheel.header_offset + 100] ^= 1
    damaged = tmp_path / "damaged.pyz"
    damaged.write_bytes(content)
    done = start(damaged, {"HOME": str(machine.own)})
    assert done.returncode == 12
    assert "The file is damaged" in done.stderr
    assert "Traceback" not in done.stderr


def test_another_user_has_a_cache_of_their_own(file: Path, machine: Ground) -> None:
    shutil.copy(file, machine.own / "acme-iid.pyz")
    env = {"HOME": str(machine.app), "PATH": "/usr/bin:/bin"}
    command = as_nobody("/usr/bin/python3", machine.own / "acme-iid.pyz")
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.startswith(f"started {machine.app}/.cache/acme-iid-pyz/"), done.stderr
