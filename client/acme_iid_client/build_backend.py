"""The build of the distribution: by setuptools, after the manual pages and completions were made.

This is the build backend that pyproject.toml names (PEP 517). setup.cfg lists where the made files go.
"""

from __future__ import annotations

import configparser
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
    return build_meta.build_sdist(sdist_directory, config_settings)
