"""A signer's process becomes the program that was asked for, if its server is still there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from acme_iid.signing import leash


def run(server: int, *program: str) -> str:
    command = [sys.executable, "-I", "-S", leash.__file__, str(server), *program]
    return subprocess.run(command, capture_output=True, check=True, text=True, timeout=60).stdout


def test_it_becomes_the_program_with_its_words_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/a folder")
    source = "import os, sys; print(os.environ['PYTHONPATH'], *sys.argv[1:], sep='|')"
    assert run(os.getpid(), sys.executable, "-c", source, "two words", "-I") == "/a folder|two words|-I\n"


def test_the_program_ends_by_a_broken_pipe_as_programs_do() -> None:
    assert run(os.getpid(), "/bin/sh", "-c", "sh -c 'kill -PIPE $$; echo ignored'; true") == ""


def test_a_program_of_a_server_that_has_ended_does_not_begin() -> None:
    assert run(os.getppid(), "/bin/echo", "begun") == ""


@pytest.mark.parametrize(
    ("name", "reason"),
    [("missing", "No such file or directory"), ("file", "Permission denied"), ("empty", "Exec format error")],
)
def test_a_program_that_cannot_be_started_is_named(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "file").touch(mode=0o600)
    (tmp_path / "empty").touch(mode=0o700)
    said = json.loads(run(os.getpid(), str(tmp_path / name)))
    assert said == {"fatal": f"{tmp_path / name} cannot be started: {reason}"}
