"""The verifiers, each built once; a CA whose root is replaced; and the order of the tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from pki.root_rotating import Rotation
from pki.verifiers.gnutls import GnuTLS
from pki.verifiers.go import Go
from pki.verifiers.java import Java
from pki.verifiers.nss import NSS
from pki.verifiers.openssl import OpenSSL
from pki.verifiers.verifier import Shown, Verifier

VERIFIERS = (OpenSSL, GnuTLS, Go, Java, NSS)

Show = Callable[[str, str, str], Shown]
"""Makes what a verifier is shown: a chain, a root, and a name."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that wait longest, so that all others run beside them; then those with most tests."""
    sizes = Counter(item.path for item in items)
    items.sort(key=lambda item: (item.get_closest_marker("waits") is None, -sizes[item.path]))


@pytest.fixture(scope="session")
def java(tmp_path_factory: pytest.TempPathFactory) -> Java:
    return Java(tmp_path_factory.mktemp("java"))


@pytest.fixture(scope="session")
def openssl(tmp_path_factory: pytest.TempPathFactory) -> OpenSSL:
    return OpenSSL(tmp_path_factory.mktemp("openssl"))


@pytest.fixture(scope="session")
def verifiers(tmp_path_factory: pytest.TempPathFactory, java: Java, openssl: OpenSSL) -> dict[str, Verifier]:
    others = (kind(tmp_path_factory.mktemp(kind.name)) for kind in VERIFIERS if kind not in (Java, OpenSSL))
    return {verifier.name: verifier for verifier in (java, openssl, *others)}


@pytest.fixture(params=[kind.name for kind in VERIFIERS])
def verifier(request: pytest.FixtureRequest, verifiers: dict[str, Verifier]) -> Verifier:
    return verifiers[str(request.param)]


@pytest.fixture
def show(tmp_path: Path) -> Show:
    numbers = count()

    def shown(chain: str, root: str, name: str) -> Shown:
        return Shown(tmp_path / f"shown-{next(numbers)}", chain, root, name)

    return shown


@pytest.fixture
def rotation(tmp_path: Path) -> Iterator[Rotation]:
    made = Rotation(tmp_path)
    made.ca.start()
    yield made
    if made.ca.process is not None:
        made.ca.kill()
