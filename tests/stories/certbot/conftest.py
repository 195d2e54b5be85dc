"""certbot as people have it: Debian's with Debian's libraries, and the newest from PyPI; and a CA for all clouds."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import stand_ins
from certbots import Program, bash, environment, source
from pages import commands
from running import CA


@pytest.fixture(scope="session")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """Debian's certbot, with the plugin installed as docs/how-to/certbot.md says, but for one user of the machine."""
    home = tmp_path_factory.mktemp("debian")
    env = environment(home, "/usr/bin")
    done = bash(commands("certbot-debian"), source(tmp_path_factory.mktemp("source")), {**env, "PIP_USER": "yes"})
    assert done.code == 0, done.stdout + done.stderr
    return Program(False, "/usr/bin/certbot", "/usr/bin/python3", env)


@pytest.fixture(scope="session")
def newest(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """The newest certbot, which the extra ``dev`` has brought into this very environment."""
    folder = Path(sys.executable).parent
    env = environment(tmp_path_factory.mktemp("newest"), str(folder))
    if "PYTHONPATH" in os.environ:
        env["PYTHONPATH"] = os.environ["PYTHONPATH"]  # a copy of the source that is tested in the place of this one
    return Program(True, str(folder / "certbot"), sys.executable, env)


@pytest.fixture(params=["debian", "newest"])
def program(request: pytest.FixtureRequest) -> Program:
    """Both, one after the other."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Program)
    return found


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CA]:
    """A CA that admits instances of all three clouds."""
    ca = CA(tmp_path_factory.mktemp("clouds") / "ca")
    ca.cli("init", "--name", "My CA", "--domain", "local", "--url", ca.url, "--listen", f"127.0.0.1:{ca.port}")
    with (ca.home / "ca.toml").open("a") as file:
        file.write(stand_ins.provisioners(tmp_path_factory.mktemp("keys")))
    ca.start()
    yield ca
    if ca.process is not None:
        ca.stop()
