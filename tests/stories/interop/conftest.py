"""Fixtures: a server under test, the names it resolves, and a site for one client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from interop.harness import Names, Server, Site, openssl
from interop.ours import Ours
from interop.pebble import Pebble
from ports import free_port


def pytest_addoption(parser: pytest.Parser) -> None:
    """A client that fails against our server can be tried against one that we did not write."""
    parser.addoption("--interop-server", choices=("ours", "pebble"), default="ours")


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
def server(
    request: pytest.FixtureRequest, names: Names, ports: tuple[int, int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """The server that clients are pointed at."""
    if request.config.getoption("--interop-server") == "pebble":
        pebble = Pebble(tmp_path_factory.mktemp("pebble"), *ports)
        with pebble.serve(names.resolver):
            yield pebble
        return
    ca = Ours(tmp_path_factory.mktemp("interop") / "ca")
    ca.init_for_hosts(names.resolver, *ports)
    with ca.served():
        yield ca


@pytest.fixture(scope="session")
def binding_server(names: Names, ports: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ours]:
    """A CA of ours on which nobody makes an account without an external account key."""
    ca = Ours(tmp_path_factory.mktemp("binding") / "ca")
    ca.init_for_hosts(names.resolver, *ports)
    ca.require_external_accounts()
    with ca.served():
        yield ca


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
