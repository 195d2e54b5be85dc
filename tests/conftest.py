"""Fixtures: real CAs, served over TLS."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import postgresql
import pytest
import warm_starts
import wire
from hypothesis import HealthCheck, settings
from running import ACCOUNT, CA, SECONDS, Run

from acme_iid.simulator import aws

# A loaded machine is slow, and that is no fault: examples have no deadline. "fuzz" is for tox -e fuzz.
settings.register_profile("usual", deadline=None)
settings.register_profile("fuzz", deadline=None, max_examples=5_000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("usual")

# A run that a shell without job control started in the background ignores SIGINT, and so would all that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


_LEFT_OUT = "Left out are the tests with documents that real clouds signed: ACME_IID_SAMPLES names no folder of them."


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests with real documents, which are not the project's to give away, and deselect them without any."""
    found = [item for item in items if "samples" in getattr(item, "fixturenames", ())]
    for item in found:
        item.add_marker("samples")
    if found and not os.environ.get("ACME_IID_SAMPLES"):
        items[:] = [item for item in items if item not in found]
        config.hook.pytest_deselected(items=found)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was left out, where tests run side by side too."""
    if not os.environ.get("ACME_IID_SAMPLES"):
        terminalreporter.write_line(_LEFT_OUT)


@pytest.fixture(autouse=True)
def closed_sessions() -> Iterator[None]:
    """Close what a test's raw clients have opened."""
    yield
    while wire.OPEN:
        wire.OPEN.pop().close()


def pytest_sessionfinish() -> None:
    """End the database server; the processes of xdist end without what Python does at exit."""
    if postgresql.cluster.cache_info().currsize:
        postgresql.cluster().remove()


@pytest.fixture(autouse=True)
def dropped_databases() -> Iterator[None]:
    """Drop the databases that a test has made."""
    number = postgresql.made_so_far()
    yield
    postgresql.drop_all_after(number)


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    """The URL of a new store."""
    return postgresql.new_store(tmp_path)


@pytest.fixture(scope="session")
def shared_ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CA]:
    """A CA that serves throughout; tests keep apart by their accounts and instances."""
    ca = CA(tmp_path_factory.mktemp("shared") / "ca")
    ca.init()
    ca.start()
    yield ca
    if ca.process is not None:
        ca.stop()


@pytest.fixture
def own_ca(tmp_path: Path) -> Iterator[CA]:
    """A CA of the test's own, made but not started."""
    ca = CA(tmp_path / "ca")
    ca.init()
    yield ca
    if ca.process is not None:
        ca.kill()


@pytest.fixture
def instance() -> aws.Instance:
    """A new instance of the account that the provisioner admits."""
    return aws.Instance(account=ACCOUNT)


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder with documents that real clouds signed; a test that asks for it has the marker ``samples``."""
    found = Path(os.environ["ACME_IID_SAMPLES"])
    assert list(found.glob("*.json")), f"{found} holds no documents"
    return found


@pytest.fixture
def acme_iid(tmp_path: Path) -> Run:
    """Run acme-iid in a process of its own, with directories of its own, in ``tmp_path``."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().endswith("_PROXY") and not name.startswith(("ACME_IID_", "AWS_", "XDG_", "REQUESTS_"))
    }
    places = {
        "HOME": str(tmp_path / "home"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }

    def run(
        *arguments: object, stdin: str | bytes = b"", env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        given = [*map(str, arguments)]
        code, out, errors = warm_starts.run(
            "acme_iid_client",
            given,
            clean | places | (env or {}),
            seconds=SECONDS,
            stdin=stdin.encode() if isinstance(stdin, str) else stdin,
            folder=tmp_path,
        )
        assert b"Traceback" not in errors, errors.decode()
        return subprocess.CompletedProcess(given, code, out.decode(), errors.decode())

    return run
