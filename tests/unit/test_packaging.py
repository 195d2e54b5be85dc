"""What is packaged is what is there, and what each side leans on is what setup.cfg says."""

from __future__ import annotations

import configparser
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SETUP = configparser.ConfigParser()
SETUP.read(REPOSITORY / "setup.cfg")


def lines(section: str, option: str) -> set[str]:
    return {line.strip() for line in SETUP[section][option].splitlines() if line.strip()}


def packages(root: Path, name: str) -> set[str]:
    return {".".join(file.parent.relative_to(root).parts) for file in (root / name).rglob("__init__.py")}


def test_every_package_in_the_tree_is_in_the_list_and_no_other() -> None:
    client = REPOSITORY / "client"
    there = packages(REPOSITORY, "acme_iid")
    for source in client.iterdir():
        if (source / "__init__.py").exists():
            there |= packages(client, source.name)
    assert lines("options", "packages") == there


def test_every_data_file_is_packaged() -> None:
    """By a pattern of the package that it is in, or that its folder is in."""
    patterns = {
        package.replace(".", "/") + "/" + pattern.strip()
        for package, value in SETUP["options.package_data"].items()
        for pattern in value.split(",")
    }
    for root, name in ((REPOSITORY, "acme_iid"), (REPOSITORY / "client", "acme_iid_client")):
        for file in (root / name).rglob("*"):
            if file.is_file() and file.suffix not in (".py", ".pyc"):
                place = file.relative_to(root)
                assert any(
                    place.match(pattern) and len(place.parts) == pattern.count("/") + 1 for pattern in patterns
                ), file


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("acme_iid_client.cli", ("flask", "aiohttp", "sqlite_utils", "requests", "acme", "acme_iid.attestation")),
        # The build makes the manual pages where only click and setuptools are.
        ("acme_iid_client.manual", ("acme_iid", "cryptography", "requests", "acme")),
        ("acme_iid_client.acme.order", ("flask", "aiohttp", "sqlite_utils", "acme_iid.attestation.registry", "jwt")),
        ("acme_iid_client.acme.order", ("acme_iid.store", "acme_iid.policy")),
        ("acme_iid.cli", ("flask", "aiohttp", "sqlite_utils", "cryptography", "acme_iid_client")),
        ("acme_iid.attestation", ("flask", "aiohttp", "sqlite_utils", "sqlite3", "acme_iid_client")),
    ],
)
def test_importing_one_side_does_not_bring_the_other(module: str, forbidden: tuple[str, ...]) -> None:
    script = f"import sys, {module}; print(*sorted(sys.modules), sep='\\n')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert module in loaded
    assert not loaded & set(forbidden)
