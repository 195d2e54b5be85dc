"""A release: from a tag that a known key has signed, with sums that the same key signs."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from packages import building
from pages import blocks

VERSION = "0.1.0"


def git(clone: Path, *arguments: str) -> None:
    who = ["-c", "user.name=Releaser", "-c", "user.email=releaser@example.org", "-c", "gpg.format=ssh"]
    subprocess.run(["git", "-C", clone, *who, *arguments], check=True, capture_output=True)


def new_key(folder: Path, name: str) -> Path:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)]
    subprocess.run(command, check=True)
    return folder / name


def release(clone: Path, out: Path, *options: str | Path) -> subprocess.CompletedProcess[str]:
    script = clone / "packaging" / "release"
    return building.run(script, VERSION, "--out", out, "--cache", building.CACHE, *options)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return new_key(tmp_path, "key")


@pytest.fixture
def clone(tmp_path: Path, key: Path) -> Path:
    """A clone that is ready to be tagged, with the key among those who sign."""
    clone = building.clone(tmp_path / "clone")
    changes = clone / "CHANGELOG.md"
    changes.write_text(changes.read_text().replace("(not released yet)", "(2026-12-24)", 1))
    public = key.with_suffix(".pub").read_text()
    (clone / "packaging" / "allowed_signers").write_text(f'acme-iid namespaces="file,git" {public}')
    git(clone, "add", "--all")
    git(clone, "commit", "--quiet", "--message", "Release")
    return clone


def sign(clone: Path, key: Path) -> None:
    git(clone, "-c", f"user.signingkey={key}", "tag", "--sign", "--message", VERSION, VERSION)


def test_a_dry_run_builds_all_and_says_what_would_be_refused(built: Path, tmp_path: Path) -> None:
    clone, out = building.clone(tmp_path / "clone"), tmp_path / "out"
    git(clone, "tag", VERSION)
    done = release(clone, out, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert f"the tag {VERSION} is not signed" in done.stderr
    assert "--key is missing" in done.stderr
    lines = [f"{digest}  {name}" for name, digest in building.sums(built).items()]
    assert sorted((out / "SHA256SUMS").read_text().splitlines()) == sorted(lines)
    assert not (out / "SHA256SUMS.sig").exists()


def test_a_release_can_be_verified_as_the_page_says(clone: Path, key: Path, tmp_path: Path, built: Path) -> None:
    del built  # so that the tools are there
    sign(clone, key)
    git(clone, "branch", VERSION, "HEAD~1")  # a release is of the tag, whatever else has its name
    out = tmp_path / "out"
    done = release(clone, out, "--key", key)
    assert done.returncode == 0, done.stderr
    assert len(list(out.glob("*.pyz"))) == 1
    shutil.copy(clone / "packaging" / "allowed_signers", out)
    (block,) = blocks("sh", "SECURITY.md")
    verified = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text], cwd=out, capture_output=True, text=True, check=False
    )
    assert verified.returncode == 0, verified.stderr
    assert 'Good "file" signature for acme-iid' in verified.stdout
    assert verified.stdout.count(": OK") == len(list(out.iterdir())) - 3
    with (out / "SHA256SUMS").open("a") as sums:
        sums.write("0" * 64 + "  more\n")
    changed = subprocess.run(["bash", "-euo", "pipefail", "-c", block.text], cwd=out, capture_output=True, check=False)
    assert changed.returncode != 0


def unsigned(clone: Path, key: Path) -> str:
    del key
    git(clone, "tag", VERSION)
    return "is not signed by a key of packaging/allowed_signers"


def signed_by_somebody_else(clone: Path, key: Path) -> str:
    sign(clone, new_key(key.parent, "other"))
    return "is not signed by a key of packaging/allowed_signers"


def signed_by_a_key_of_its_own(clone: Path, key: Path) -> str:
    """The tag brings the key along by which it would be known."""
    other, signers = new_key(key.parent, "other"), clone / "packaging" / "allowed_signers"
    known = signers.read_text()
    signers.write_text(f"acme-iid {other.with_suffix('.pub').read_text()}")
    git(clone, "commit", "--quiet", "--all", "--message", "Mine")
    sign(clone, other)
    signers.write_text(known)
    git(clone, "commit", "--quiet", "--all", "--message", "Ours")
    return "is not signed by a key of packaging/allowed_signers"


def of_another_version(clone: Path, key: Path) -> str:
    setup = clone / "setup.cfg"
    setup.write_text(setup.read_text().replace(f"version = {VERSION}", "version = 0.2.0", 1))
    git(clone, "commit", "--quiet", "--all", "--message", "Next")
    sign(clone, key)
    return f"the tag {VERSION} is of version 0.2.0"


def without_a_date(clone: Path, key: Path) -> str:
    changes = clone / "CHANGELOG.md"
    changes.write_text(changes.read_text().replace("(2026-12-24)", "(soon)", 1))
    git(clone, "commit", "--quiet", "--all", "--message", "No date")
    sign(clone, key)
    return f"CHANGELOG.md has no date for {VERSION}"


@pytest.mark.parametrize(
    "tag", [unsigned, signed_by_somebody_else, signed_by_a_key_of_its_own, of_another_version, without_a_date]
)
def test_a_tag_that_is_not_ready_is_refused(
    tag: Callable[[Path, Path], str], clone: Path, key: Path, tmp_path: Path
) -> None:
    why = tag(clone, key)
    done = release(clone, tmp_path / "out", "--key", key)
    assert done.returncode == 1
    assert why in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_key_that_nobody_knows_is_refused_before_the_build(clone: Path, key: Path, tmp_path: Path) -> None:
    sign(clone, key)
    done = release(clone, tmp_path / "out", "--key", new_key(tmp_path, "other"))
    assert done.returncode == 1
    assert "is not in packaging/allowed_signers" in done.stderr
    assert not (tmp_path / "out").exists()


def test_what_lay_in_the_folder_before_is_not_signed(clone: Path, key: Path, tmp_path: Path) -> None:
    sign(clone, key)
    out = tmp_path / "out"
    out.mkdir()
    (out / "stray.whl").touch()
    done = release(clone, out, "--key", key)
    assert done.returncode == 1
    assert "is not empty" in done.stderr
    assert [file.name for file in out.iterdir()] == ["stray.whl"]
