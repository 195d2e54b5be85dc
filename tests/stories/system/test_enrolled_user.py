"""Another user of the machine orders by what root has enrolled: two users of the system, for real."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from enrolling import whole_id
from machine import Machine
from running import CA

from acme_iid.simulator import aws

REPOSITORY = Path(__file__).resolve().parents[3]
PACKAGES = [Path(path) for path in sys.path if path.endswith("site-packages")]
SEEN: list[Path] = []
"""Where the user sees them, the repository first."""


@pytest.fixture
def user() -> Iterator[tuple[str, Path]]:
    """A new user with a home of its own."""
    name = f"app{secrets.token_hex(4)}"
    home = Path(tempfile.mkdtemp(prefix="home-"))
    subprocess.run(["useradd", "--no-create-home", "--home-dir", home, name], check=True)
    shutil.chown(home, name, name)
    # The checkout and the environment may be in folders that are root's alone: the user gets to them by another way.
    places = [REPOSITORY, *PACKAGES]
    seen = [Path(tempfile.mkdtemp(prefix="seen-")) for _ in places]
    for place, mounted in zip(places, seen, strict=True):
        subprocess.run(["mount", "--bind", place, mounted], check=True)
    SEEN[:] = seen
    yield name, home
    for mounted in seen:
        subprocess.run(["umount", mounted], check=True)
        mounted.rmdir()
    subprocess.run(["userdel", name], check=True)
    shutil.rmtree(home)


def as_user(user: tuple[str, Path], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run acme-iid as the user, who has no metadata service to ask.

    By the distribution's Python, since the one that runs the tests may be in a folder that is root's alone.
    """
    name, home = user
    return subprocess.run(
        ["/usr/bin/python3", "-m", "acme_iid_client", *arguments],
        cwd=home,
        env={
            "HOME": str(home),
            "PATH": os.defpath,
            "PYTHONPATH": os.pathsep.join(map(str, (SEEN[0], SEEN[0] / "client", *SEEN[1:]))),
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:9",
            "NO_PROXY": "*",
        },
        user=name,
        group=name,
        extra_groups=[],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_enrolled_user_needs_no_evidence_until_the_instances_release(
    vm: Machine, user: tuple[str, Path], shared_ca: CA, instance: aws.Instance
) -> None:
    name, home = user
    told = vm.run("enroll", "foo.local", "--for-user", name)
    (file,) = home.glob(".local/state/acme-iid/enrolled/*.json")
    assert str(file) in told.stdout
    assert (file.owner(), file.stat().st_mode & 0o777) == (name, 0o600)
    assert all(entry.owner() == name for entry in home.rglob("*"))
    done = as_user(user, "order", "foo.local")
    assert done.returncode == 0, done.stderr
    assert (home / "foo.local.key").owner() == name
    done = as_user(user, "renew", "foo.local.crt", "foo.local.key", "--force")
    assert done.returncode == 0, done.stderr
    other = as_user(user, "order", "bar.local")
    assert (other.returncode, "bar.local was not enrolled" in other.stderr) == (10, True)
    assert "was enrolled itself" in as_user(user, "enroll", "foo.local").stderr
    shared_ca.cli("instance", "release", whole_id(instance), "--to", "A" * 43)
    done = as_user(user, "renew", "foo.local.crt", "foo.local.key", "--force")
    assert (done.returncode, "the instance was released to another account key" in done.stderr) == (10, True)


def test_a_link_of_the_users_leads_nowhere_that_the_user_may_not_write(
    vm: Machine, user: tuple[str, Path], tmp_path: Path
) -> None:
    name, home = user
    target = tmp_path / "roots"
    target.mkdir(mode=0o700)
    (home / ".local").symlink_to(target)
    refused = vm.try_("enroll", "foo.local", "--for-user", name)
    assert (refused.code, "could not be written" in refused.stderr) == (12, True)
    assert list(target.iterdir()) == []
