"""The wheel and the sdist: the same octets whoever builds them, and what somebody has who installs the wheel alone."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from packages import building

BUILD_WHEEL = "import sys; from acme_iid_client import build_backend; build_backend.build_wheel(sys.argv[1])"


def test_two_builders_make_the_same_octets(built: Path, tmp_path: Path) -> None:
    """Another path, umask, time zone, language and day, and no network: what is needed was downloaded before."""
    source = building.clone(tmp_path / "another folder" / "of mine", umask=0o077)
    out = tmp_path / "out"
    building.build(
        source,
        out,
        "all",
        env={"TZ": "Pacific/Kiritimati", "LC_ALL": "C", "LANG": "de_DE.UTF-8", "PYTHONHASHSEED": "7"},
        under=("unshare", "--net", "faketime", "+40 days"),
        umask=0o077,
    )
    assert building.sums(out) == building.sums(built)


def test_the_sdist_makes_the_same_wheel(built: Path, tmp_path: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    subprocess.run(["tar", "-xzf", sdist, "-C", tmp_path], check=True)
    (source,) = tmp_path.glob("acme_iid-*")
    out = tmp_path / "out"
    subprocess.run(
        [building.tools() / "bin" / "python", "-c", BUILD_WHEEL, out],
        cwd=source,
        env={**building.OUTSIDE, "PYTHONPATH": "client", "SOURCE_DATE_EPOCH": str(int(source.stat().st_mtime))},
        umask=0o022,
        capture_output=True,
        check=True,
        timeout=300,
    )
    assert building.sums(out).items() <= building.sums(built).items()


def test_a_build_is_held_against_what_an_index_wants(built: Path) -> None:
    said = (built.parent / "made").read_text()
    assert said.count(": PASSED") == 2  # twine, of both files
    assert ".whl: OK\n" in said  # check-wheel-contents


def test_a_wheel_with_other_octets_is_not_installed(built: Path, tmp_path: Path) -> None:
    """One that somebody has put into the wheelhouse in the place of a pinned one."""
    del built
    cache = tmp_path / "cache"
    shutil.copytree(building.CACHE / "wheelhouse", cache / "wheelhouse")
    (wheel,) = (cache / "wheelhouse").glob("click-*.whl")
    wheel.write_bytes(wheel.read_bytes() + b"\n")
    done = subprocess.run(
        [building.REPOSITORY / "packaging" / "tools"],
        env={**building.OUTSIDE, "BUILD_CACHE": str(cache)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode != 0
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stderr


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of the wheel with the client's libraries alone."""
    return building.install(tmp_path_factory.mktemp("installed") / "environment", *built.glob("*.whl"))


@pytest.mark.parametrize(
    ("command", "extra"),
    [("serve", "server"), ("provisioner list", "server"), ("console", "server"), ("status", "server")],
)
def test_an_installed_command_names_its_missing_extra(
    command: str, extra: str, installed: Path, tmp_path: Path
) -> None:
    home = ["--home", str(tmp_path / "ca")]
    made = building.run(installed / "acme-iid-ca", *home, "init")
    assert made.returncode == 0, made.stderr
    done = building.run(installed / "acme-iid-ca", *home, *command.split())
    assert done.returncode == 1
    assert f"comes with the extra '{extra}': pip install 'FROM[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_client_runs_with_its_own_libraries(installed: Path) -> None:
    done = building.run(installed / "acme-iid", "order", "--help")
    assert done.returncode == 0, done.stderr
