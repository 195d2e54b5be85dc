"""Fixtures: a server under test, the names it resolves, and a site for one client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from interop.harness import Names, Server, Site, openssl
from interop.pebble import Pebble
from running import free_port


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("prepared")


@pytest.fixture(scope="session")
def names(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Names]:
    with Names(tmp_path_factory.mktemp("names") / "log").serve() as names:
        yield names


@pytest.fixture(scope="session")
def ports() -> tuple[int, int]:
    """Where the server under test validates http-01 and tls-alpn-01."""
    return free_port(), free_port()


@pytest.fixture(scope="session")
def server(names: Names, ports: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    pebble = Pebble(tmp_path_factory.mktemp("pebble"), *ports)
    with pebble.serve(names.resolver):
        yield pebble


@pytest.fixture(scope="session")
def another_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root that nobody here has a certificate of."""
    folder = tmp_path_factory.mktemp("another-root")
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=another",
            "-keyout", folder / "key.pem", "-out", folder / "root.pem")  # fmt: skip
    return folder / "root.pem"


@pytest.fixture
def site(names: Names, ports: tuple[int, int], prepared: Path, tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(*ports, names, tmp_path, prepared, stack)
