"""Servers that are ended with the test."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import serving
from click.testing import CliRunner

from acme_iid.cli import main


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """Leave signals as they were: a server that is refused in the test's own process has blocked SIGHUP by then.

    What later tests start would inherit that.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = CliRunner().invoke(main, ["--home", str(tmp_path / "ca"), "init", "--url", "https://127.0.0.1"])
    assert made.exit_code == 0, made.output
    return tmp_path / "ca"


@pytest.fixture
def start(home: Path) -> Iterator[serving.Start]:
    started: list[serving.Running] = []

    def go(*flags: str, **how: Any) -> serving.Running:
        running = serving.run(home, *flags, **how)
        started.append(running)
        running.url = running.wait_for(r"Listening on (\S+), for https://127\.0\.0\.1$")[1]
        return running

    yield go
    for running in started:
        running.end()
