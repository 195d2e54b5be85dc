"""The settings of a store: its URL and its number of connections."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

CONNECTIONS = 8
"""The number of connections to PostgreSQL that each process has at most, where nobody says otherwise."""


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """The table ``[store]``: ``url`` is ``sqlite:`` and an absolute path, or ``postgresql://...``.

    The latter may hold a password, and so it is shown nowhere. ``connections`` is how many each process of a server has
    to it at most. ``url_file`` is the file that the URL was read from, if it does not stand in ca.toml.
    """

    url: str = field(repr=False)
    connections: int = CONNECTIONS
    url_file: Path | None = None

    @property
    def holds_password(self) -> bool:
        """Whether a password stands in the URL, be it before the host or among the parameters."""
        parts = urlsplit(self.url)
        return self.path is None and (parts.password is not None or "password=" in parts.query.lower())

    @property
    def path(self) -> Path | None:
        """The database file; None of a store that is not in one."""
        return Path(self.url.removeprefix("sqlite:")) if self.url.startswith("sqlite:") else None
