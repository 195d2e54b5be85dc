"""What the wheel of a fresh clone holds besides the programs: what the build makes, and the examples."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from acme_iid_client import manual

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The files below share/ in the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(["git", "clone", "--quiet", REPOSITORY, folder / "clone"], check=True)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder), str(folder / "clone")]
    subprocess.run(pip, check=True, timeout=300)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as content:
        parts = [name.partition(".data/data/share/") for name in content.namelist()]
    return {name for _, found, name in parts if found}


def test_the_wheel_has_a_manual_page_for_each_command(shared: set[str]) -> None:
    assert {name for name in shared if name.startswith("man/")} == {f"man/man1/{name}" for name, _ in manual.pages("")}


def test_the_wheel_has_the_completions_and_the_examples(shared: set[str]) -> None:
    assert {
        "bash-completion/completions/acme-iid",
        "zsh/site-functions/_acme-iid",
        "fish/vendor_completions.d/acme-iid.fish",
    } <= shared
    assert {name for name in shared if name.startswith("acme-iid/")} == {
        f"acme-iid/examples/{file.name}" for file in (REPOSITORY / "client" / "examples").iterdir()
    }
