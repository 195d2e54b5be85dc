"""A file that is run or loaded is private to root and this user, with all of its folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from acme_iid.errors import SignerError
from acme_iid.signing.ownership import require_private


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A private file in a private folder in another one."""
    path = tmp_path / "outer" / "inner" / "file"
    path.parent.mkdir(parents=True)
    path.touch(mode=0o700)
    return path


def test_a_private_file_is_accepted(file: Path) -> None:
    require_private(file)
    # Anybody may make files there, and nobody may rename those of others.
    file.parent.parent.chmod(0o1777)
    require_private(file)


@pytest.mark.parametrize("mode", [0o757, 0o775])
@pytest.mark.parametrize("up", [0, 1, 2])
def test_a_file_that_others_can_write_or_replace_is_refused(file: Path, up: int, mode: int) -> None:
    step = (file, *file.parents)[up]
    os.chown(step, -1, os.getgid() or 12345)
    step.chmod(mode)
    with pytest.raises(SignerError, match=f"other users can write to {step} .*chmod go-w '{step}'"):
        require_private(file)


def test_a_folder_where_anybody_makes_files_is_refused_right_above(file: Path) -> None:
    file.parent.chmod(0o1777)
    with pytest.raises(SignerError, match="other users can write to"):
        require_private(file)


@pytest.mark.parametrize("up", [0, 1, 2])
def test_a_file_of_another_user_is_refused(file: Path, up: int) -> None:
    os.chown((file, *file.parents)[up], 12345, -1)
    with pytest.raises(SignerError, match="belongs to another user than root and this one"):
        require_private(file)


def test_a_link_counts_as_what_it_leads_to(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(file)
    require_private(link)
    file.chmod(0o777)
    with pytest.raises(SignerError, match="other users can write to"):
        require_private(link)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SignerError, match="it is no file"):
        require_private(tmp_path)
    with pytest.raises(SignerError, match="No such file or directory"):
        require_private(tmp_path / "missing")
