"""The settings of a store: its URL and its number of connections."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

CONNECTIONS = 8
"""The number of connections to PostgreSQL that each process has at most, where nobody says otherwise."""


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """The table ``[store]``: ``url`` is ``sqlite:`` and an absolute path, or ``postgresql://...``.

    The latter may hold a password, and so it is shown nowhere. ``connections`` is how many each process of a server has
    to it at most.
    """

    url: str = field(repr=False)
    connections: int = CONNECTIONS

    @property
    def path(self) -> Path | None:
        """The database file; None of a store that is not in one."""
        return Path(self.url.removeprefix("sqlite:")) if self.url.startswith("sqlite:") else None
