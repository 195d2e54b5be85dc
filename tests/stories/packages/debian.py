"""Machines with the Debian that the packages were built in and nothing else; and packages of versions made up."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from packages import building

_ENV = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
    "NO_PROXY": "*",
}
FOLDER = "/packages"
"""Where a machine's user has put packages."""


def deb(folder: Path, name: str) -> Path:
    """The one package of a name in a folder."""
    (found,) = folder.glob(f"{name}_*_*.deb")
    return found


@dataclass(frozen=True)
class DebianMachine:
    """A machine without an init, which shares this one's network.

    :ivar root: its files.
    :ivar written: those of them that are not as its Debian had them at first.
    """

    root: Path
    written: Path

    def command(self, *command: str) -> list[str]:
        return ["chroot", str(self.root), *command]

    def try_(self, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it, whatever comes of it."""
        return subprocess.run(
            self.command(*command), env={**_ENV, **env}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=300, check=False,
        )  # fmt: skip

    def run(self, *command: str, **env: str) -> str:
        """Run a command in it, which must succeed; what it says."""
        done = self.try_(*command, **env)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def type(self, text: str, **env: str) -> str:
        """Type commands where the packages are."""
        return self.run("bash", "-euo", "pipefail", "-c", f"cd {FOLDER}\n{text}", **env)

    def put(self, *packages: Path) -> None:
        """Put packages on it, in the place of those that are there."""
        folder = self.root / FOLDER.lstrip("/")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for package in packages:
            shutil.copy(package, folder)

    def altered(self) -> str:
        """The files of packages that are not as they came, as dpkg has it."""
        return self.run("dpkg", "--verify")


@contextmanager
def machine(folder: Path) -> Iterator[DebianMachine]:
    """A machine of one's own."""
    upper, work, root = (folder / name for name in ("upper", "work", "root"))
    for part in (upper, work, root):
        part.mkdir(parents=True)
    architecture = subprocess.run(["dpkg", "--print-architecture"], check=True, capture_output=True, text=True)
    base = building.CACHE / f"bookworm-{architecture.stdout.strip()}"
    layers = f"lowerdir={base},upperdir={upper},workdir={work}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, root], check=True)
    subprocess.run(["mount", "-t", "proc", "proc", root / "proc"], check=True)
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    try:
        yield DebianMachine(root, upper)
    finally:
        subprocess.run(["umount", "--lazy", "--recursive", root], check=True)


def made_up(package: Path, version: str, folder: Path, links: dict[str, str]) -> Path:
    """The package of another version.

    :param links: what is a link there, by its path in the environment's libraries, with its target.
    """
    tree = folder / "tree"
    subprocess.run(["dpkg-deb", "--raw-extract", package, tree], check=True)
    name, former = package.name.split("_")[:2]
    wanted = f"{version}-1~{former.rpartition('~')[2]}"
    (tree / f"usr/lib/{name}/{former}").rename(tree / f"usr/lib/{name}/{wanted}")
    (tree / f"usr/bin/{name}").unlink()
    (tree / f"usr/bin/{name}").symlink_to(f"../lib/{name}/{wanted}/bin/{name}")
    for file in (tree / f"usr/lib/{name}/{wanted}/bin/{name}", tree / "DEBIAN/control"):
        file.write_text(file.read_text().replace(former, wanted))
    (site,) = tree.glob(f"usr/lib/{name}/*/lib/python3.*/site-packages")
    own = next(site.glob("acme_iid-*.dist-info")) / "METADATA"
    own.write_text(re.sub(r"^Version: .*$", f"Version: {version}", own.read_text(), count=1, flags=re.MULTILINE))
    for path, target in links.items():
        shutil.rmtree(site / path)
        (site / path).symlink_to(target)
    sums = "find usr -type f -print0 | xargs -0 md5sum > DEBIAN/md5sums"
    subprocess.run(["sh", "-c", sums], cwd=tree, check=True)
    made = folder / f"{name}_{wanted}_{package.name.split('_')[2]}"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", tree, made], check=True,
                   capture_output=True)  # fmt: skip
    shutil.rmtree(tree)
    return made
