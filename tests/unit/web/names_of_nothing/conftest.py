"""What an account has, what another one has, and that nothing happens to either."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from held_orders import Held, held_at, kept
from running import CA

from acme_iid.store.database import open_store


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CA]:
    made = CA(tmp_path_factory.mktemp("named") / "ca")
    made.init()
    file = made.home / "ca.toml"
    file.write_text(file.read_text().replace("# crl = true", "crl = true"))
    made.start()
    yield made
    if made.process is not None:
        made.stop()


@pytest.fixture(scope="module")
def held(ca: CA) -> Held:
    return held_at(ca)


@pytest.fixture(scope="module")
def others(ca: CA) -> Held:
    """The same, of another account."""
    return held_at(ca)


@pytest.fixture(autouse=True)
def nothing_happens(ca: CA, held: Held, others: Held) -> Iterator[None]:
    """Whatever a test asks for, nothing is changed."""
    del held, others
    with closing(open_store(ca.store_url)) as store:
        before = kept(store)
        yield
        assert kept(store) == before
