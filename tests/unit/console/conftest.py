"""A console over a filled store, and one over that of a CA that was just made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import console_pages
import pytest
from console_pages import Visitor


@pytest.fixture(scope="session")
def filled_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a CA whose store has a fleet, refusals and hostile texts."""
    home = console_pages.made_home(tmp_path_factory.mktemp("filled"))
    with closing(console_pages.opened(home)) as database:
        console_pages.fill(database, console_pages.now())
    return home


@pytest.fixture(scope="module")
def filled(filled_home: Path) -> Iterator[Visitor]:
    """Somebody who reads the console of the filled store."""
    with console_pages.console(filled_home) as (running, _):
        yield Visitor(running)


@pytest.fixture(scope="module")
def fresh_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a CA that was just made."""
    return console_pages.made_home(tmp_path_factory.mktemp("fresh"))
