"""The build of the distribution: by setuptools, after the manual pages and completions were made.

This is the build backend that pyproject.toml names (PEP 517). setup.cfg lists where the made files go. With
SOURCE_DATE_EPOCH both forms are the same octets, whoever builds them: setuptools sees to the wheel, and this module to
the sdist.
"""

from __future__ import annotations

import configparser
import gzip
import io
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

from acme_iid_client import manual

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

MADE = Path("build", "share")
"""Where setup.cfg finds them; the build's directory is nobody's source."""


def _make() -> None:
    setup = configparser.ConfigParser()
    setup.read("setup.cfg", encoding="utf-8")
    manual.write(MADE, setup["metadata"]["version"])


def build_wheel(
    wheel_directory: str, config_settings: Mapping[str, Any] | None = None, metadata_directory: str | None = None
) -> str:
    """As setuptools does, with the files that are made."""
    _make()
    return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(
    wheel_directory: str, config_settings: Mapping[str, Any] | None = None, metadata_directory: str | None = None
) -> str:
    """As setuptools does, with the files that are made."""
    _make()
    return build_meta.build_editable(wheel_directory, config_settings, metadata_directory)


def build_sdist(sdist_directory: str, config_settings: Mapping[str, Any] | None = None) -> str:
    """As setuptools does, with the files that are made."""
    _make()
    name = build_meta.build_sdist(sdist_directory, config_settings)
    if epoch := os.environ.get("SOURCE_DATE_EPOCH"):
        _settle(Path(sdist_directory, name), int(epoch))
    return name


def _settle(sdist: Path, epoch: int) -> None:
    """Leave nothing of the builder in an sdist: no time, no user, no umask, no order of a directory."""
    content = io.BytesIO()
    with tarfile.open(sdist) as made, tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as settled:
        for member in sorted(made.getmembers(), key=lambda member: member.name):
            member.mtime, member.mode = epoch, 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.pax_headers = {}
            settled.addfile(member, made.extractfile(member) if member.isfile() else None)
    # No name of a file in the header: it would be the builder's path.
    with sdist.open("wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=epoch) as packed:
        packed.write(content.getvalue())
